"""What a start costs where many parts are there already: `records()`, packed and not.

    python benchmarks/many_parts.py out-or-URL PARTS

It fills an empty place with tiny parts and their records, reads them as a start of a job does,
packs them, and reads them again. Then it lists, reads and writes beside obstore itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter
from typing import Any

from jobs.output.folder import OutputFolder
from jobs.output.job_file import FORMAT
from jobs.storage.object_store import ObjectStorage, _store_at

WRITERS = 64
TIMES = 5


def record_of(index: int) -> bytes:
    """About as long as those of a real job."""
    record = {
        **{"part": index, "first_row": index, "rows": 1, "bytes": 3, "sha256": "0" * 64},
        **{"from_student": 1, "from_teacher": 0, "refined": 0, "failed": 0, "nfe": 4},
        "seconds": {"student": 1.234567, "oracle": 0.123456, "teacher": 2.345678, "files": 0.5},
        "calls": {"student": 64, "oracle": 64, "teacher": 20},
        "devices": {pool: ["NVIDIA A100-SXM4-80GB"] for pool in ("student", "oracle", "teacher")},
    }
    return json.dumps(record, indent=2).encode()


def fill(folder: OutputFolder, num_parts: int) -> None:
    """Parts and records, without the fsync that a real one has."""

    def put(index: int) -> None:
        for name, content in (
            (folder.part_name(index), b"abc"),
            (folder.record_name(index), record_of(index)),
        ):
            if folder.storage.is_local:
                file = folder.path / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            else:
                folder.storage.put(name, content)

    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(put, range(num_parts)))


def timed(what: str, do: Callable[[], Any]) -> Any:
    start = perf_counter()
    found = do()
    print(f"{what}: {perf_counter() - start:.2f} s", flush=True)
    return found


def main() -> None:
    place, num_parts = sys.argv[1], int(sys.argv[2])
    folder = OutputFolder(place)
    folder.storage.create()
    folder.storage.put("job.json", json.dumps({"format": FORMAT}).encode())
    timed(f"{num_parts:,} parts and records written", lambda: fill(folder, num_parts))
    before = timed("records, read singly", folder.records)
    timed("packed", lambda: folder.pack_records(before))
    after = timed("records, packed", OutputFolder(place).records)
    assert before == after
    assert len(after) == num_parts
    if isinstance(folder.storage, ObjectStorage):
        beside_obstore(folder, num_parts)


def beside_obstore(folder: OutputFolder, num_parts: int) -> None:
    """Medians of ours and of obstore's own calls, by turns."""
    storage, store = folder.storage, _store_at(folder.url)
    names = [folder.record_name(index) for index in range(min(1000, num_parts))]
    content = b"x" * 4_000_000

    def gets() -> None:
        with ThreadPoolExecutor(64) as readers:
            list(readers.map(lambda name: bytes(store.get(name).bytes()), names))

    def listed(below: str) -> list[Any]:
        return [one for some in store.list(below) for one in some]

    first = folder.part_name(0).rpartition("/")[0]
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "all parts listed": (lambda: storage.entries("data"), lambda: listed("data")),
        "a folder listed": (lambda: storage.entries(first), lambda: listed(first)),
        f"{len(names):,} records": (lambda: list(storage.get_many(names)), gets),
        "40 puts of 4 MB": (
            lambda: [storage.put("x", content) for _ in range(40)],
            lambda: [store.put("y", content) for _ in range(40)],
        ),
    }
    for what, pair in pairs.items():
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(TIMES):
            for do, seconds in zip(pair, times, strict=True):
                start = perf_counter()
                do()
                seconds.append(perf_counter() - start)
        ours, theirs = map(median, times)
        print(
            f"{what}: {ours:.3f} s, obstore {theirs:.3f} s, {ours / theirs:.2f} times", flush=True
        )


if __name__ == "__main__":
    main()
