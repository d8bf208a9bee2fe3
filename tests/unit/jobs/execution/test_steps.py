"""What follows the last record: it is taken in order, once, and again after a failure or a kill."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from actors.errors import InterruptedJobError, OutputError, OutputFailedError, StorageError
from jobs.execution.run import run_job
from jobs.output.export.public_folder import PublicFolder
from jobs.output.status_file import read_state
from jobs.resolution import Job
from tests.unit.jobs.local import LocalDispatcher, bytes_of, local_job, run, write_prompts


def job_with(folder: Path, rows: int = 10, **after: Any) -> Job:
    source = write_prompts(folder / "p.csv", rows)
    return local_job(source, folder / "out", after=after)


def status_of(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.output.path / "status.json").read_text())
    return found


def published(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def is_finished(job: Job) -> bool:
    state = read_state(job.output.storage)
    assert state is not None
    return state.finished


def test_a_complete_dataset_is_verified_and_published(tmp_path: Path) -> None:
    place = tmp_path / "public"
    job = job_with(tmp_path, verify=True, publish={"to": str(place)})
    run(job)
    assert sum(name.endswith(".parquet") for name in published(place)) == 3
    assert {"README.md", "sheet.png"} <= set(published(place))
    status = status_of(job)
    assert (status["state"], status["steps_left"]) == ("succeeded", [])
    assert status["steps"] == ["verify", f"publish to {place}"]
    assert is_finished(job)


def test_a_publication_that_fails_fails_the_job_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.output.export.publish.BATCH_PARTS", 1)
    job = job_with(tmp_path, publish={"to": str(tmp_path / "public")})
    whole, sent = PublicFolder.send, []

    def send(place: PublicFolder, folder: Any, parts: Any) -> None:
        if len(sent) == 2:
            raise StorageError(place.url, "has no room left. Make room there", passing=True)
        sent.append(parts)
        whole(place, folder, parts)

    monkeypatch.setattr(PublicFolder, "send", send)
    with pytest.raises(OutputFailedError) as caught:
        run(job)
    assert "has no room left. Make room there. The dataset is complete" in str(caught.value)
    assert (status_of(job)["state"], status_of(job)["exit_code"]) == ("failed", 1)
    assert status_of(job)["steps_left"] == status_of(job)["steps"]
    assert (job.output.path / "_SUCCESS").exists()
    assert not is_finished(job), "whoever submits it again goes on"
    before = bytes_of(job)
    again = LocalDispatcher(job)
    sent.clear()
    monkeypatch.setattr(PublicFolder, "send", lambda *a: (sent.append(a), whole(*a)))
    assert run(job, again).resumed_rows == 10
    assert again.drawn == []
    assert len(sent) == 1, "two parts were there"
    assert bytes_of(job) == before
    assert is_finished(job)


def test_a_stop_while_it_is_published_is_a_cancelled_job_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.output.export.publish.BATCH_PARTS", 1)
    job = job_with(tmp_path, publish={"to": str(tmp_path / "public")})
    place = tmp_path / "public"
    left: list[bool] = []

    def should_stop() -> bool:
        return len(list(place.rglob("*.parquet"))) == 2

    with pytest.raises(InterruptedJobError, match="stopped before it was done: publish to"):
        run_job(
            job,
            lambda _: LocalDispatcher(job),  # type: ignore[arg-type,return-value]
            should_stop=should_stop,
            leave_ray=lambda: left.append(place.exists()),
        )
    assert left == [False], "Ray was left before anything was sent"
    assert status_of(job)["state"] == "cancelled"
    assert not is_finished(job)
    run(job)
    assert is_finished(job)


def test_a_dataset_that_is_not_well_is_not_published(tmp_path: Path) -> None:
    job = job_with(tmp_path, verify=True, publish={"to": str(tmp_path / "public")})
    run(local_job(tmp_path / "p.csv", tmp_path / "out"))
    part = job.output.path / job.output.part_name(1)
    content = bytearray(part.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 1  # in a picture, which no page of the dataset shows
    part.write_bytes(content)
    with pytest.raises(OutputFailedError, match="is not well, and nothing follows it"):
        run(job)
    assert not (tmp_path / "public").exists()
    assert status_of(job)["state"] == "failed"


def test_a_place_of_somebody_else_is_refused_and_stays(tmp_path: Path) -> None:
    place = tmp_path / "public"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    job = job_with(tmp_path, publish={"to": str(place)})
    with pytest.raises(OutputError, match="not ours to write to"):
        run(job)
    assert published(place) == ["notes.txt"]


def test_an_input_without_rows_is_published_nowhere(tmp_path: Path) -> None:
    job = job_with(tmp_path, rows=0, publish={"to": str(tmp_path / "public")})
    run(job)
    assert is_finished(job)
    assert not (tmp_path / "public").exists()


@pytest.mark.parametrize("delete", [False, True])
def test_retention_comes_last_and_says_what_it_does(
    delete: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottega")
    source = write_prompts(tmp_path / "p.csv", 6)
    retention = {"keep": 1, "of": f"{tmp_path}/out/{{date}}", "delete": delete}
    for date in ("2026-11-22", "2026-11-23"):
        run(local_job(source, tmp_path / "out" / date, after={"retention": retention}))
    what = "deleted" if delete else "would go"
    assert f"2026-11-22: {what} (not among the newest 1" in caplog.text
    assert (tmp_path / "out/2026-11-22").exists() is not delete


def test_retention_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def retire(*_: Any, **__: Any) -> Any:
        raise StorageError("s3://b", "does not answer. Try again", passing=True)

    monkeypatch.setattr("jobs.execution.steps.retire", retire)
    job = job_with(tmp_path, retention={"keep": 1, "of": f"{tmp_path}/{{date}}"})
    run(job)
    assert "retention: old outputs stay for now: s3://b does not answer" in caplog.text
    assert status_of(job)["state"] == "succeeded"
