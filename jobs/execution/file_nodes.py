"""The nodes that encode pictures and write parts: whichever may, and the driver's only if it must.

Any node can write to an object store. Whether a folder is one of the driver's machine or of a disk
that every node has, nobody needs to say: the driver's heartbeat lies in it, and a task on each node
looks for that file. Until a node has seen it, nothing is written from there.

The driver's node is left out while there is another: all the pictures would go through it else, and
a cluster's head has other things to do.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import StorageError
from jobs.output.folder import DRIVERS, OutputFolder
from jobs.resolution import Job
from jobs.storage.owner import owner_of
from jobs.storage.storage import Storage

log = logging.getLogger("bottega.dispatcher")


class FileNodes:
    """Deals file tasks out to nodes, to each in its turn."""

    def __init__(self, job: Job, here: str, nodes: Collection[str]) -> None:
        """here: the driver's node. nodes: those that are there and have cores, by id."""
        self._here = here
        self._is_any = job.spec.is_written_from_any_node
        self._seen = {here}
        """The nodes that may write."""
        asks = job.spec.output_shared is None and not self._is_any
        self._question = Question(job.output, here) if asks else None
        self._encodes, self._writes = Turn(), Turn()
        self.look(nodes)

    def look(self, nodes: Collection[str]) -> int:
        """Follow nodes that came and went; returns how many of them write parts."""
        if self._question is not None:
            self._seen = (self._seen & {*nodes}) | self._question.answers(nodes) | {self._here}
        self._encodes.among = self._without_driver(nodes)
        self._writes.among = self._without_driver(nodes if self._is_any else self._seen)
        return len(self._writes.among)

    def encoder(self) -> Any:
        """Ray's scheduling strategy for the next task that encodes."""
        # If the node is gone by then, any other does as well.
        return NodeAffinitySchedulingStrategy(self._encodes.next(), soft=True)

    def writer(self) -> Any:
        """Ray's scheduling strategy for the next task that writes a part."""
        return NodeAffinitySchedulingStrategy(self._writes.next(), soft=self._is_any)

    def _without_driver(self, nodes: Collection[str]) -> list[str]:
        return sorted({*nodes} - {self._here}) or [self._here]


class Turn:
    """Each of `among` in its turn."""

    def __init__(self) -> None:
        self.among: list[str] = []
        self._last = -1

    def next(self) -> str:
        """The next one."""
        self._last = (self._last + 1) % len(self.among)
        return self.among[self._last]


class Question:
    """Asks each node once whether it sees the output's folder."""

    def __init__(self, output: OutputFolder, here: str) -> None:
        self._output = output
        self._asked = {here}
        self._under_way: dict[ObjectRef[Any], str] = {}
        self._look: Any = ray.remote(num_cpus=0, max_retries=0)(sees)

    def answers(self, nodes: Collection[str]) -> set[str]:
        """The nodes that are newly known to see it; asks those that are new."""
        self._ask(sorted({*nodes} - self._asked))
        if not self._under_way:
            return set()
        waiting = list(self._under_way)
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        answered = {answer: self._under_way.pop(answer) for answer in ready}
        return {node for answer, node in answered.items() if self._says_yes(answer, node)}

    def _ask(self, nodes: list[str]) -> None:
        if not nodes:
            return
        storage = self._output.storage
        try:
            entries = storage.entries(DRIVERS)
        except StorageError as error:
            log.info("new nodes write no parts for now: %s", error)
            return  # who waits for an output that is away is the writer of parts
        names = [one.path for one in entries if (owner := owner_of(one.path)) and owner.is_me]
        if not names:
            return  # this driver has no heartbeat there yet
        for node in nodes:
            self._asked.add(node)
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            answer = self._look.options(scheduling_strategy=there).remote(storage, names)
            self._under_way[answer] = node

    def _says_yes(self, answer: ObjectRef[Any], node: str) -> bool:
        try:
            is_seen = bool(ray.get(answer))
        except RayError:
            is_seen = False  # the node is gone, or cannot run a task of ours
        said = "sees %s: it writes parts too" if is_seen else "does not see %s: it writes no parts"
        log.info(f"node %s {said}", node[:8], self._output.url)
        return is_seen


def sees(storage: Storage, names: Collection[str]) -> bool:
    """Whether the node that this runs on sees these files, and may write beside them."""
    try:
        if any(storage.find(name) is None for name in names):
            return False
        with suppress(_EnoughError), storage.writing(f"{DRIVERS}/look"):
            raise _EnoughError  # so nothing is put in place
    except StorageError:
        return False
    return True


class _EnoughError(Exception):
    """The file could be opened for writing."""
