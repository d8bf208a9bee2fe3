"""The ladder of attempts in a job file: what is tried on a row, in order, until a score passes.

    ladder:
      - {draw: 3, until: 0.25}
      - {refine: {strength: 0.8, steps: 8}, below: 0.20}
      - {regenerate: {steps: 12}, below: 0.15, keep: best}

`draws`, `strategy`, `rollback`, `teacher_steps`, `budget` and `keep` are the short way to say the
common ladder of one drawing and one attempt of the teacher's; `attempts_of` makes one list of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from actors.strict import Settings
from jobs.spec.climb import Keep, Make, Rung
from jobs.spec.quantile import threshold_for

MOST_ATTEMPTS = 64
"""Of a row. Chosen wide: on the embedded set more than four drawings helped nobody."""


def exactly_one_of(model: BaseModel, names: str) -> None:
    """Refuse settings of which not exactly one is given."""
    given = [name for name, value in model if value is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {names}, not {' and '.join(given) or 'none'}")


class _Levels(Settings):
    """The ways to say how far back."""

    strength: float | None = Field(
        default=None, ge=0.05, le=1, description="Fraction of the teacher's timesteps (img2img)."
    )
    variance: float | None = Field(
        default=None, gt=0, lt=1, description="The paper's sigma: x = sqrt(1-s) x0 + sqrt(s) z."
    )
    sigma: float | None = Field(
        default=None, gt=0, le=1, description="For flow matching: x = (1-s) x0 + s z."
    )


class Rollback(_Levels):
    """How far back the teacher goes before it refines, given in exactly one way."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Rollback:
        exactly_one_of(self, "strength, variance or sigma")
        return self


class Score(Settings):
    """A score of the oracle's, on its own scale."""

    score: float = Field(description="The score that a picture has to reach.")


Quantile = Annotated[float, Field(ge=0, le=1)]


class Refine(_Levels):
    """The teacher refines the student's picture, rolled back by one of the three."""

    steps: int | None = Field(
        default=None, ge=1, le=1000, description="As `teacher_steps` of the job file."
    )

    @model_validator(mode="after")
    def _rolled_back(self) -> Refine:
        _ = self.rollback
        return self

    @property
    def rollback(self) -> Rollback | None:
        """How far back; None for the default."""
        given = self.model_dump(exclude={"steps"}, exclude_none=True)
        return Rollback(**given) if given else None


class Regenerate(Settings):
    """The teacher draws anew, from noise."""

    steps: int | None = Field(
        default=None, ge=1, le=1000, description="As `teacher_steps` of the job file."
    )


class LadderRung(Settings):
    """One kind of attempt: the student draws, or the teacher refines or draws anew."""

    draw: int | None = Field(
        default=None,
        ge=1,
        le=MOST_ATTEMPTS,
        description="The student draws, up to so many times, each time with other noise; the row "
        "keeps the best scored drawing.",
    )
    until: Quantile | Score | None = Field(
        default=None,
        description="With `draw`: it draws again while the row's best drawing scores below this: a "
        "quantile of the scores of the student's first drawings, which the calibration measures, "
        "or {score: 0.15}.",
    )
    refine: Refine | None = Field(
        default=None, description="The teacher refines the row's drawing, rolled back."
    )
    regenerate: Regenerate | None = Field(
        default=None, description="The teacher draws the row anew, from noise."
    )
    below: Quantile | Score | None = Field(
        default=None,
        description="With `refine` and `regenerate`: of rows whose picture scores below this; as "
        "`until`.",
    )
    keep: Keep | None = Field(
        default=None,
        description="With `refine` and `regenerate`, the picture that the row then has: the "
        "teacher's (the default), or the better scored.",
    )

    @model_validator(mode="after")
    def _no_contradictions(self) -> LadderRung:
        made = {"draw": self.draw, "refine": self.refine, "regenerate": self.regenerate}
        given = [name for name, value in made.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                "a rung has exactly one of draw, refine or regenerate, not "
                f"{' and '.join(given) or 'none'}"
            )
        if self.draw is None:
            if self.until is not None:
                raise ValueError("until: it goes with draw. Say which rows the teacher gets: below")
            if self.below is None:
                raise ValueError(
                    f"below: {given[0]} needs it: which rows the teacher gets, as `below: 0.2` for "
                    "the fifth with the lowest scores"
                )
            return self
        for name in ("below", "keep"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: it goes with refine and regenerate. "
                    + ("Say when drawing ends: until" if name == "below" else "Of drawings a row "
                       "always keeps the better scored")
                )  # fmt: skip
        if self.draw > 1 and self.until is None:
            raise ValueError(
                f"until: draw: {self.draw} needs it: the score at which a row is not drawn again, "
                "as `until: 0.25`; `until: 1.0` draws every row each time"
            )
        return self


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, of the short way or of a ladder. `passing`: a row whose picture scores below
    this takes it; None where the budget says that, and for the first, which every row takes."""

    make: Make
    passing: float | Score | None = None
    keep: Keep = "best"
    rollback: Rollback | None = None
    steps: int | None = None

    def rung(self, below: float) -> Rung:
        """The rung, with its threshold."""
        return Rung(make=self.make, below=below, keep=self.keep)


def attempts_of(ladder: Sequence[LadderRung]) -> tuple[Attempt, ...]:
    """The attempts of a ladder that `check_ladder` has passed."""
    found: list[Attempt] = []
    for rung in ladder:
        if rung.draw is not None:
            found += [Attempt("draw", rung.until if found or n else None) for n in range(rung.draw)]
        elif rung.refine is not None:
            one = rung.refine
            found.append(
                Attempt("refine", rung.below, rung.keep or "teacher", one.rollback, one.steps)
            )
        else:
            assert rung.regenerate is not None
            steps = rung.regenerate.steps
            found.append(Attempt("regenerate", rung.below, rung.keep or "teacher", steps=steps))
    return tuple(found)


def in_quantiles(ladder: Sequence[LadderRung], of_scores: float) -> tuple[LadderRung, ...]:
    """A ladder with this quantile in place of each score, whose fraction only a sample says."""

    def of(passing: float | Score | None) -> float | None:
        return of_scores if isinstance(passing, Score) else passing

    return tuple(
        rung.model_copy(update={"until": of(rung.until), "below": of(rung.below)})
        for rung in ladder
    )


SHORT = ("budget", "draws", "strategy", "rollback", "teacher_steps", "keep")
"""The fields that say the common ladder in short."""


def check_alone(fields: dict[str, Any]) -> None:
    """Refuse a ladder beside the fields that would say it in short. Raises ValueError."""
    beside = [name for name in SHORT if fields.get(name) is not None]
    if fields.get("ladder") is not None and beside:
        raise ValueError(
            f"ladder: it says what {' and '.join(beside)} would say in short. Give one or the "
            "other: `below`, `keep` and the steps stand on the ladder's rungs"
        )


def check_ladder(ladder: Sequence[LadderRung]) -> None:
    """Refuse rungs in an order that means nothing. Raises ValueError."""
    if not ladder or ladder[0].draw is None:
        raise ValueError("ladder: its first rung is the student's: {draw: 1}, or more with `until`")
    kinds = [rung.draw is None for rung in ladder]
    if kinds != sorted(kinds):
        raise ValueError(
            "ladder: the student's drawings come before the teacher's pictures, which cost more"
        )
    if ladder[0].draw == 1 and ladder[0].until is not None:
        raise ValueError(
            "ladder: `until` of the first rung says when a row is drawn again, and draw: 1 draws "
            "it once. Raise draw, or leave until out"
        )
    for rung in ladder[1:]:
        if rung.draw is not None and rung.until is None:
            raise ValueError(
                f"ladder: a further {{draw: {rung.draw}}} needs `until`: the score below which a "
                "row is drawn again"
            )
    if (count := len(attempts_of(ladder))) > MOST_ATTEMPTS:
        raise ValueError(f"ladder: it has {count} attempts, more than {MOST_ATTEMPTS}")


def certain_thresholds(attempts: Sequence[Attempt]) -> tuple[float, ...] | None:
    """The thresholds of a ladder that needs no sample, of each rung after the first; else None."""
    found = [_certain(attempt.passing) for attempt in attempts[1:]]
    return None if None in found else tuple(one for one in found if one is not None)


def thresholds_of(attempts: Sequence[Attempt], scores: Sequence[float]) -> tuple[float, ...]:
    """The thresholds of a ladder, of each rung after the first.

    scores: the sample's, ascending, of the student's first drawings; at least one.
    """
    found = []
    for attempt in attempts[1:]:
        passing, certain = attempt.passing, _certain(attempt.passing)
        assert passing is not None
        if certain is None:
            assert not isinstance(passing, Score)
            certain = threshold_for(scores, passing)
        found.append(certain)
    return tuple(found)


def _certain(passing: float | Score | None) -> float | None:
    if isinstance(passing, Score):
        return passing.score
    if passing in (0, 1):
        return inf if passing else -inf
    return None


def describe(ladder: Sequence[LadderRung]) -> str:
    """A ladder in one line, for people."""
    return "; ".join(map(_described, ladder))


def by_attempt(rows: Sequence[int]) -> str:
    """How many rows took each rung, for people: a part of a sentence."""
    each = [f"attempt {number} on {count:,}" for number, count in enumerate(rows, 1)]
    return " and ".join(filter(None, [", ".join(each[:-1]), *each[-1:]]))


def describe_attempt(rung: LadderRung) -> str:
    """What is tried, without the rows that it is tried on."""
    if rung.draw is not None:
        return "draw once" if rung.draw == 1 else f"draw up to {rung.draw} times"
    settings = rung.refine or rung.regenerate
    given = settings.model_dump(exclude_none=True) if settings else {}
    shown = ", ".join(f"{name} {value:g}" for name, value in given.items())
    made = "refine" if rung.refine else "regenerate"
    return f"{made}{f' ({shown})' if shown else ''}"


def _described(rung: LadderRung) -> str:
    made = describe_attempt(rung)
    if rung.draw is not None:
        return made + (f" until {_bar(rung.until)}" if rung.until is not None else "")
    kept = "the better is kept" if rung.keep == "best" else "the teacher's is kept"
    return f"{made} below {_bar(rung.below)}, {kept}"


def _bar(passing: float | Score | None) -> str:
    return f"score {passing.score:g}" if isinstance(passing, Score) else f"quantile {passing:g}"
