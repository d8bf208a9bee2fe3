"""The columns that a job adds to the input's own, and the row that goes into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from actors.errors import OutputError
from jobs.output.score_columns import ScoreColumns, kinds_of
from jobs.parquet_writing import IMAGE

ROW_GROUP_ROWS = 100
"""The viewer of the Hugging Face hub wants row groups of 100 rows where there are pictures."""

ROW_GROUP_BYTES = 100_000_000
"""And of 100 MB, as `datasets` 5 writes them: a reader holds a row group at a time."""

LADDER_COLUMNS: dict[str, pa.DataType] = {
    "attempts": pa.int32(),
    "rung_scores": pa.list_(pa.float32()),
}
"""Of a job with a ladder: the attempts at a row, and a score for each rung. Null: the row did not
take the rung; nan: it took it, and the rung made no picture."""


def our_columns(
    save_student: bool, ladder: bool = False, *, scores: ScoreColumns = ()
) -> dict[str, pa.DataType]:
    """The columns that a job adds to the input's own, in order.

    ladder: whether it has one. scores: those of its extra scores.
    """
    return {
        "image": IMAGE,
        **({"student_image": IMAGE} if save_student else {}),
        "seed": pa.int64(),
        "student_score": pa.float32(),
        "teacher_score": pa.float32(),
        **(LADDER_COLUMNS if ladder else {}),
        **kinds_of(scores),
        "source": pa.string(),
        "nfe": pa.int32(),
        "truncated": pa.bool_(),
        "status": pa.string(),
        "error": pa.string(),
    }


def check_names(
    columns: Sequence[str],
    seed_column: str | None,
    *,
    ladder: bool = False,
    scores: ScoreColumns = (),
) -> None:
    """Refuse input columns with names of ours, except `seed` as the column of seeds; and extra
    scores with names of our other columns.

    `student_image` is ours in every job: readers of a dataset know our columns by their names.
    """
    usual = {name.lower(): name for name in our_columns(save_student=True, ladder=True)}
    if taken := [name for name in kinds_of(scores) if name.lower() in usual]:
        raise OutputError(
            f"an extra score has the column {taken[0]!r}, and the output has one of its own, "
            f"{usual[taken[0].lower()]!r}. Give it another name; the output's own are: "
            f"{', '.join(usual.values())}."
        )
    ours = our_columns(save_student=True, ladder=ladder, scores=scores)
    replaced = {"seed"} if seed_column == "seed" else set()
    clash = sorted(set(ours) & (set(columns) - replaced))
    if clash:
        raise OutputError(
            f"the input has a column {clash[0]!r}, and so will the output. Rename it in the input; "
            f"the output's own are: {', '.join(ours)}."
        )


@dataclass(frozen=True, slots=True)
class RowResult:
    """The values of a row in our columns.

    image, student_image: (number of a list among the files given to `write_part`, place in that
    list), or None for no picture. rung_scores: as LADDER_COLUMNS says; None without a ladder.
    extra_scores: of its picture, one for each column of them; None for a row without a picture.
    """

    seed: int
    student_score: float | None
    teacher_score: float | None
    source: str | None
    nfe: int
    truncated: bool
    error: str | None
    image: tuple[int, int] | None
    student_image: tuple[int, int] | None
    rung_scores: tuple[float | None, ...] | None = None
    extra_scores: tuple[float, ...] | None = None

    @property
    def attempts(self) -> int | None:
        """Rungs that the row took; None without a ladder."""
        if self.rung_scores is None:
            return None
        return sum(score is not None for score in self.rung_scores)
