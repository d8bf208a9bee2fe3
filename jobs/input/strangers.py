"""Files that lie beside data and are none: pure.

What is not listed here and is not read is named and refused: rows that are left out in silence are
a wrong dataset. So the list has what certainly holds no rows, and no more.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import PurePosixPath

_PICTURES = (
    *("png", "jpg", "jpeg", "jpe", "jfif", "webp", "tif", "tiff", "bmp", "gif", "avif", "heic"),
    *("heif", "jp2", "j2k", "jpf", "jpx", "jxl", "svg", "ico", "psd", "tga", "ppm", "pgm", "pbm"),
    *("exr", "hdr", "dng", "eps", "mp4", "webm", "mov", "avi", "mkv", "wav", "mp3", "flac", "ogg"),
)
"""And other media: rows name them, or somebody looks at them."""
_DOCUMENTS = (
    *("md", "markdown", "rst", "adoc", "html", "htm", "css", "pdf", "doc", "docx", "odt", "rtf"),
    *("tex", "bib", "cff", "ppt", "pptx", "url", "webloc"),
)
_CODE = (
    *("py", "pyc", "pyi", "ipynb", "sh", "bash", "zsh", "fish", "bat", "ps1", "js", "ts", "rs"),
    *("go", "c", "h", "cc", "cpp", "hpp", "java", "class", "scala", "rb", "pl", "lua", "r", "cu"),
    *("toml", "ini", "cfg", "conf", "mk", "tf"),
)
_ABOUT_OTHERS = (
    *("md5", "sha1", "sha256", "sha512", "b3", "crc", "crc32", "sfv", "sig", "asc", "minisig"),
    *("log", "out", "err", "lock", "pid", "sock", "swp", "torrent"),
)
"""Checksums, signatures, logs, locks."""
ENDINGS = frozenset(f".{one}" for one in (*_PICTURES, *_DOCUMENTS, *_CODE, *_ABOUT_OTHERS))

DOCUMENTS = frozenset(
    {
        *("readme", "license", "licence", "copying", "notice", "authors", "contributors"),
        *("contributing", "changelog", "changes", "citation", "credits", "install", "todo"),
        *("version", "disclaimer", "terms", "datasheet"),
    }
)
"""Names of documents, whatever follows: `LICENSE`, `README.txt`, `LICENSE-APACHE.txt`."""
_DOCUMENT_ENDINGS = ("", ".txt")
"""With which a document's name is none of data; `readme.csv` may hold rows."""

NAMES = frozenset(
    {
        *("requirements.txt", "constraints.txt", "robots.txt", "cmakelists.txt", "checksums.txt"),
        *("md5sums", "sha1sums", "sha256sums", "sha512sums", "checksums", "makefile", "dockerfile"),
        *("md5sums.txt", "sha1sums.txt", "sha256sums.txt", "sha512sums.txt", "md5.txt"),
        *("containerfile", "jenkinsfile", "procfile", "codeowners"),
        *("job.yaml", "job.yml", "dvc.yaml", "environment.yaml", "environment.yml"),
        *("config.yaml", "config.yml", "compose.yaml", "docker-compose.yaml", "docker-compose.yml"),
        *("desktop.ini", "thumbs.db", "ehthumbs.db", "icon\r"),
        # Of Hugging Face `datasets`:
        *("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"),
    }
)
"""Files of other tools, which are known by their whole name."""


def is_hidden(path: str) -> bool:
    """Whether a step begins with a dot or an underscore, as `.DS_Store`, `_SUCCESS` and
    `_temporary/` do: Spark, Hive, pyarrow and `datasets` leave out such files, too."""
    return any(step.startswith(("_", ".")) for step in PurePosixPath(path).parts)


def is_underscored(path: str) -> bool:
    """Whether a hidden name may be meant: nobody expects those with a dot to be read."""
    steps = PurePosixPath(path).parts
    return is_hidden(path) and not any(step.startswith((".", "__")) for step in steps)


def is_no_data(path: str, neighbours: Container[str] = ()) -> bool:
    """Whether a file below the input's folder certainly holds no rows, by its name.

    neighbours: the other files. One that only points to another (`p.csv.dvc`) stands for rows,
    unless the other is there.
    """
    name = PurePosixPath(path).name.lower()
    ending = PurePosixPath(name).suffix
    if ending == ".dvc":
        return path[: -len(ending)] in neighbours
    return (
        name in NAMES
        or ending in ENDINGS
        or name.endswith(("~", "_$folder$"))  # an editor's backup; Hadoop's mark of a folder
        or document_of(name) is not None
    )


def document_of(name: str) -> str | None:
    """`readme` of `README.de.txt`; None if the name is none of a document."""
    path = PurePosixPath(name.lower())
    stem = path.name
    for mark in ".-_ ":
        stem = stem.partition(mark)[0]
    is_document = stem in DOCUMENTS and (
        path.suffix in _DOCUMENT_ENDINGS or path.suffix[1:].isdecimal()  # LICENSE-2.0
    )
    return stem if is_document else None
