"""Publishes to a dataset repository of the Hugging Face hub.

A step is a commit of some parts. Files go up first, the commit names them: what an interruption
leaves is no commit, and the hub keeps the files, so the same step is quick the second time. The
hub's own hash of each file says which parts are there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha1, sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from actors.errors import OutputError, SpecError, StorageError
from jobs.output.export.claim import IS_AN_OUTPUT, not_ours
from jobs.output.export.destination import ANOTHER, MARKER, PartToSend, refuse_changed
from jobs.output.folder import JOB, OutputFolder

PREFIX = "hf://datasets/"

BY_THE_HUB = {".gitattributes", "README.md"}
"""Files that the hub puts into a new repository. Its history keeps what the card replaces."""


class HubRepository:
    """See `jobs.output.export.destination.Destination`. The first `send` makes the repository."""

    def __init__(self, url: str, public: bool = False, api: HfApi | None = None) -> None:
        """url: hf://datasets/ORG/NAME. public: who may see it, where it is made."""
        self.url = url
        self._name = url.removeprefix(PREFIX)
        if (
            not url.startswith(PREFIX)
            or self._name.count("/") != 1
            or not all(self._name.split("/"))
        ):
            raise SpecError(f"{url!r} names no dataset of the hub. Write {PREFIX}ORG/NAME.")
        self._api, self._public, self._made = api or HfApi(), public, False
        self._marker: bytes | None = None

    def claim(self, marker: bytes) -> None:
        """Refuse a repository with files of others. The marker goes with the first commit."""
        files = self._files()
        if JOB in files:
            raise OutputError(f"{self.url!r} {IS_AN_OUTPUT}")
        if MARKER not in files and files.keys() - BY_THE_HUB:
            raise OutputError(f"{self.url!r} {not_ours(MARKER)}")
        if MARKER in files and not _holds(files[MARKER], marker):
            raise OutputError(f"{self.url!r} holds {ANOTHER}. Choose a new place.")
        self._marker = None if MARKER in files else marker

    def there(self) -> dict[str, str]:
        """The files below data/, with the hub's hashes; none where there is no repository."""
        return {
            name: file.lfs.sha256 if file.lfs else ""
            for name, file in self._files().items()
            if name.startswith("data/")
        }

    def _files(self) -> dict[str, RepoFile]:
        with self._explaining():
            try:
                self._api.repo_info(self._name, repo_type="dataset")
            except RepositoryNotFoundError:
                return {}
            tree = self._api.list_repo_tree(self._name, recursive=True, repo_type="dataset")
            return {file.path: file for file in tree if isinstance(file, RepoFile)}

    def send(self, folder: OutputFolder, parts: Sequence[PartToSend]) -> None:
        """One commit with these parts."""
        with ExitStack() as stack:
            operations = []
            for part in parts:
                file = stack.enter_context(_on_this_machine(folder, part))
                operation = CommitOperationAdd(part.name, str(file))
                refuse_changed(part, operation.upload_info.sha256.hex())
                operations.append(operation)
            first, last = parts[0].name.rpartition("/")[2], parts[-1].name.rpartition("/")[2]
            self._commit(operations, f"{first} to {last}" if len(parts) > 1 else first)

    def finish(self, pages: Mapping[str, bytes]) -> None:
        """One commit with the card."""
        self._commit(
            [CommitOperationAdd(name, content) for name, content in pages.items()], "The card"
        )

    def _commit(self, operations: list[CommitOperationAdd], message: str) -> None:
        disable_progress_bars()  # the caller says how far it is
        with self._explaining():
            if not self._made:
                self._api.create_repo(
                    self._name, repo_type="dataset", exist_ok=True, private=not self._public
                )
                self._made = True
            if self._marker is not None:
                operations = [CommitOperationAdd(MARKER, self._marker), *operations]
            self._api.create_commit(
                self._name, operations, commit_message=message, repo_type="dataset"
            )
            self._marker = None

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # The client wraps what an upload raises in a RuntimeError.
            cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
            what = _explained(cause)
            if what is None:
                raise
            passing = "Run the same command" in what
            raise StorageError(self.url, what, passing=passing) from None


def _holds(file: RepoFile, content: bytes) -> bool:
    """Whether a file has this content, by the hub's hash of it: that of Git, or of Git LFS."""
    if file.lfs:
        return bool(file.lfs.sha256 == sha256(content).hexdigest())
    blob = b"blob %d\0" % len(content) + content
    return bool(file.blob_id == sha1(blob, usedforsecurity=False).hexdigest())


def _explained(error: BaseException) -> str | None:
    """What an error of the hub or of the network means; None for another one."""
    if isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", 0)
        if status in (401, 403):
            return f"may not be written to with these credentials ({status}). Set HF_TOKEN"
        return f"answers {status}. Run the same command again to go on"
    # The client's library for HTTP has had three names, and its errors no common base.
    if isinstance(error, OSError) or type(error).__module__.startswith("httpx"):
        return f"does not answer ({type(error).__name__}). Run the same command again to go on"
    return None


@contextmanager
def _on_this_machine(folder: OutputFolder, part: PartToSend) -> Iterator[Path]:
    """A part as a file: the hub's client hashes it, and reads it again."""
    entry = folder.storage.find(part.name)
    refuse_changed(part, part.sha256 if entry else None)
    assert entry is not None
    if folder.storage.is_local:
        yield folder.path / part.name
        return
    with TemporaryDirectory(prefix="bottega-") as place:
        file = Path(place) / "part.parquet"
        with folder.storage.open(entry) as source, file.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
        yield file
