"""Asks the cluster's autoscaler for nodes, for all jobs on the cluster together.

Ray keeps one request for the whole cluster, and the last caller wins: a job that ends and asks for
nothing would take another job's nodes away. So one actor adds the jobs' requests up, as Ray Data
has one for its own; it outlives the driver that started it, and forgets the drivers that are gone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any
from uuid import uuid4

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.execution.detached import one_of_cluster
from jobs.scaling.node_requests import RENEW_SECONDS, NodeRequest, NodeRequests

log = logging.getLogger("bottega.dispatcher")

NAME = "node-requester-1"
"""The actor's name; the number is that of its methods' arguments, which drivers of several versions
of this program call."""

ANSWER_SECONDS = 20.0
"""A job that ends waits so long for its request to be taken back. Chosen: an actor that starts on a
machine that is busy takes ten; afterwards the request ends by itself."""


class NodeRequester:
    """The actor. It also looks by itself, since nobody may be left to call it."""

    def __init__(self) -> None:
        self._requests, self._sent = NodeRequests(), NodeRequest()
        self._lock = Lock()
        Thread(target=self._forget_the_dead, daemon=True).start()

    def put(
        self,
        job: str,
        bundles: Sequence[Mapping[str, float]],
        labels: Sequence[Mapping[str, str]],
    ) -> None:
        """A job's request, or its renewal; without bundles it is taken back."""
        with self._lock:
            self._requests.put(job, NodeRequest(bundles, labels), monotonic())
        self._send()

    def _send(self) -> None:
        with self._lock:
            total = self._requests.total(monotonic())
            # Again where nothing changed: another program may have asked in the meantime.
            if total.bundles or self._sent.bundles:
                request_resources(
                    bundles=[dict(bundle) for bundle in total.bundles],
                    bundle_label_selectors=[dict(labels) for labels in total.labels],
                )
                self._sent = total

    def _forget_the_dead(self) -> None:
        while not Event().wait(RENEW_SECONDS):
            self._send()


class JobsRequest:
    """One job's request, which it changes, renews and takes back."""

    def __init__(self) -> None:
        self._job, self._request, self._renew_at = uuid4().hex, NodeRequest(), 0.0

    def change(self, request: NodeRequest) -> None:
        """Ask for this from now on; for nothing at the end of the job."""
        before, self._request = self._request, request
        if before.bundles or request.bundles:
            ref = self._send()
            if not request.bundles:
                # The driver goes, and its messages with it.
                try:
                    ray.get(ref, timeout=ANSWER_SECONDS)
                except (RayError, GetTimeoutError) as error:
                    log.warning("the request for nodes is not taken back yet: %s", error)

    def renew(self) -> None:
        """Say again what was asked for, if it is time."""
        if self._request.bundles and monotonic() >= self._renew_at:
            self._send()

    def _send(self) -> Any:
        self._renew_at = monotonic() + RENEW_SECONDS
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        requester = one_of_cluster(NodeRequester, NAME, scheduling_strategy=here)
        return requester.put.remote(self._job, self._request.bundles, self._request.labels)
