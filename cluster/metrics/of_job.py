"""The metrics of a job that is about to run: which sinks it has."""

from __future__ import annotations

from time import monotonic, time

from cluster.metrics.job_metrics import JobMetrics
from cluster.metrics.sink import Sink


def metrics_of(job: str, *, attached: bool, port: int | None) -> JobMetrics:
    """The metrics of a job, by its id.

    attached: to a Ray that others look after, whose agents Prometheus may scrape. The Ray that a
    command starts for itself is gone with it, and nobody knows the port of its agent; `port` is for
    that. Raises ClusterError for a port that is taken.
    """
    sinks: list[Sink] = []
    if attached:
        from cluster.metrics.ray_sink import RaySink

        sinks.append(RaySink())
    if port is not None:
        from cluster.metrics.port_sink import PortSink

        sinks.append(PortSink(port))
    return JobMetrics(job, sinks, time, monotonic)
