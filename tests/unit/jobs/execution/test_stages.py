"""The table of stages says all that a stage needs, and agrees with the actors' classes."""

from __future__ import annotations

import inspect

from actors.actor_classes import actor_classes
from actors.roles import ROLES
from jobs.execution.executor import Task
from jobs.execution.stages import FILE_POOL, STAGES, OutputKind, Stage, stages_of
from jobs.spec.job_spec import make_spec


def test_every_stage_has_a_row_and_every_pool_a_stage() -> None:
    assert set(STAGES) == set(Stage)
    assert {info.pool for info in STAGES.values()} == {*ROLES, FILE_POOL}
    assert all(stages_of(pool) for pool in ROLES)


def test_what_a_stage_takes_is_left_by_the_stage_that_it_names() -> None:
    for stage, info in STAGES.items():
        if info.takes:
            assert info.input in STAGES[info.takes].outputs, stage
        if info.scored_by:
            scoring = STAGES[info.scored_by]
            assert scoring.takes is stage
            assert scoring.gives_scores
            assert OutputKind.PICTURES in info.outputs


def test_actors_have_the_methods_and_the_arguments_that_the_table_names() -> None:
    """Of the real classes and of the timed ones, without loading a model."""
    for preset in ("shapes", "timed"):
        models = make_spec({"input": "-", "output": "-", "models": preset}).models
        for role, kind in actor_classes(models).items():
            for stage in stages_of(role):
                info = STAGES[stage]
                parameters = list(inspect.signature(getattr(kind, info.method)).parameters)
                # The oracle calls its texts prompts, whatever they are to the row.
                named = ["prompts" if name == "targets" else name for name in info.arguments]
                assert parameters[1 : 1 + len(named)] == named, (kind, stage)
                assert "micro_batch_size" in parameters
                assert ("images" in parameters) == info.takes_images


def test_a_task_has_every_argument_of_the_table() -> None:
    for info in STAGES.values():
        for argument in info.arguments:
            assert isinstance(inspect.getattr_static(Task, argument), property), argument
