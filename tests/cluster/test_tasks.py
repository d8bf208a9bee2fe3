"""Editing, control and several drawings as whole jobs on a real Ray, with the embedded models."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.models.presets import PRESETS
from actors.models.shapes import verifier, world
from actors.oracle import Oracle
from tests.cluster.conftest import CAPTIONS, RunJob, hashes
from tests.models.tiny import build

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def scenes(captions: list[str]) -> list[world.Scene]:
    rng = np.random.default_rng(5)
    return [world.place(world.parse(caption), rng) for caption in captions]


def png(picture: world.Picture) -> bytes:
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def write_input(folder: Path, captions: list[str], pictures: pa.Array) -> str:
    file = folder / "rows.parquet"
    pq.write_table(pa.table({"prompt": captions, "picture": pictures}), file)
    return str(file)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "data").to_pylist()  # type: ignore[no-any-return]


def sight(row: dict[str, Any]) -> verifier.Sight:
    picture = Image.open(BytesIO(row["image"]["bytes"])).convert("RGB")
    return verifier.look(np.asarray(picture))


def test_an_edit_with_several_drawings_and_a_broken_picture(
    run_here: RunJob, tmp_path: Path
) -> None:
    """The broken row fails alone and at once; other pools make the same bytes."""
    pictures = [{"bytes": png(world.render(scene))} for scene in scenes(CAPTIONS[:12])]
    (tmp_path / "one.png").write_bytes(pictures[0]["bytes"])
    pictures[0] = {"path": "one.png"}  # type: ignore[dict-item]
    pictures[5] = {"bytes": b"no picture"}
    pictures[9] = {}
    targets = [*CAPTIONS[1:12], CAPTIONS[0]]
    fields: dict[str, Any] = {
        "input": write_input(tmp_path, targets, pa.array(pictures, STRUCT)),
        "task": "edit",
        "image_column": "picture",
        "draws": 2,
        "budget": {"refine": 0.5},
        "max_failed": 0.5,
    }
    run_here(output=str(tmp_path / "out"), **fields)
    rows = rows_of(tmp_path / "out")
    errors = {place: row["error"] for place, row in enumerate(rows) if row["error"]}
    assert errors.keys() == {5, 9}
    assert (
        errors[5]
        == "draw: the picture is none of PNG, JPEG, WEBP, TIFF, BMP, GIF, AVIF, HEIF, JPEG2000"
    )
    assert errors[9] == "the picture is null"
    refined = [row for row in rows if row["teacher_score"] is not None]
    assert 3 <= len(refined) <= 7
    for row in rows:
        if row["error"] is None:
            # Two drawings of two steps; three steps of the teacher, with guidance.
            assert row["nfe"] == 4 + (row["teacher_score"] is not None) * 6
    assert rows[0]["picture"]["path"] == "one.png"
    sizes = {"student": {"size": 2}, "oracle": {"size": 1}, "teacher": {"size": 2}}
    again = {**fields, "pools": sizes, "output": str(tmp_path / "again")}
    run_here(wait_for_all=True, **again)
    assert hashes(tmp_path / "again") == hashes(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "strategy", "passes"),
    [("instruct-pix2pix", "regenerate", 3), ("flux-kontext", "refine", 1)],
)
def test_an_instruction_is_followed_and_its_target_is_scored(
    name: str,
    strategy: str,
    passes: int,
    run_here: RunJob,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The editor has random weights: its pictures mean nothing, but their numbers and scores do."""
    editor = str(build(name, tmp_path_factory.mktemp("editor")))
    targets, instructions = CAPTIONS[:12], [f"make it number {number}" for number in range(12)]
    table = pa.table(
        {
            "prompt": instructions,
            "target": targets,
            "picture": [png(world.render(scene)) for scene in scenes(targets)],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    model = {"path": editor, "guidance_scale": 3.0, "width": 32, "height": 32}
    fields: dict[str, Any] = {
        "input": str(tmp_path / "rows.parquet"),
        "task": "edit",
        "image_column": "picture",
        "target_column": "target",
        "strategy": strategy,
        "budget": {"refine": 0.4},
        "models": {
            "student": {**model, "steps": 2, "batch_size": 4},
            "oracle": {**PRESETS["shapes"].oracle.model_dump(), "batch_size": 4},
            "teacher": {**model, "steps": 5, "batch_size": 3},
        },
    }
    run_here(output=str(tmp_path / "out"), **fields)
    rows = rows_of(tmp_path / "out")
    assert [row["prompt"] for row in rows] == instructions
    refined = [row for row in rows if row["teacher_score"] is not None]
    assert 3 <= len(refined) <= 7
    for row in rows:
        # Two steps of the student; three of the teacher, as its settings say.
        assert row["nfe"] == (2 + (row["teacher_score"] is not None) * 3) * passes
    shown = np.stack([np.asarray(Image.open(BytesIO(row["image"]["bytes"]))) for row in rows])
    oracle = Oracle(PRESETS["shapes"].oracle)
    scores, _ = oracle.score(targets, [(0, place) for place in range(12)], shown)
    kept = [row[f"{row['source']}_score"] for row in rows]
    assert kept == pytest.approx(scores, abs=1e-4)
    sizes = {"student": {"size": 2}, "oracle": {"size": 1}, "teacher": {"size": 1}}
    again = {**fields, "pools": sizes, "output": str(tmp_path / "again")}
    run_here(wait_for_all=True, **again)
    assert hashes(tmp_path / "again") == hashes(tmp_path / "out")


def test_edges_say_where_things_are(run_here: RunJob, tmp_path: Path) -> None:
    """The same captions without them put things where the seed says."""
    wanted = scenes(CAPTIONS[:16])
    pictures = pa.array([png(world.render(scene)) for scene in wanted])
    source = write_input(tmp_path, CAPTIONS[:16], pictures)
    run_here(
        input=source,
        output=str(tmp_path / "led"),
        task="control",
        image_column="picture",
        control={"preprocess": "canny"},
        models={
            "preset": "shapes-control",
            "student": {"batch_size": 8},
            "teacher": {"batch_size": 8},
        },
        teacher_steps=12,
        budget={"refine": 0.5},
    )
    run_here(input=source, output=str(tmp_path / "free"), budget={"refine": 0.5})

    def num_in_place(folder: Path) -> int:
        pairs = zip(rows_of(folder), wanted, strict=True)
        return sum(verifier.is_scene(sight(row), scene) for row, scene in pairs)

    assert num_in_place(tmp_path / "led") >= 10
    assert num_in_place(tmp_path / "free") <= 4


def test_a_negative_prompt_reaches_the_model_that_is_guided(
    run_here: RunJob, tmp_path: Path
) -> None:
    """The embedded teacher is guided and its student is not."""
    pq.write_table(pa.table({"prompt": CAPTIONS[:4]}), tmp_path / "rows.parquet")
    made = {}
    for name, fields in (("plain", {}), ("avoiding", {"negative_prompt": "a small red circle"})):
        run_here(
            input=str(tmp_path / "rows.parquet"),
            output=str(tmp_path / name),
            models={"preset": "shapes", "student": {"batch_size": 4}, "teacher": {"batch_size": 4}},
            budget={"threshold": 1e9},
            save_student=True,
            teacher_steps=2,
            **fields,
        )
        made[name] = rows_of(tmp_path / name)
    for one, other in zip(made["plain"], made["avoiding"], strict=True):
        assert one["student_image"]["bytes"] == other["student_image"]["bytes"]
        assert one["image"]["bytes"] != other["image"]["bytes"]
