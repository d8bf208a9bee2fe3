"""The main job on a real Ray: prompts in, a dataset out."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from datasets import load_dataset
from PIL import Image
from safetensors.torch import load_file, save_file

from actors.errors import OutputError, PoolFailedError, SpecError, TooManyFailuresError
from actors.models.presets import PRESETS
from jobs import search_ladders
from jobs.execution.progress import Progress
from jobs.execution.resources import Resources
from jobs.execution.stages import STAGES
from jobs.output.folder import OutputFolder
from jobs.output.pages.contact_sheet import make_sheet
from jobs.output.verify import verify
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from tests.cluster.conftest import FAST, FIELDS, RunJob, hashes, rows_of


def _heavy(value: object) -> bool:
    """Whether it is more than a few numbers and words; the smallest picture here has 12 kB."""
    if isinstance(value, torch.Tensor | np.ndarray | bytes | pa.Table | Image.Image):
        return True
    return len(pickle.dumps(value)) > 2000


def test_every_prompt_was_drawn_scored_and_where_rejected_improved(
    done: tuple[Job, Progress],
) -> None:
    job, progress = done
    rows = rows_of(job.output.path)
    assert [row["n"] for row in rows] == list(range(22))
    assert {row["status"] for row in rows} == {"ok"}
    before = job.output.read_job()
    assert before is not None
    threshold = float(before["threshold"])
    for row in rows:
        rejected = row["student_score"] < threshold
        assert row["source"] == ("teacher" if rejected else "student")
        assert (row["teacher_score"] is not None) == rejected
        assert (row["student_image"] is not None) == rejected
        assert row["nfe"] == 2 + (3 * 2 if rejected else 0)
    refined = sum(row["source"] == "teacher" for row in rows)
    assert 0 < refined < 22
    assert progress.refined_rows == refined
    assert progress.done_rows == 22


def test_the_teacher_changes_the_picture(done: tuple[Job, Progress]) -> None:
    for row in rows_of(done[0].output.path):
        if row["student_image"]:
            before = np.asarray(Image.open(BytesIO(row["student_image"]["bytes"])))
            after = np.asarray(Image.open(BytesIO(row["image"]["bytes"])))
            assert before.shape == after.shape == (64, 64, 3)
            assert not np.array_equal(before, after)


def test_the_driver_never_fetches_a_tensor(
    done: tuple[Job, Progress], fetched: list[object]
) -> None:
    assert len(fetched) > 20
    assert not [value for value in fetched if _heavy(value)]
    draw = {"latents": torch.zeros(4, 4, 16, 16), "pictures": np.zeros((4, 64, 64, 3), np.uint8)}
    assert all(_heavy(value) and _heavy([value]) for value in draw.values())


def test_datasets_shows_pictures(done: tuple[Job, Progress], tmp_path: Path) -> None:
    files = str(done[0].output.path / "data/**/*.parquet")
    data = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(data) == 22
    assert data[0]["image"].size == (64, 64)
    assert data[0]["prompt"] == "a small red circle on a gray background"
    for stored, shown in zip(rows_of(done[0].output.path), data, strict=True):
        for column in ("image", "student_image"):
            if stored[column] is None:
                assert shown[column] is None
                continue
            picture = Image.open(BytesIO(stored[column]["bytes"]))
            assert np.array_equal(np.asarray(shown[column]), np.asarray(picture))


def test_a_finished_dataset_says_so_and_has_a_card(done: tuple[Job, Progress]) -> None:
    folder = done[0].output.path
    assert (folder / "_SUCCESS").is_file()
    card = (folder / "README.md").read_text()
    assert "data_files: data/**/*.parquet" in card
    assert "| rows | 22 |" in card
    assert "refine, strength 0.6, 3 steps" in card
    assert len(load_dataset(str(folder), split="train")) == 22


def test_records_tell_how_each_part_went(done: tuple[Job, Progress]) -> None:
    records = done[0].output.records()
    assert sorted(records) == [0, 1, 2]
    assert [records[n]["rows"] for n in range(3)] == [8, 8, 6]
    for record in records.values():
        assert record["from_student"] + record["from_teacher"] == record["rows"]
        assert record["seconds"]["student"] > 0
        assert record["failed_calls"] == 0


def test_a_contact_sheet_is_a_picture(done: tuple[Job, Progress], tmp_path: Path) -> None:
    path = make_sheet(done[0].output, tmp_path / "sheet.png", rows_each=4)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000


def test_a_sheet_needs_a_finished_part(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no finished part"):
        make_sheet(OutputFolder(tmp_path), tmp_path / "sheet.png")


def test_a_finished_job_starts_no_actor(done: tuple[Job, Progress], run_here: RunJob) -> None:
    job, _ = done
    before = hashes(job.output.path)

    def no_dispatcher(*_: object) -> None:
        raise AssertionError("a dispatcher started")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.execution.dispatcher.Dispatcher.__enter__", no_dispatcher)
        _, progress = run_here(input=job.spec.input, output=job.spec.output, **FIELDS)
    assert progress.done_rows == progress.resumed_rows == 22
    assert hashes(job.output.path) == before


def test_the_number_of_actors_changes_no_byte(
    done: tuple[Job, Progress], run_here: RunJob, tmp_path: Path
) -> None:
    job, _ = done
    pools = {"student": {"size": 2}, "oracle": {"size": 1}, "teacher": {"size": 2}}
    most_busy = {"student": 0, "teacher": 0}

    def watch(dispatcher: Any) -> None:
        for name, most in most_busy.items():
            most_busy[name] = max(most, dispatcher.pools[name].num_busy)

    fields = {**FIELDS, "pools": pools}
    run_here(
        watch=watch, wait_for_all=True, input=job.spec.input, output=str(tmp_path / "out"), **fields
    )
    assert most_busy == {"student": 2, "teacher": 2}, "one actor has done everything"
    assert hashes(tmp_path / "out") == hashes(job.output.path)


def test_a_killed_teacher_changes_no_byte(
    done: tuple[Job, Progress], run_here: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of actor is killed once, with a call; its calls are repeated."""
    job, _ = done
    killed: set[str] = set()

    def kill_at_first_calls(dispatcher: Any) -> None:
        if hasattr(dispatcher.executor, "submits"):
            return
        dispatcher.executor.submits = submit = dispatcher.executor.submit_actor_task

        def submit_and_kill(handle: Any, task: Any) -> Any:
            sent = submit(handle, task)
            pool = STAGES[task.call.stage].pool
            if pool not in killed:
                killed.add(pool)
                ray.kill(handle.actor)
            return sent

        monkeypatch.setattr(dispatcher.executor, "submit_actor_task", submit_and_kill)

    run_here(
        watch=kill_at_first_calls, input=job.spec.input, output=str(tmp_path / "out"), **FIELDS
    )
    assert killed == {"student", "oracle", "teacher"}
    assert hashes(tmp_path / "out") == hashes(job.output.path)


def test_another_job_in_the_folder_is_refused(done: tuple[Job, Progress], run_here: RunJob) -> None:
    job, _ = done
    with pytest.raises(OutputError, match="seed: was 7, is 8"):
        run_here(input=job.spec.input, output=job.spec.output, **{**FIELDS, "seed": 8})


def test_regenerate_and_keep_best(captions: Path, run_here: RunJob, tmp_path: Path) -> None:
    fields = {"strategy": "regenerate", "keep": "best", "image_format": "webp"}
    job, _ = run_here(
        input=str(captions), output=str(tmp_path / "out"), budget={"refine": 1.0}, **fields
    )
    assert job.refinement.strength == 1.0
    rows = rows_of(job.output.path)
    for row in rows:
        better = row["teacher_score"] >= row["student_score"]
        assert row["source"] == ("teacher" if better else "student")
        assert row["image"]["path"].endswith(".webp")
        assert Image.open(BytesIO(row["image"]["bytes"])).format == "WEBP"
    assert len({row["source"] for row in rows}) == 2


def test_a_job_with_a_ladder_has_the_scores_of_its_search(
    captions: Path, run_here: RunJob, ray_here: Resources, tmp_path: Path
) -> None:
    """Every row is sampled: what the search saw of a row is what the dataset says of it."""
    ladder = [{"draw": 2, "until": 0.5}, {"refine": {"strength": 0.8, "steps": 2}, "below": 0.5}]
    fast = {name: value for name, value in FAST.items() if name != "teacher_steps"}
    places = {"input": str(captions), "output": str(tmp_path / "out"), "calibration_rows": 22}
    tried = resolve(make_spec({**fast, **places, "ladder": ladder}))
    found = search_ladders(tried, session=nullcontext(ray_here), keep=True)
    assert found.best[-1].ladder != found.best[0].ladder
    job, _ = run_here(**places, teacher_steps=None, ladder=ladder)
    known = job.output.require_job()["calibration"]
    assert (known["scores"], known["wall_seconds"]) == (found.sample.first_scores, 0)
    drawn = [row["rung_scores"][:2] for row in rows_of(job.output.path)]
    assert any(again is not None for _, again in drawn)
    for scores, (first, again) in zip(found.sample.scores, drawn, strict=True):
        assert scores[0] == pytest.approx(first)
        assert again is None or scores[1] == pytest.approx(again)


def test_a_budget_in_seconds_is_timed_on_the_pools(
    captions: Path, run_here: RunJob, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="less than drawing and scoring alone"):
        run_here(input=str(captions), output=str(tmp_path / "poor"), budget={"gpu_seconds": 1e-6})
    job, progress = run_here(
        input=str(captions), output=str(tmp_path / "rich"), budget={"gpu_seconds": 1e6}
    )
    assert progress.refined_rows == 22
    written = job.output.read_job()
    assert written is not None
    seconds = written["calibration"]["seconds_per_row"]
    assert seconds["refine"] > seconds["score"] > 0
    assert seconds["draw"] > 0


def test_models_that_share_no_autoencoder_go_through_pixels(
    captions: Path, run_here: RunJob, tmp_path: Path
) -> None:
    other = tmp_path / "student"
    copytree(PRESETS["shapes"].student.path, other)
    weights = other / "vae/diffusion_pytorch_model.safetensors"
    changed = {name: 1.001 * tensor for name, tensor in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    models = {
        "preset": "shapes",
        "student": {"path": str(other), "steps": 1, "batch_size": 8},
        "teacher": {"batch_size": 8},
    }
    job, progress = run_here(
        input=str(captions),
        output=str(tmp_path / "out"),
        models=models,
        budget={"refine": 1.0},
        rollback={"variance": 0.5},
        image_format="jpeg",
    )
    assert job.refinement.through == "pixels"
    assert 0 < job.refinement.strength < 1
    assert progress.refined_rows == 22
    assert Image.open(BytesIO(rows_of(job.output.path)[0]["image"]["bytes"])).format == "JPEG"


def test_rows_of_two_sizes_and_guidance_scales(
    done: tuple[Job, Progress], run_here: RunJob, tmp_path: Path
) -> None:
    """By one teacher and by two the same bytes; and a row of the usual size and guidance
    is that of a job without such columns, although it shares its batches with other rows."""
    before, _ = done
    table = pq.read_table(before.spec.input)
    size = [(None, "96x64", "64x64", 1.5)[n % 4] for n in range(len(table))]
    table = table.append_column("size", [[None if one is None else str(one) for one in size]])
    table = table.append_column("scale", [[None if n % 3 else 4.0 for n in range(len(table))]])
    pq.write_table(table, tmp_path / "prompts.parquet")
    read = before.output.read_job()
    assert read is not None
    fields: dict[str, Any] = {
        **FIELDS,
        "input": str(tmp_path / "prompts.parquet"),
        "budget": {"threshold": float(read["threshold"])},
        "sizes": ["64x64", "96x64"],
        "size_column": "size",
        "guidance_scale_column": "scale",
    }
    job, _ = run_here(output=str(tmp_path / "one"), **fields)
    two = {**FAST["pools"], "teacher": {"size": 2}}
    run_here(output=str(tmp_path / "two"), **{**fields, "pools": two})
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert not list(verify(job.output))
    kinds = set()
    for row, usual in zip(rows_of(tmp_path / "one"), rows_of(before.output.path), strict=True):
        wide = row["size"] in ("96x64", "1.5")
        picture = Image.open(BytesIO(row["image"]["bytes"]))
        assert picture.size == ((96, 64) if wide else (64, 64))
        by_scale = row["scale"] is not None and row["source"] == "teacher"
        kinds.add((wide, by_scale))
        if not wide and not by_scale:
            assert {name: row[name] for name in usual} == usual
        elif not wide:
            assert row["student_score"] == usual["student_score"]
            assert row["image"] != usual["image"]
    assert kinds == {(wide, scale) for wide in (True, False) for scale in (True, False)}


def test_a_model_that_does_not_load_fails_the_job_at_once_with_the_cause(
    captions: Path, run_here: RunJob, tmp_path: Path
) -> None:
    """And the folder can be used again: nothing was fixed yet."""
    broken = tmp_path / "oracle"
    copytree(PRESETS["shapes"].oracle.path, broken)
    weights = load_file(broken / "model.safetensors")
    weights.popitem()
    save_file(weights, broken / "model.safetensors")
    models = {**FAST["models"], "oracle": {"path": str(broken)}}
    for _ in range(2):
        with pytest.raises(
            PoolFailedError, match=r"the oracle does not start: .*lacks 1 of the weights"
        ):
            run_here(input=str(captions), output=str(tmp_path / "out"), models=models)


def test_a_job_that_fails_broadly_ends(run_here: RunJob, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a red circle", None]}), tmp_path / "p.parquet")
    for _ in range(2):
        with pytest.raises(TooManyFailuresError, match="1 of 2 rows failed"):
            run_here(
                input=str(tmp_path / "p.parquet"),
                output=str(tmp_path / "out"),
                budget={"refine": 0.0},
            )


def test_an_input_without_rows_is_a_finished_job(run_here: RunJob, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "p.parquet")
    for _ in range(2):
        job, progress = run_here(input=str(tmp_path / "p.parquet"), output=str(tmp_path / "out"))
        assert progress.num_rows == progress.done_rows == 0
    assert (job.output.path / "_SUCCESS").is_file()


def test_rows_that_cannot_be_drawn_fail_with_the_reason(run_here: RunJob, tmp_path: Path) -> None:
    odd = ["a red circle", None, "  ", "x " * 50_000, "crème brûlée 🎨 \u202eعربى", "NULL"]
    pq.write_table(pa.table({"prompt": odd}), tmp_path / "p.parquet")
    job, progress = run_here(
        input=str(tmp_path / "p.parquet"),
        output=str(tmp_path / "out"),
        budget={"threshold": 0.0},
        max_failed=0.5,
    )
    rows = rows_of(job.output.path)
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "ok", "ok", "ok"]
    assert [row["error"] for row in rows][1:3] == ["the prompt is null", "the prompt is empty"]
    assert [row["prompt"] for row in rows] == odd
    assert [row["truncated"] for row in rows] == [False, False, False, True, False, False]
    assert progress.failed_rows == 2
