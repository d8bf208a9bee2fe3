"""The files by which Prometheus and Grafana watch jobs; they are data in cluster/metrics."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from actors.errors import OutputError

FILES = ("prometheus.yml", "alerts.yml", "grafana.json")


def write_monitoring(folder: Path) -> list[Path]:
    """Write the files into a folder, over those of an older version; returns them."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            content = files("cluster.metrics").joinpath(name).read_bytes()
            (folder / name).write_bytes(content)
            written.append(folder / name)
    except OSError as error:
        raise OutputError(f"cannot write to {str(folder)!r}: {error.strerror}.") from error
    return written
