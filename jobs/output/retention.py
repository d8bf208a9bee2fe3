"""Which dated outputs stay: pure. `jobs.output.dated_outputs` looks at them and deletes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DATE, FOR = "{date}", "{for}"

_FORMS = {DATE: r"(?P<date>\d{4}-\d{2}-\d{2})", FOR: r"(?P<label>\d{4}-\d{2}-\d{2}[a-z0-9-]*)"}
"""What stands for a `--for`: only what begins with a date has an order."""


@dataclass(frozen=True, slots=True)
class DatedPlaces:
    """Where the outputs of a pattern lie: `STEP` of folders below `parent`, and `rest` in them."""

    parent: str
    step: str
    rest: str

    @classmethod
    def of(cls, pattern: str) -> DatedPlaces:
        """`s3://b/faces/{date}/v1` is `{date}` below `s3://b/faces`, and `v1` in it."""
        steps = pattern.split("/")
        first = next(n for n, step in enumerate(steps) if DATE in step or FOR in step)
        return cls("/".join(steps[:first]) or "/", steps[first], "/".join(steps[first + 1 :]))

    def place(self, folder: str) -> tuple[str, str] | None:
        """The date, and the place below `parent`, of the output in a folder there; None for a
        folder that the pattern does not name."""
        found = re.fullmatch(_expression(self.step), folder)
        if found is None:
            return None
        known = found.groupdict()
        label = known.get("label") or known.get("date") or ""
        date = known.get("date") or label[:10]
        rest = self.rest.replace(DATE, date).replace(FOR, label)
        return label, "/".join(filter(None, (folder, rest)))


def _expression(step: str) -> str:
    """A step of a pattern as an expression, in which the same stands for the same everywhere."""
    seen: set[str] = set()
    made = []
    for piece in re.split(r"(\{date\}|\{for\})", step):
        if piece not in _FORMS:
            made.append(re.escape(piece))
        else:
            name = "date" if piece == DATE else "label"
            made.append(f"(?P={name})" if piece in seen else _FORMS[piece])
            seen.add(piece)
    return "".join(made)


@dataclass(frozen=True, slots=True)
class DatedOutput:
    """An output for a date. `kept_because`: why it may not be deleted; empty if it may.

    `finished`: whether every part is there. `files`: its files, and `num_bytes` of them.
    """

    url: str
    date: str
    finished: bool = False
    kept_because: str = ""
    files: tuple[str, ...] = ()
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an output, and why. `done`: whether it was deleted, and not only shown."""

    output: DatedOutput
    goes: bool
    reason: str
    done: bool = False

    def __str__(self) -> str:
        what = "deleted" if self.done else "would go" if self.goes else "stays"
        size = f", {self.output.num_bytes / 1e6:,.1f} MB" if self.goes else ""
        return f"{self.output.url}: {what} ({self.reason}{size})"


def decide(outputs: Sequence[DatedOutput], keep: int, current: str = "") -> list[Verdict]:
    """What becomes of each output, the newest first.

    The newest `keep` finished ones stay, and so does all that is newer than the oldest of these.
    Outputs that are not ours count for nothing. current: the output of the run that asks.
    """
    found = sorted(outputs, key=lambda one: one.date, reverse=True)
    finished = [one.date for one in found if one.finished and not one.kept_because]
    oldest = finished[keep - 1] if len(finished) >= keep else ""
    verdicts = []
    for one in found:
        if one.kept_because:
            verdicts.append(Verdict(one, False, one.kept_because))
        elif one.url == current:
            verdicts.append(Verdict(one, False, "it is this run's"))
        elif one.date >= oldest:
            what = f"one of the newest {keep}" if one.finished else "not finished, and new"
            verdicts.append(Verdict(one, False, what))
        else:
            verdicts.append(Verdict(one, True, f"not among the newest {keep}"))
    return verdicts
