"""Metrics at a port of this machine's loopback interface, where no Ray agent serves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Condition
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client import Metric as Family
from prometheus_client.registry import Collector

from actors.errors import ClusterError
from cluster.metrics.catalogue import SECONDS_BUCKETS, Kind, Metric

LOOPBACK = "127.0.0.1"

MOST_LINGER_SECONDS = 60.0
"""How long the port stays open for a last scrape: Prometheus' default interval is a minute."""


class PortSink:
    """Serves values at http://127.0.0.1:PORT/metrics until it is closed."""

    def __init__(self, port: int) -> None:
        """Raises ClusterError for a port that is taken."""
        self._registry = CollectorRegistry()
        self._made: dict[str, Any] = {}
        self._scrapes = _Scrapes()
        self._registry.register(self._scrapes)
        try:
            self._server, self._thread = start_http_server(port, LOOPBACK, self._registry)
        except OSError as error:
            raise ClusterError(
                f"--metrics-port {port}: {error.strerror or error}. Give a port that is free."
            ) from error

    def declare(self, metric: Metric, labels: Mapping[str, str]) -> None:
        """A counter is 0 from now on."""
        self._of(metric, labels)

    def count(self, metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        self._of(metric, labels).inc(amount)

    def set(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""
        self._of(metric, labels).set(value)

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add a value to a histogram."""
        self._of(metric, labels).observe(value)

    def close(self) -> None:
        """Wait for the scrape that sees how the job ended, if anybody scrapes; then end."""
        self._scrapes.wait_for_another()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _of(self, metric: Metric, labels: Mapping[str, str]) -> Any:
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = _make(metric, self._registry)
        return made.labels(**labels)


def _make(metric: Metric, registry: CollectorRegistry) -> Any:
    name, text, labels = metric.name, metric.help, metric.all_labels
    match metric.kind:
        case Kind.COUNTER:
            return Counter(name, text, labels, registry=registry)
        case Kind.GAUGE:
            return Gauge(name, text, labels, registry=registry)
        case Kind.HISTOGRAM:
            return Histogram(name, text, labels, buckets=SECONDS_BUCKETS, registry=registry)


class _Scrapes(Collector):
    """Notes when the registry is read. It has no metric of its own."""

    def __init__(self) -> None:
        self._read = Condition()
        self._times: list[float] = []

    def describe(self) -> Iterator[Family]:
        """Nothing; without this method to register would count as a scrape."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """Note the time."""
        with self._read:
            self._times = [*self._times[-1:], monotonic()]
            self._read.notify_all()
        return iter(())

    def wait_for_another(self) -> None:
        """Wait as long as the next scrape may take, by the time between the last two."""
        with self._read:
            if not self._times:
                return
            apart = self._times[-1] - self._times[0] if len(self._times) > 1 else None
            # Half more than the last time, for one that comes late.
            patience = MOST_LINGER_SECONDS if apart is None else 1.5 * apart
            self._read.wait(min(patience, MOST_LINGER_SECONDS))
