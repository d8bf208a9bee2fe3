"""The stages of a part as a table: who carries out a stage, what it takes, what it leaves.

A new stage is one row of STAGES and a method of the actor's class; and, where it decides about rows
or adds a column, a line in `Cascade._finished` or `active_part.row_results`. The cascade reads the
dependencies here, the dispatcher the pools, the executors the methods and their arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from actors.roles import ROLES


class Stage(StrEnum):
    """The kinds of calls."""

    DRAW = "draw"
    SCORE_DRAWN = "score drawn"
    REFINE = "refine"
    SCORE_REFINED = "score refined"
    ENCODE_DRAWN = "encode drawn"
    ENCODE_REFINED = "encode refined"
    COMMIT = "commit"


class Step(NamedTuple):
    """A stage of one attempt. A ladder may have several attempts of a stage: 0 is the first.

    A draw, its scoring and its encoding have the same number.
    """

    stage: Stage
    attempt: int = 0

    def __str__(self) -> str:
        return f"{self.stage} {self.attempt + 1}" if self.attempt else str(self.stage)


FIRST_DRAWING = Step(Stage.DRAW)


class OutputKind(StrEnum):
    """The kinds of objects that calls leave in the object store."""

    LATENTS = "latents"
    PICTURES = "pictures"
    FILES = "files"


class Argument(StrEnum):
    """The arguments of an actor's method before the references; each is a property of
    `executor.Task`."""

    PROMPTS = "prompts"
    TARGETS = "targets"
    """The texts that the oracle compares the pictures with, one for each picture."""
    SEEDS = "seeds"
    PICKS = "picks"
    """For each row, which of the references it takes and which row of it."""


FILE_POOL = "files"
"""The pool of plain tasks: they encode pictures and write parts, on CPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInfo:
    """A row of the table.

    `pool`: whose actors carry the stage out, or FILES. `takes`: the stage whose output it takes.
    `input`: which of that stage's outputs. `outputs`: what it leaves in the object store.
    `slots_of`: the stage in whose batches its rows have their slots; None where neighbours cannot
    matter. `scored_by`: the stage that scores its pictures. `gives_scores`: whether its value is
    scores. `scores_each_draw`: whether it takes each picture of a row's first drawing. `method`,
    `arguments`, `takes_images`: how an actor is called (where it takes the rows' images, it takes
    their negative prompts too).
    """

    pool: str
    takes: Stage | None = None
    input: OutputKind = OutputKind.PICTURES
    outputs: tuple[OutputKind, ...] = ()
    slots_of: Stage | None = None
    scored_by: Stage | None = None
    gives_scores: bool = False
    scores_each_draw: bool = False
    method: str = ""
    arguments: tuple[Argument, ...] = ()
    takes_images: bool = False


STAGES: dict[Stage, StageInfo] = {
    Stage.DRAW: StageInfo(
        pool="student",
        outputs=(OutputKind.LATENTS, OutputKind.PICTURES),
        slots_of=Stage.DRAW,
        scored_by=Stage.SCORE_DRAWN,
        method="draw",
        arguments=(Argument.PROMPTS, Argument.SEEDS),
        takes_images=True,
    ),
    Stage.SCORE_DRAWN: StageInfo(
        pool="oracle",
        takes=Stage.DRAW,
        slots_of=Stage.DRAW,
        gives_scores=True,
        scores_each_draw=True,
        method="score",
        arguments=(Argument.TARGETS, Argument.PICKS),
    ),
    # Which of the student's outputs the teacher takes is a rule of the job: `Rules.through`.
    Stage.REFINE: StageInfo(
        pool="teacher",
        takes=Stage.DRAW,
        outputs=(OutputKind.PICTURES,),
        slots_of=Stage.REFINE,
        scored_by=Stage.SCORE_REFINED,
        method="refine",
        arguments=(Argument.PROMPTS, Argument.SEEDS, Argument.PICKS),
        takes_images=True,
    ),
    Stage.SCORE_REFINED: StageInfo(
        pool="oracle",
        takes=Stage.REFINE,
        slots_of=Stage.REFINE,
        gives_scores=True,
        method="score",
        arguments=(Argument.TARGETS, Argument.PICKS),
    ),
    Stage.ENCODE_DRAWN: StageInfo(pool=FILE_POOL, takes=Stage.DRAW, outputs=(OutputKind.FILES,)),
    Stage.ENCODE_REFINED: StageInfo(
        pool=FILE_POOL, takes=Stage.REFINE, outputs=(OutputKind.FILES,)
    ),
    # A commit takes the files of every encoding call of its part.
    Stage.COMMIT: StageInfo(pool=FILE_POOL, input=OutputKind.FILES),
}

QUEUES = (*ROLES, FILE_POOL)
"""Every pool that calls wait for."""

ENCODINGS = tuple(stage for stage, info in STAGES.items() if OutputKind.FILES in info.outputs)
"""Stages whose files a commit takes."""

MADE_BY_STUDENT = (Stage.DRAW, Stage.SCORE_DRAWN, Stage.ENCODE_DRAWN)
MADE_BY_TEACHER = (Stage.REFINE, Stage.SCORE_REFINED, Stage.ENCODE_REFINED)
"""The stages of an attempt: its picture is made, scored and encoded."""

PICTURE_STAGES = tuple(stage for stage, info in STAGES.items() if info.scored_by)
"""Stages that make pictures, which a later stage scores; they cost network evaluations."""


def stages_of(pool: str) -> tuple[Stage, ...]:
    """The stages that a pool carries out."""
    return tuple(stage for stage, info in STAGES.items() if info.pool == pool)
