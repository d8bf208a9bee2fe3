"""Where the values of metrics go: Ray's agent, or a port of this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cluster.metrics.catalogue import Metric


class Sink(Protocol):
    """Takes values. `labels`: a value for each of the metric's labels."""

    def declare(self, metric: Metric, labels: Mapping[str, str]) -> None:
        """A counter is 0 from now on, where the sink can say so: a rate needs a first value."""

    def count(self, metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter; `amount` is more than 0."""

    def set(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add a value to a histogram."""

    def close(self) -> None:
        """The job has ended; no value comes any more."""
