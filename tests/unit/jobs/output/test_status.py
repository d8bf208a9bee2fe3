"""The state of a job as its output has it."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from actors.errors import OutputError
from jobs.output.folder import STATUS
from jobs.output.status import (
    LOST_SECONDS,
    JobStatus,
    ProgressStatus,
    State,
    decode_status,
    encode_status,
    judge,
)
from jobs.output.status_file import read_state, write_status
from jobs.storage.storage_at import storage_at

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
RUNNING = JobStatus(
    id="bottega-a-0123456789",
    name="a",
    state=State.RUNNING,
    host="head",
    pid=7,
    started_at=NOW,
    heartbeat_at=NOW,
    progress=ProgressStatus(
        num_rows=8, done_rows=4, resumed_rows=0, failed_rows=0, judged_rows=4, rejected_rows=1,
        refined_rows=1, parts_done=1, num_parts=2, elapsed_seconds=2.5,
    ),
)  # fmt: skip


def ended(state: State) -> JobStatus:
    return RUNNING.model_copy(update={"state": state, "ended_at": NOW})


@pytest.mark.parametrize(
    ("status", "silent", "finished", "state"),
    [
        (RUNNING, 0.0, False, State.RUNNING),
        (RUNNING, LOST_SECONDS, False, State.RUNNING),
        (RUNNING, LOST_SECONDS + 1, False, State.LOST),
        (RUNNING, LOST_SECONDS + 1, True, State.SUCCEEDED),
        (ended(State.STOPPING), LOST_SECONDS + 1, False, State.LOST),
        (ended(State.CANCELLED), 1e6, False, State.CANCELLED),
        (ended(State.FAILED), 1e6, False, State.FAILED),
        (ended(State.SUCCEEDED), 1e6, True, State.SUCCEEDED),
        (ended(State.SUCCEEDED), 1e6, False, State.FAILED),
        (None, 0.0, True, State.SUCCEEDED),
        (None, 0.0, False, State.LOST),
    ],
)
def test_the_state_follows_from_the_status_its_age_and_success(
    status: JobStatus | None, silent: float, finished: bool, state: State
) -> None:
    found = judge(status, silent, finished)
    assert found.state is state
    assert found.reason or state is State.RUNNING or status is not None


def test_a_status_is_read_as_it_was_written_and_its_times_are_utc() -> None:
    written = encode_status(RUNNING)
    assert decode_status(written, "here") == RUNNING
    fields = json.loads(written)
    assert fields["schema"] == 1
    assert fields["started_at"] == "2026-11-23T06:00:00Z"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "here is no status of a job"),
        (b"[]", "here is no status of a job"),
        (b"[" * 100_000, "here is no status of a job"),
        (b'{"schema": 2}', "here has schema 2, and this version reads schemas up to 1"),
        (encode_status(RUNNING).replace(b'"pid": 7', b'"pid": -7'), "greater than or equal to 0"),
    ],
)
def test_a_damaged_status_is_a_sentence(content: bytes, error: str) -> None:
    with pytest.raises(OutputError, match=error):
        decode_status(content, "here")


def test_a_newer_version_may_write_more_fields() -> None:
    more = json.loads(encode_status(RUNNING)) | {"mood": "fine"}
    assert decode_status(json.dumps(more).encode(), "here") == RUNNING


def test_a_folder_where_no_job_began_has_no_state(tmp_path: Path) -> None:
    assert read_state(storage_at(tmp_path / "nowhere")) is None
    assert read_state(storage_at(tmp_path)) is None


def test_the_age_of_a_heartbeat_is_by_the_clock_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_at(tmp_path)
    write_status(storage, RUNNING)
    # A machine whose clock is an hour ahead of the disk's, and one that is behind.
    real = time.time
    for wrong in (3600.0, -3600.0):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: real() + wrong)
        found = read_state(storage)
        assert found is not None
        assert found.state is State.RUNNING
        assert found.silent_seconds < LOST_SECONDS
    assert [file.name for file in tmp_path.iterdir()] == [STATUS], "a look leaves nothing behind"
    monkeypatch.undo()
    long_ago = real() - LOST_SECONDS - 5
    os.utime(tmp_path / STATUS, (long_ago, long_ago))
    found = read_state(storage)
    assert found is not None
    assert found.state is State.LOST
    assert "process 7 on head, has not been heard of for 6" in found.reason
