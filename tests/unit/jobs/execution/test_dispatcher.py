"""The results of a part that is done; the dispatcher itself runs in tests/simulation and on Ray."""

from __future__ import annotations

from math import inf

import pyarrow as pa

from jobs.execution.calls import Call, Done, Instruction
from jobs.execution.cascade import Cascade
from jobs.execution.dispatcher import ActivePart, row_results
from jobs.execution.stages import FIRST_DRAWING, Stage
from jobs.input.prompts import Part
from jobs.rules import Rules


def test_truncated_marks_rows_that_were_cut_and_did_not_fail() -> None:
    rules = Rules.pair(
        threshold=-inf,
        student_batch=2,
        teacher_batch=2,
        strategy="refine",
        through="latents",
        keep="teacher",
        save_student=False,
        max_attempts=1,
    )
    prompts = ["long", "", "short", "long"]
    part = Part(0, 0, pa.table({"prompt": prompts}), prompts, [1, 2, 3, 4], {1: "empty"})
    owner = ActivePart(part, Cascade(4, rules, part.invalid_rows))
    owner.truncated["student"] = {0, 1, 3}
    todo: list[Instruction] = owner.cascade.start()
    while not isinstance(todo[0], Call) or todo[0].stage is not Stage.COMMIT:
        call = todo.pop(0)
        if isinstance(call, Call):
            scores = (0.5,) * len(call.rows) if call.stage is Stage.SCORE_DRAWN else ()
            todo += owner.cascade.handle(Done(call, scores))
    results = row_results(owner, todo[0], {FIRST_DRAWING: 4}, save_student=False)
    assert [result.error for result in results] == [None, "empty", None, None]
    assert [result.truncated for result in results] == [True, False, False, True]
