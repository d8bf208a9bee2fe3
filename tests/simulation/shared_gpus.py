"""GPUs that a simulated job shares with others: who has a place, and who waits for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jobs.simulation.executor import SimulatedActor

FULL = 1e-9
"""Sums of fractions are not exact."""


@dataclass(eq=False)
class Others:
    """Somebody else's GPUs: `wanted` more of them, and those that they have; of each `share`."""

    wanted: int
    share: float = 1.0
    gpus: list[int] = field(default_factory=list)


class SharedGpus:
    """Actors get a GPU in the order in which they ask; one that fits may overtake, as with Ray."""

    def __init__(
        self, count: int, shares: Mapping[str, float], placed: Callable[[SimulatedActor], None]
    ) -> None:
        """`placed`: called with each actor that gets its place."""
        self.room = dict.fromkeys(range(count), 1.0)
        """By GPU; one that left is not in it."""
        self.waiting: list[SimulatedActor | Others] = []
        self.shares, self._placed = shares, placed
        self._gpu_of: dict[SimulatedActor, int] = {}

    @property
    def free(self) -> float:
        return sum(self.room.values())

    def ask(self, who: SimulatedActor | Others) -> None:
        """Get a place, now or later."""
        self.waiting.append(who)
        self._serve()

    def leave(self, actor: SimulatedActor) -> None:
        """The actor is gone, and its place is free."""
        if actor in self.waiting:
            self.waiting.remove(actor)
        if (gpu := self._gpu_of.pop(actor, None)) in self.room:
            self.room[gpu] += self.shares[actor.pool]
            self._serve()

    def others_leave(self, others: Others) -> None:
        """They give back what they have, and want nothing."""
        if others in self.waiting:
            self.waiting.remove(others)
        for gpu in others.gpus:
            if gpu in self.room:
                self.room[gpu] += others.share
        others.gpus.clear()
        self._serve()

    def on(self, gpu: int) -> list[SimulatedActor]:
        """The actors on a GPU."""
        return [actor for actor, where in self._gpu_of.items() if where == gpu]

    def _serve(self) -> None:
        for who in list(self.waiting):
            if isinstance(who, Others):
                for gpu, room in self.room.items():
                    if who.wanted and room > who.share - FULL:
                        self.room[gpu] -= who.share
                        who.gpus.append(gpu)
                        who.wanted -= 1
                if not who.wanted:
                    self.waiting.remove(who)
                continue
            share = self.shares[who.pool]
            fitting = [gpu for gpu, room in self.room.items() if room > share - FULL]
            if fitting:
                # The fullest, as Ray does with fractions of a GPU.
                gpu = min(fitting, key=lambda gpu: self.room[gpu])
                self.room[gpu] -= share
                self._gpu_of[who] = gpu
                self.waiting.remove(who)
                self._placed(who)
