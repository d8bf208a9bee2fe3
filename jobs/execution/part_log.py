"""The events of one part's cascade, and the instructions that followed from each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.execution.calls import Event, Instruction
from jobs.execution.part_rows import Groups
from jobs.rules import Rules

MAX_DECISIONS = 50_000
"""Of a part, from its start: one of 1,024 rows has some 300. So many can be replayed, in 10 MB."""

MAX_LATEST = 200
"""Of a part with more: its last decisions, which can be read and not replayed."""


@dataclass(slots=True)
class Decision:
    """`event`: None for the start. `instructions`: None while they are made, and if that raised."""

    event: Event | None
    instructions: list[Instruction] | None = None


@dataclass(slots=True)
class PartLog:
    """The arguments of a cascade, and its decisions in order; the `latest` of a part with more than
    MAX_DECISIONS."""

    label: str
    num_rows: int
    rules: Rules
    invalid_rows: dict[int, str]
    kept: frozenset[int]
    groups: Groups
    decisions: list[Decision] = field(default_factory=list)
    latest: deque[Decision] = field(default_factory=lambda: deque(maxlen=MAX_LATEST))

    def decide(
        self, event: Event | None, decision: Callable[[], list[Instruction]]
    ) -> list[Instruction]:
        """Make a decision and log it."""
        decided = Decision(event)
        is_early = len(self.decisions) < MAX_DECISIONS
        (self.decisions if is_early else self.latest).append(decided)
        instructions = decision()
        decided.instructions = list(instructions)
        return instructions
