"""The events of one part's cascade, and the instructions that followed from each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.execution.calls import Event, Instruction
from jobs.rules import Rules

MOST_ENTRIES = 50_000
"""Of a part: one of 1,024 rows has some 300. A log that was cut is not replayed."""


@dataclass(slots=True)
class Decision:
    """`event`: None for the start. `instructions`: None while they are made, and if that raised."""

    event: Event | None
    instructions: list[Instruction] | None = None


@dataclass(slots=True)
class PartLog:
    """What makes a cascade, and its decisions in order."""

    label: str
    num_rows: int
    rules: Rules
    invalid_rows: dict[int, str]
    kept: frozenset[int]
    decisions: list[Decision] = field(default_factory=list)
    was_cut: bool = False

    def decide(
        self, event: Event | None, decision: Callable[[], list[Instruction]]
    ) -> list[Instruction]:
        """Make a decision and log it."""
        if len(self.decisions) >= MOST_ENTRIES:
            self.was_cut = True
            return decision()
        self.decisions.append(Decision(event))
        instructions = decision()
        self.decisions[-1].instructions = list(instructions)
        return instructions
