"""The oracle scores how well a picture fits its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from actors.device_kind import device_kind
from actors.facts import CallFacts
from actors.gc_pause import gc_paused
from actors.images import Pictures
from actors.models.batches import best_device, padded, rows_by_slot
from actors.models.oracles import open_oracle
from actors.settings import OracleSettings


class Oracle:
    """A plain class; `actors.pool` makes Ray actors of it."""

    def __init__(self, settings: OracleSettings, threads: int | None = None) -> None:
        self.settings = settings
        with gc_paused():
            import torch  # here, because the driver imports this module too

            if threads:
                torch.set_num_threads(threads)
            self.model = open_oracle(settings, best_device())
            self.extras = [open_oracle(extra, best_device()) for extra in settings.extras]
        self.device = device_kind()

    def ready(self) -> None:
        """Returns when the model is loaded."""

    def score(
        self,
        prompts: Sequence[str],
        picks: Sequence[tuple[int, int]],
        *pictures: Pictures,
        micro_batch_size: int | None = None,
        slots: Sequence[int] | None = None,
    ) -> tuple[list[float], CallFacts]:
        """Score one picture for each prompt; higher is better, and the scale is the model's own.

        pictures: what students' or teachers' calls returned, each (rows, height, width, 3) uint8.
        picks: for each prompt, which of `pictures` and which row of it. Any number of rows: they
        are scored in batches of the model's fixed size, padded; `micro_batch_size`: a smaller one.
        slots: the pictures' places among those, ascending; 0, 1, 2 and on by default.
        The facts have the extra scores of each picture, in the order of the settings.
        """
        start = perf_counter()
        size = micro_batch_size or self.settings.batch_size
        rows = rows_by_slot(len(prompts), slots)
        scores: list[float] = []
        extras: list[tuple[float, ...]] = []
        for first in range(0, len(rows), size):
            chosen = padded(rows[first : first + size], size)
            taken = [picks[row] for row in chosen]
            batch = np.stack([pictures[which][place] for which, place in taken])
            texts = [prompts[row] for row in chosen]
            scores += self.model.score(texts, batch)[: len(rows) - first]
            others = [extra.score(texts, batch) for extra in self.extras]
            extras += list(zip(*others, strict=True))[: len(rows) - first]
        if slots is not None:
            scores = [scores[slot] for slot in slots]
            extras = [extras[slot] for slot in slots] if extras else []
        facts = CallFacts(
            rows=len(prompts),
            seconds=perf_counter() - start,
            truncated=self.model.truncated(prompts),
            device=self.device,
            extra_scores=tuple(extras),
        )
        return scores, facts
