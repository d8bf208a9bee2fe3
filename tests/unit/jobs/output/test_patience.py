"""Waits for a disk, without any: the sleep is injected."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest

from actors.errors import OutputFailedError
from jobs.output.columns import RowResult
from jobs.output.folder import OutputFolder
from jobs.output.patience import PATIENCE_SECONDS, commit_part, patience_of_try
from jobs.storage.patience import LONGEST_WAIT_SECONDS, patiently
from tests.outputs import part_file


class Clock:
    """Sleeps by adding up; the disk is back at `back`."""

    def __init__(self, back: float) -> None:
        self.back, self.waits = back, list[float]()

    @property
    def now(self) -> float:
        return sum(self.waits)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def do(self) -> str:
        if self.now < self.back:
            raise OutputFailedError("the output folder is gone.")
        return "written"


def test_a_disk_that_is_away_for_fifteen_seconds_is_waited_for_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock(back=15.0)
    with caplog.at_level(logging.WARNING, "bottega.storage"):
        assert patiently(clock.do, PATIENCE_SECONDS, clock.sleep) == "written"
    assert 4 <= len(clock.waits) <= 6
    assert clock.waits == sorted(clock.waits)
    assert len(caplog.messages) == len(clock.waits)
    assert "the output folder is gone: tried again in" in caplog.messages[0]


def test_after_the_patience_the_last_error_is_raised() -> None:
    clock = Clock(back=10_000.0)
    with pytest.raises(OutputFailedError, match="is gone"):
        patiently(clock.do, 300.0, clock.sleep)
    assert clock.now == pytest.approx(300.0)
    assert max(clock.waits) <= LONGEST_WAIT_SECONDS


def test_without_patience_it_is_tried_once_and_other_errors_are_raised_at_once() -> None:
    clock = Clock(back=1.0)
    with pytest.raises(OutputFailedError):
        patiently(clock.do, 0.0, clock.sleep)

    def bad() -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        patiently(bad, 300.0, clock.sleep)
    assert clock.waits == []


@pytest.mark.parametrize("max_attempts", [1, 2, 3, 20])
def test_all_tries_together_take_as_long_whatever_their_number(max_attempts: int) -> None:
    tries = [patience_of_try(n, max_attempts, 1800.0) for n in range(max_attempts)]
    assert PATIENCE_SECONDS <= sum(tries) <= PATIENCE_SECONDS + 5
    assert sum(patience_of_try(n, max_attempts, 60.0) for n in range(max_attempts)) <= 35


def test_a_part_is_not_written_below_the_mount_point_of_a_disk_that_is_away(
    tmp_path: Path,
) -> None:
    """The folder is there and empty: the disk that was mounted on it is not. Then it is back."""
    folder = OutputFolder(tmp_path)
    row = RowResult(1, 0.5, None, "student", 4, False, None, (0, 0), None)
    part = (0, 0, pa.table({"prompt": ["a"]}), [row], "png", False, {}, pa.array([b"PNG"]))
    with pytest.raises(OutputFailedError, match="is gone"):
        commit_part(0.0, folder, *part)
    assert list(tmp_path.iterdir()) == []

    def mounted(_seconds: float) -> None:
        folder.write_job({"name": "a job"}, replace=False)

    record = commit_part(60.0, folder, *part, sleep=mounted)
    assert record["rows"] == 1
    assert part_file(folder, 0).exists()
