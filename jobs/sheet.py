"""A contact sheet of a dataset: what was accepted, and what the teacher made of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from actors.errors import OutputError
from jobs.parts import OutputFolder

COLUMNS = 4
CELL_PIXELS = 288
TEXT_PIXELS = 76
MARGIN = 16
BACKGROUND, INK, FAINT = "#fbfaf7", "#1c1b1a", "#77736c"


@dataclass(frozen=True, slots=True)
class _Tile:
    prompt: str
    pictures: list[tuple[Image.Image, str]]


def make_sheet(folder: OutputFolder, target: Path, rows_each: int = 12) -> Path:
    """Write a PNG with up to `rows_each` accepted and as many refined rows; returns its path.

    Refined rows show before and after where the job kept the student's pictures (save_student).
    Raises OutputError for a folder without finished parts.
    """
    job = folder.read_job()
    records = folder.records()
    if job is None or not records:
        raise OutputError(
            f"{str(folder.path)!r} has no finished part yet. Give the output folder of a job that "
            "has run."
        )
    prompt_column = job["identity"]["spec"]["prompt_column"]
    accepted: list[_Tile] = []
    refined: list[_Tile] = []
    for index in sorted(records):
        _collect(folder.part_file(index), prompt_column, accepted, refined, rows_each)
        if len(accepted) >= rows_each and len(refined) >= rows_each:
            break
    totals = {
        key: sum(r[key] for r in records.values()) for key in ("rows", "refined", "failed", "nfe")
    }
    title = (
        f"{job['name']}: {totals['rows']:,} rows, {totals['refined']:,} refined by the teacher, "
        f"{totals['failed']:,} failed, {totals['nfe'] / max(1, totals['rows']):.1f} network "
        "evaluations a picture"
    )
    sections = [("Accepted from the student", accepted), ("Sent to the teacher", refined)]
    _draw(title, sections).save(target, "PNG")
    return target


def _collect(
    file: Path, prompt_column: str, accepted: list[_Tile], refined: list[_Tile], most: int
) -> None:
    parquet = pq.ParquetFile(file)
    ours = ("source", "image", "student_image", "student_score", "teacher_score", "status")
    columns = [name for name in (prompt_column, *ours) if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(batch_size=64, columns=columns):
        for row in batch.to_pylist():
            if row["status"] != "ok":
                continue
            tiles = accepted if row["teacher_score"] is None else refined
            if len(tiles) < most:
                tiles.append(_tile(row, prompt_column))


def _tile(row: dict[str, Any], prompt_column: str) -> _Tile:
    after = _open(row["image"])
    if row["teacher_score"] is not None and row["source"] == "student":
        # keep: best, and the student's picture was the better one.
        kept = f"kept {row['student_score']:.2f}, the teacher's {row['teacher_score']:.2f}"
        return _Tile(row[prompt_column], [(after, kept)])
    if row["teacher_score"] is None:
        return _Tile(row[prompt_column], [(after, f"score {row['student_score']:.2f}")])
    before = row.get("student_image")
    gained = f"{row['student_score']:.2f} to {row['teacher_score']:.2f}"
    if before is None:
        return _Tile(row[prompt_column], [(after, f"score {gained}")])
    return _Tile(
        row[prompt_column],
        [
            (_open(before), f"before {row['student_score']:.2f}"),
            (after, f"after {row['teacher_score']:.2f}"),
        ],
    )


def _open(image: dict[str, Any]) -> Image.Image:
    return Image.open(BytesIO(image["bytes"])).convert("RGB")


def _draw(title: str, sections: list[tuple[str, list[_Tile]]]) -> Image.Image:
    big, small = ImageFont.load_default(22), ImageFont.load_default(14)
    line = CELL_PIXELS + TEXT_PIXELS + MARGIN
    lines = [-(-sum(len(t.pictures) for t in tiles) // COLUMNS) for _, tiles in sections]
    width = COLUMNS * (CELL_PIXELS + MARGIN) + MARGIN
    height = 64 + sum(48 + count * line for count in lines if count) + MARGIN
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, 20), title, INK, small)
    y = 64
    for (heading, tiles), count in zip(sections, lines, strict=True):
        if not count:
            continue
        pen.text((MARGIN, y), heading, INK, big)
        y += 48
        place = 0
        for tile in tiles:
            for picture, score in tile.pictures:
                left = MARGIN + place % COLUMNS * (CELL_PIXELS + MARGIN)
                top = y + place // COLUMNS * line
                _draw_picture(sheet, picture, left, top)
                _write_below(pen, tile.prompt, score, left, top + CELL_PIXELS + 6, small)
                place += 1
        y += count * line
    return sheet


def _draw_picture(sheet: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    # Small pictures are enlarged by whole pixels, large ones scaled down; neither is cropped.
    scale = CELL_PIXELS / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    shown = picture.resize(size, how)
    sheet.paste(shown, (left + (CELL_PIXELS - size[0]) // 2, top + (CELL_PIXELS - size[1]) // 2))


def _write_below(
    pen: ImageDraw.ImageDraw, prompt: str, score: str, left: int, top: int, font: Any
) -> None:
    lines, current = [], ""
    for word in prompt.split():
        longer = f"{current} {word}".strip()
        if pen.textlength(longer, font) > CELL_PIXELS and current:
            lines.append(current)
            current = word
        else:
            current = longer
    lines.append(current)
    if len(lines) > 3:
        lines = [*lines[:2], lines[2] + " ..."]
    for number, text in enumerate(lines):
        pen.text((left, top + 17 * number), text, INK, font)
    pen.text((left, top + 17 * len(lines)), score, FAINT, font)
