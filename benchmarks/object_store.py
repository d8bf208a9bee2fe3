"""Large pictures and a small object store: does Ray spill to disk, and do actors wait for room?

    python benchmarks/object_store.py

Sixteen GPUs with the SDXL profiles draw 1024x1024 pictures, 25 MB for a batch of eight, into an
object store of 2 GB. All drawn and refined pictures and latents pass through it, many times its
size. Ray counts the spilled bytes; the benchmark reads the store's fill twice a second.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from timed_jobs import Case, on_ray, pretend_gpus, write_result

GIB = 2**30

CASE = Case(
    name="object_store",
    models="timed-sdxl",
    gpus=16,
    rows=2048,
    speed=4,
    load_batches=3.0,
    rows_per_part=512,
    side=1024,
)
"""Four times as fast as real, as two cores encode all pictures. The bound is about a minute."""


def store_stats() -> Any:
    """Ray's own statistics of its object store."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    address = ray.get_runtime_context().gcs_address
    return get_memory_info_reply(get_state_from_address(address)).store_stats


class Watch:
    """Reads the store's fill from its entry to its exit."""

    def __init__(self) -> None:
        self.most_bytes = self.fallback_bytes = 0
        self._over = Event()
        self._thread = Thread(target=self._read, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.wait(0.5):
            stats = store_stats()
            self.most_bytes = max(self.most_bytes, stats.object_store_bytes_used)
            self.fallback_bytes = max(self.fallback_bytes, stats.object_store_bytes_fallback)


def main() -> None:
    """Run the case once, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a short run that shows that it works")
    parser.add_argument("--store", type=float, default=2.0, help="GiB")
    given = parser.parse_args()
    logging.getLogger("bottega").setLevel(logging.ERROR)
    case = CASE
    if given.short:
        case = replace(CASE, name="object_store-short", rows=256, gpus=8, rows_per_part=128)
    with (
        TemporaryDirectory() as folder,
        pretend_gpus(case.gpus, object_store_bytes=int(given.store * GIB)) as have,
        Watch() as watch,
    ):
        ran = on_ray(case.job(Path(folder)), have)
        stats = store_stats()
    found = {
        **ran.as_json(),
        "store_gib": have.object_store_bytes / GIB,
        "fullest_gib": round(watch.most_bytes / GIB, 3),
        "created_gib": round(stats.cumulative_created_bytes / GIB, 2),
        "spilled_bytes": stats.spilled_bytes_total,
        "outside_shared_memory_bytes": watch.fallback_bytes,
    }
    print(
        f"{case.rows:,} rows, {case.gpus} GPUs: {ran.seconds:.1f} s, {ran.ratio:.3f} of the bound\n"
        f"through a store of {found['store_gib']:.1f} GiB: {found['created_gib']:.1f} GiB; "
        f"fullest {found['fullest_gib']:.2f} GiB; spilled {stats.spilled_bytes_total:,} bytes; "
        f"outside of shared memory {watch.fallback_bytes:,} bytes"
    )
    write_result(case.name, found)


if __name__ == "__main__":
    main()
