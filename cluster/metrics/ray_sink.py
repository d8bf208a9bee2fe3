"""Metrics through Ray: each node's agent has them for Prometheus, with `ray_` before their names.

The agent keeps the counters of a process that has ended, and drops its gauges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.metrics.catalogue import SECONDS_BUCKETS, Kind, Metric


class RaySink:
    """Hands values to the Ray that this process is connected to."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def declare(self, metric: Metric, labels: Mapping[str, str]) -> None:
        """Ray's counters begin with their first value: they take no 0."""

    def count(self, metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        self._of(metric).inc(float(amount), dict(labels))

    def set(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""
        self._of(metric).set(float(value), dict(labels))

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add a value to a histogram."""
        self._of(metric).observe(value, dict(labels))

    def close(self) -> None:
        """Ray itself hands over what is left when the process leaves it."""

    def _of(self, metric: Metric) -> Any:
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = _make(metric)
        return made


def _make(metric: Metric) -> Any:
    from ray.util.metrics import Counter, Gauge, Histogram

    labels = metric.all_labels
    match metric.kind:
        case Kind.COUNTER:
            # Ray's agent puts `_total` behind a counter that has none.
            return Counter(metric.name, metric.help, labels)
        case Kind.GAUGE:
            return Gauge(metric.name, metric.help, labels)
        case Kind.HISTOGRAM:
            return Histogram(metric.name, metric.help, list(SECONDS_BUCKETS), labels)
