"""The contact sheet of a dataset: accepted pictures, and refined ones before and after."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from actors.errors import OutputError
from actors.picture_files import PILLOW_ERRORS, open_picture
from jobs.output.failing import failing_in
from jobs.output.folder import OutputFolder
from jobs.output.pages.totals import totals_of
from jobs.output.part_file import open_part
from jobs.output.score_columns import describe_scores, score_columns
from jobs.spec.job_spec import JobSpec
from jobs.storage.storage_at import file_at

COLUMNS = 6
CELL_PIXELS = 256
GAP = 16
PAIR_GAP = 4
"""Between before and after, which belong together. These sizes, in pixels, are chosen by eye."""
LINE_PIXELS = 18
TEXT_LINES = 4
"""Below a picture: one line with its score, and at most three of its prompt."""
MARGIN = 32
PAPER, INK, FAINT, FRAME = "#fbfaf7", "#1c1b1a", "#77736c", "#d9d5cc"
BETTER, WORSE = "#2f6b3c", "#b5452c"


@dataclass(frozen=True, slots=True)
class _Picture:
    image: Image.Image
    caption: str
    ink: str = FAINT


@dataclass(frozen=True, slots=True)
class _Tile:
    """A row: one picture, or the student's and the teacher's."""

    prompt: str
    pictures: list[_Picture]


def make_sheet(folder: OutputFolder, target: str | Path | None = None, rows_each: int = 12) -> str:
    """Write a PNG with up to `rows_each` accepted and as many refined rows; returns its name.

    target: a path or a URL; by default sheet.png in the output.

    Refined rows show before and after where the job kept the student's pictures (save_student).
    Raises OutputError for a folder without finished parts.
    """
    job = folder.read_job()
    records = folder.records()
    if job is None or not records:
        raise OutputError(
            f"{folder.url!r} has no finished part yet. Give the output folder of a job that "
            "has run."
        )
    prompt_column = job["identity"]["spec"]["prompt_column"]
    accepted: list[_Tile] = []
    refined: list[_Tile] = []
    for index in sorted(records):
        _collect(folder, index, prompt_column, accepted, refined, rows_each)
        if len(accepted) >= rows_each and len(refined) >= rows_each:
            break
    totals = totals_of(records.values())
    # Up a ladder the teacher may draw anew, and more than once.
    tried = "tried" if job["spec"].get("ladder") else "refined"
    facts = (
        f"{totals.rows:,} rows, {totals.refined:,} {tried} by the teacher, "
        f"{totals.failed:,} failed, {totals.mean_nfe:.1f} network evaluations a picture"
    )
    columns = score_columns(JobSpec.model_validate(job["spec"]).models.oracle)
    if flags := describe_scores(
        [one for one in columns if one.flags], list(records.values()), totals.rows
    ):
        facts += "; " + "; ".join(flags)
    sections = [
        ("Accepted from the student", accepted),
        ("Sent to the teacher: before and after", refined),
    ]
    buffer = BytesIO()
    _draw(job["name"], facts, [section for section in sections if section[1]]).save(buffer, "PNG")
    storage, name = (folder.storage, "sheet.png") if target is None else file_at(target)
    with failing_in(storage):
        storage.put(name, buffer.getvalue())
    return storage.name_of(name)


def _collect(
    folder: OutputFolder,
    index: int,
    prompt_column: str,
    accepted: list[_Tile],
    refined: list[_Tile],
    most: int,
) -> None:
    ours = ("source", "image", "student_image", "student_score", "teacher_score", "status")
    with open_part(folder, index) as parquet:
        columns = [name for name in (prompt_column, *ours) if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(batch_size=64, columns=columns):
            for row in batch.to_pylist():
                if row["status"] != "ok":
                    continue
                tiles = accepted if row["teacher_score"] is None else refined
                if len(tiles) < most:
                    tiles.append(_Tile(row[prompt_column], _pictures(row)))


def _pictures(row: dict[str, Any]) -> list[_Picture]:
    shown, before = _open(row["image"]), row["student_score"]
    after = row["teacher_score"]
    if after is None:
        return [_Picture(shown, f"score {before:.2f}")]
    if row["source"] == "student":
        # keep: best, and the student's picture was the better one.
        return [_Picture(shown, f"kept {before:.2f}; the teacher's {after:.2f}")]
    ink = BETTER if after > before else WORSE
    if row.get("student_image") is None:
        return [_Picture(shown, f"{before:.2f} to {after:.2f}", ink)]
    return [
        _Picture(_open(row["student_image"]), f"before {before:.2f}"),
        _Picture(shown, f"after {after:.2f}", ink),
    ]


def _open(image: dict[str, Any]) -> Image.Image:
    try:
        with open_picture(image["bytes"]) as opened:
            return opened.convert("RGB")
    except PILLOW_ERRORS as error:
        raise OutputError(
            f"picture {image['path']!r} does not decode ({type(error).__name__}). `bottega verify` "
            "lists what is wrong with the dataset."
        ) from error


def _draw(name: str, facts: str, sections: list[tuple[str, list[_Tile]]]) -> Image.Image:
    title, heading, text = (ImageFont.load_default(size) for size in (34, 22, 14))
    row_pixels = CELL_PIXELS + TEXT_LINES * LINE_PIXELS + 2 * GAP
    width = COLUMNS * (CELL_PIXELS + GAP) - GAP + 2 * MARGIN
    height = 112 + sum(56 + len(_rows(tiles)) * row_pixels for _, tiles in sections) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, 28), _cut(pen, " ".join(name.split()), width - 2 * MARGIN, title), INK, title)
    pen.text((MARGIN, 76), _cut(pen, facts, width - 2 * MARGIN, text), FAINT, text)
    y = 112
    for words, tiles in sections:
        pen.line((MARGIN, y + 8, width - MARGIN, y + 8), FRAME)
        pen.text((MARGIN, y + 20), words, INK, heading)
        y += 56
        for row in _rows(tiles):
            x = MARGIN
            for tile in row:
                x = _draw_tile(sheet, pen, tile, x, y, text)
            y += row_pixels
    return sheet


def _rows(tiles: list[_Tile]) -> list[list[_Tile]]:
    """Tiles as they lie side by side; a pair is never broken."""
    rows: list[list[_Tile]] = [[]]
    for tile in tiles:
        if sum(len(t.pictures) for t in [*rows[-1], tile]) > COLUMNS:
            rows.append([])
        rows[-1].append(tile)
    return rows


def _draw_tile(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, tile: _Tile, x: int, y: int, font: Any
) -> int:
    """Draw a tile at (x, y); returns the x of the next one."""
    left = x
    below = y + CELL_PIXELS + 6
    for picture in tile.pictures:
        _draw_picture(sheet, picture.image, x, y)
        pen.rectangle((x, y, x + CELL_PIXELS - 1, y + CELL_PIXELS - 1), outline=FRAME)
        pen.text((x, below), picture.caption, picture.ink, font)
        x += CELL_PIXELS + PAIR_GAP
    for number, line in enumerate(_wrapped(pen, tile.prompt, x - PAIR_GAP - left, font)):
        pen.text((left, below + LINE_PIXELS * (number + 1)), line, INK, font)
    # Every picture takes a column, so that the columns of both sections stand in line.
    return left + len(tile.pictures) * (CELL_PIXELS + GAP)


def _draw_picture(sheet: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    # A 64-pixel picture is enlarged by whole pixels, a large one scaled down; neither is cropped.
    scale = CELL_PIXELS / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    shown = picture.resize(size, how)
    sheet.paste(shown, (left + (CELL_PIXELS - size[0]) // 2, top + (CELL_PIXELS - size[1]) // 2))


def _wrapped(pen: ImageDraw.ImageDraw, prompt: str, width: int, font: Any) -> list[str]:
    """The prompt in lines of `width` pixels, at most TEXT_LINES - 1; dots end a longer one."""
    lines = [""]
    for word in (word[:width] for word in prompt.split()):  # a letter is wider than a pixel
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
        if len(lines) == TEXT_LINES:  # one more than fits, below the line with the score
            lines = [*lines[:-2], f"{lines[-2]} ..."]
            break
    return [_cut(pen, line, width, font) for line in lines]


def _cut(pen: ImageDraw.ImageDraw, line: str, width: int, font: Any) -> str:
    """The line, cut to `width` pixels: a longer one, such as an endless word, ends in dots."""
    if pen.textlength(line, font) <= width:
        return line
    line = line.removesuffix(" ...")
    while line and pen.textlength(f"{line} ...", font) > width:
        line = line[:-1]
    return f"{line} ..."
