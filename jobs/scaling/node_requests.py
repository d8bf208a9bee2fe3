"""Adds up the nodes that several jobs want of a cluster's autoscaler. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LIVES_SECONDS = 120.0
"""A request that is not renewed for so long is of a driver that is gone: four renewals."""

RENEW_SECONDS = 30.0
"""Between two renewals. Chosen: a message for each job twice a minute is nothing, and nodes that a
killed driver leaves behind cost two minutes more."""


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """Room for actors: for each, its resources and the labels of its node."""

    bundles: Sequence[Mapping[str, float]] = ()
    labels: Sequence[Mapping[str, str]] = ()


@dataclass(slots=True)
class NodeRequests:
    """The latest request of each job, and until when it counts."""

    _by_job: dict[str, tuple[NodeRequest, float]] = field(default_factory=dict)

    def put(self, job: str, request: NodeRequest, now: float) -> None:
        """A job asks for this in place of what it asked for before, or renews it."""
        self._by_job[job] = request, now + LIVES_SECONDS
        if not request.bundles:
            del self._by_job[job]

    def total(self, now: float) -> NodeRequest:
        """The nodes for which all living jobs ask together."""
        self._by_job = {job: each for job, each in self._by_job.items() if each[1] > now}
        living = [request for request, _ in self._by_job.values()]
        return NodeRequest(
            [bundle for request in living for bundle in request.bundles],
            [labels for request in living for labels in request.labels],
        )
