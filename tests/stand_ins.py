"""Fields of a job with stand-ins for its models (actors/timed.py), for tests of all the rest."""

from __future__ import annotations

from typing import Any

DRAWING: dict[str, Any] = {"width": 128, "height": 128, "steps": 2, "guidance_scale": 1.0}

STAND_INS: dict[str, Any] = {
    "models": {
        role: {
            "timed": {"seconds": {4: seconds}, "load_seconds": 0.1},
            "batch_size": 4,
            **more,
        }
        for role, seconds, more in (
            ("student", 0.4, DRAWING),
            ("oracle", 0.05, {}),
            ("teacher", 0.4, DRAWING),
        )
    },
    "budget": {"threshold": 0.5},
}
"""Their actors start in a second and wait instead of computing. Every picture and all latents carry
the seed of their row, and a batch of either has more than 10 kB, so a row that is lost, mixed up or
made twice is seen here as well. A part takes a second: an actor that dies then is at work."""
