"""`--extend`: proves that an input only grew.

A file that has the name, size and content hash that it had is the same file. The parts keep the
input's own columns, so each finished row of a file that changed is compared, value by value, with
the row that the input has now; that serves every format alike. (A hash of the old bytes would not:
a Parquet file that grew is another file.) Rows that were not drawn yet need no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pyarrow as pa

from jobs.input.prompts import Part, Prompts
from jobs.output.columns import our_columns
from jobs.output.folder import OutputFolder
from jobs.output.part_file import open_part
from jobs.output.score_columns import score_columns
from jobs.spec.job_spec import JobSpec

Files = Sequence[dict[str, Any]]
"""Files of an input, as `Prompts.describe_files` returns them."""


def files_changed(before: Files, now: Files) -> str | None:
    """The first change of the files that is more than growth; None if they may only have grown.

    The last file may have grown, and files may follow it; the others must be the same as before.
    """
    for number, old in enumerate(before):
        if number >= len(now):
            return f"{old['name']} is not there any more"
        new = now[number]
        if new["name"] != old["name"]:
            return f"file {number + 1} was {old['name']}, and is {new['name']}"
        if new != old and number < len(before) - 1:
            return f"{old['name']} changed, and it is not the last of the files that were there"
    return None


def num_same_files(before: Files, now: Files) -> int:
    """The number of first files that are as they were."""
    pairs = zip(before, now, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def rows_changed(
    folder: OutputFolder, prompts: Prompts, rows_before: int, same_files: int = 0
) -> str | None:
    """The first difference between the finished parts' rows and the input's; None if there is none.

    same_files: the first files of the input that are as they were; their rows are not read. Of the
    other finished parts it reads the input, and all of the part but the pictures.
    """
    if prompts.num_rows < rows_before:
        return f"it had {rows_before:,} rows, and has {prompts.num_rows:,}"
    first = prompts.rows_in_first_files(same_files) // prompts.spec.part_rows
    finished = {
        index: record["rows"] for index, record in folder.records().items() if index >= first
    }
    for part in prompts.parts(only=sorted(finished)):
        changed = _part_changed(folder, part, finished[part.index])
        if changed:
            return changed
    return None


def _part_changed(folder: OutputFolder, part: Part, rows: int) -> str | None:
    spec = JobSpec.model_validate(folder.require_job()["spec"])
    scores = score_columns(spec.models.oracle)
    ours = our_columns(save_student=True, ladder=spec.ladder is not None, scores=scores)
    with open_part(folder, part.index) as file:
        had = [name for name in file.schema_arrow.names if name not in ours]
        before = file.read(columns=[*had, "seed"])
    has = [name for name in part.table.column_names if name not in ours]
    if had != has:
        return f"its columns were {', '.join(had)}, and are {', '.join(has)}"
    for name in had:
        was, is_now = before.schema.field(name).type, part.table.schema.field(name).type
        if was != is_now:
            return f"column {name!r} was {was}, and is {is_now}"
    now = part.table.select(had).append_column("seed", pa.array(part.seeds, pa.int64()))
    now = now.slice(0, rows)
    if now.equals(before):
        return None
    for name in (*had, "seed"):
        # Compares their texts, because a NaN is not equal to itself.
        pairs = zip(before.column(name).to_pylist(), now.column(name).to_pylist(), strict=True)
        for row, (old, new) in enumerate(pairs):
            if repr(old) != repr(new):
                return f"row {part.first_row + row}: {name} was {_short(old)}, and is {_short(new)}"
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
