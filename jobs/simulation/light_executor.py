"""A simulated executor for large runs: outputs have no content, and nothing breaks.

Plans and benchmarks use it, where thousands of GPUs do millions of rows. Durations, batches and
decisions are those of `jobs.simulation.executor`; but no picture names what it was made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.executor import Completion, Task, TaskError
from jobs.execution.stages import STAGES, Stage
from jobs.scaling.rungs import AGAIN
from jobs.simulation.executor import SimulatedExecutor, SimulatedTask
from jobs.simulation.job import SimulatedPrompts

NUM_SCORES = 1 << 16
"""Chosen: a threshold then rejects its fraction of any 65,536 consecutive rows to 1 in 65,536, and
the table takes 2 MB.
"""

EVEN_SCORES = [place / NUM_SCORES for place in Random(0).sample(range(NUM_SCORES), NUM_SCORES)]
"""Evenly spaced scores in [0, 1), each once, shuffled."""


STRIDE = 7919
"""Between the scores of two attempts at a row: a prime, so that they have nothing to do with each
other."""


class LightExecutor(SimulatedExecutor):
    """See `jobs.execution.executor.Executor`. `scores` decides which rows are rejected."""

    def scores(self, owner: ActivePart, call: Call) -> Sequence[float]:
        """The scores of drawn rows: evenly in [0, 1), so that a threshold of 0.3 rejects 0.3.

        A row's score follows from its number alone, and all its drawings have the same.
        """
        first = owner.part.first_row
        return [EVEN_SCORES[(first + row) % NUM_SCORES] for row in call.rows]

    def scores_again(self, owner: ActivePart, call: Call) -> Sequence[float]:
        """The scores of a further attempt's pictures: AGAIN of them pass no threshold."""
        first = owner.part.first_row + STRIDE * (1 + call.attempt)
        return [
            0.0 if EVEN_SCORES[(first + row) % NUM_SCORES] < AGAIN else 1.0 for row in call.rows
        ]

    def commit(self, task: Task) -> dict[str, Any]:
        """Return the record; nothing is kept."""
        cascade = task.owner.cascade
        return {
            "part": task.owner.part.index,
            "rows": cascade.num_rows,
            "refined": cascade.num_refined,
            "failed": len(cascade.errors),
        }

    def _lost_input(self, task: Task) -> TaskError | None:
        return None

    def _carried_out(self, running: SimulatedTask, node: int) -> Completion:
        task = running.task
        assert task is not None
        call = task.call
        if call.stage is Stage.COMMIT:
            return Completion(running.task_ref, self.commit(task))
        facts = self.facts(task, running.seconds)
        outputs = [object() for _ in STAGES[call.stage].outputs]
        if call.stage is Stage.SCORE_DRAWN and call.attempt:
            return Completion(running.task_ref, (self.scores_again(task.owner, call), facts))
        if call.stage is Stage.SCORE_DRAWN:
            draws = task.owner.cascade.rules.draws
            scores = [score for score in self.scores(task.owner, call) for _ in range(draws)]
            return Completion(running.task_ref, (scores, facts))
        if call.stage is Stage.SCORE_REFINED:
            return Completion(running.task_ref, (self.scores_again(task.owner, call), facts))
        return Completion(running.task_ref, facts, outputs)


class LightPrompts(SimulatedPrompts):
    """Rows without texts: no light executor reads them, and millions would take memory."""

    def texts(self, rows: range) -> Sequence[str]:
        """An empty text for each row."""
        return [""] * len(rows)
