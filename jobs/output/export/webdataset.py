"""A shard of a WebDataset: a tar with a picture and a JSON file for each row.

    000000000070.png       column `image`
    000000000070.json      every column that holds no files

Every row has these two and no other, because readers want all samples alike. Names, order and heads
of the tar depend on the rows alone, so a shard that is written twice has the same bytes.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from io import BytesIO
from typing import BinaryIO

from jobs.output.export.samples import Sample


def write_tar(file: BinaryIO, samples: Iterable[Sample]) -> tuple[int, int]:
    """Write the rows that have a picture; returns how many, and how many have none."""
    written = without = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for sample in samples:
            if sample.picture is None:
                without += 1
                continue
            _add(tar, f"{sample.key}.{sample.ending}", sample.picture)
            text = json.dumps(sample.values, ensure_ascii=False)
            _add(tar, f"{sample.key}.json", text.encode())
            written += 1
    return written, without


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    # TarInfo's own defaults: no time, owner 0, mode 644.
    head = tarfile.TarInfo(name)
    head.size = len(content)
    tar.addfile(head, BytesIO(content))
