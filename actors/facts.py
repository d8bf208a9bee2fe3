"""The facts about a call that the driver fetches. Imports no torch: workers for files import it."""

from __future__ import annotations

from dataclasses import dataclass

PermanentFailures = tuple[tuple[int, str], ...]
"""(place in the batch, reason) of each row that fails however often it is tried."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """Everything that the driver fetches of a call: small, and no picture in it.

    `stored_bytes`: size of each output in the object store. `evaluations`: network evaluations of
    one row, counted as they happened (0 for calls without a diffusion model). `truncated`: places
    in the batch whose prompts were longer than the model reads. `device`: the kind that computed;
    empty where none did. `extra_scores`: of an oracle's call, each picture's; empty without any.
    """

    rows: int
    seconds: float
    stored_bytes: tuple[int, ...] = ()
    evaluations: int = 0
    truncated: tuple[int, ...] = ()
    permanent_failures: PermanentFailures = ()
    device: str = ""
    extra_scores: tuple[tuple[float, ...], ...] = ()
