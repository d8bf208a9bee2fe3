"""What the driver learns from a call. Light: workers that only handle files import it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallFacts:
    """All that the driver fetches of a call: small, and no picture in it.

    `stored_bytes`: what the call left in the object store, by output. `evaluations`: network
    evaluations of one row, counted as they happened (0 for calls without a diffusion model).
    `truncated`: places in the batch whose prompts were longer than the model reads. `hopeless`:
    places for which nothing can be made, however often it is tried, with the reason.
    """

    rows: int
    seconds: float
    stored_bytes: tuple[int, ...] = ()
    evaluations: int = 0
    truncated: tuple[int, ...] = ()
    permanent_failures: tuple[tuple[int, str], ...] = ()
