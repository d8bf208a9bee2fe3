"""Every attempt of a search is made on a sample, and what the search finds can be run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from actors.errors import JobError
from jobs.execution import launch
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.ladder_sample import sample_attempts
from jobs.execution.launch import search_ladders
from jobs.execution.resources import Resources
from jobs.execution.stages import Stage
from jobs.resolution import Job
from jobs.spec.ladder_search import SampledAttempts, highest_refined, tried_for
from tests.unit.jobs.local import LocalDispatcher, local_job, run, write_prompts

ROWS = 40
ALL: list[dict[str, Any]] = [
    {"draw": 3, "until": 1.0},
    {"refine": {"strength": 0.6, "steps": 3}, "below": 1.0, "keep": "teacher"},
    {"regenerate": {"steps": 3}, "below": 1.0, "keep": "teacher"},
]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """With every attempt of its search; all of its rows are sampled."""
    source = write_prompts(tmp_path / "p.csv", ROWS)
    return local_job(source, tmp_path / "out", ladder=ALL, calibration_rows=ROWS)


@contextmanager
def session() -> Iterator[Resources]:
    yield Resources(cpus=4, gpus=0)


def sampled(job: Job, **broken: frozenset[str]) -> SampledAttempts:
    return _sampled(job, LocalDispatcher(job, **broken))


def _sampled(job: Job, dispatcher: Any) -> SampledAttempts:
    return sample_attempts(job, dispatcher, job.prompts.sample(ROWS), tried_for(job.spec))


class Counting(LocalDispatcher):
    """It counts the rows of the teacher's calls."""

    refined = 0

    def send(self, owner: ActivePart, call: Call) -> None:
        self.refined += len(call.rows) if call.stage is Stage.REFINE else 0
        super().send(owner, call)


def test_every_row_has_every_drawing_and_the_lower_half_every_picture_of_the_teachers(
    job: Job,
) -> None:
    dispatcher = Counting(job)
    scores = _sampled(job, dispatcher).scores
    assert scores.shape == (ROWS, 5)
    assert np.isfinite(scores[:, :3]).all()
    refined = scores[:, 0] < highest_refined(scores[:, 0].tolist())
    assert ROWS / 2 <= refined.sum() < 0.8 * ROWS
    for way in (3, 4):
        assert (np.isfinite(scores[:, way]) == refined).all()
    assert dispatcher.refined == 2 * refined.sum(), "and no other, which nobody would pay for"


def test_the_sample_has_the_scores_that_the_dataset_will_have(job: Job, tmp_path: Path) -> None:
    """The drawings of a row are the same calls' in both; so are the pictures of the teacher's."""
    scores = sampled(job).scores
    run(job)
    table = ds.dataset(str(job.output.path / "data")).to_table(columns=["rung_scores"])
    made = np.array(table.column("rung_scores").to_pylist(), dtype=float)
    there = np.isfinite(scores)
    assert there[:, :3].all()
    assert np.allclose(made[there], scores[there])


def test_a_row_that_cannot_be_drawn_and_a_picture_that_cannot_be_made_have_no_score(
    job: Job,
) -> None:
    first = sampled(job).scores[:, 0]
    lowest, second = (f"picture {row}" for row in np.argsort(first)[:2])
    broken = frozenset({lowest})
    found = sampled(job, broken=broken, not_finite=frozenset({second}))
    rows = np.argsort(first)[:2]
    assert np.isnan(found.scores[rows[0]]).all()
    assert np.isfinite(found.scores[rows[1], :3]).all()
    assert np.isnan(found.scores[rows[1], 3:]).all()
    assert len(found.drawn.scores) == ROWS - 1


def test_the_found_ladder_is_run_with_the_scores_of_its_search(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottega")
    monkeypatch.setattr(launch, "dispatcher_on_ray", lambda job, *_: LocalDispatcher(job))
    found = search_ladders(job, budgets=[5.0], session=session(), keep=True)
    assert found.rows == (20, 20)
    assert [one.budget for one in found.best] == [2.5, 3, 4, 5, 6, 8, 12, 16], "a drawing costs 2"
    (best,) = (one for one in found.best if one.budget == 5)
    ladder = [rung.model_dump(exclude_none=True) for rung in best.ladder]
    assert len(ladder) > 1
    chosen = local_job(Path(job.spec.input), tmp_path / "out", ladder=ladder, calibration_rows=ROWS)
    run(chosen)
    assert f"the scores of {ROWS} rows are those of `bottega calibrate`" in caplog.messages
    assert chosen.output.require_job()["calibration"]["scores"] == found.sample.first_scores


def test_a_sample_that_is_too_small_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    monkeypatch.setattr(launch, "dispatcher_on_ray", lambda job, *_: LocalDispatcher(job))
    few = local_job(source, tmp_path / "out", ladder=ALL)
    with pytest.raises(JobError, match="8 rows of the sample were drawn and scored, too few"):
        search_ladders(few, session=session())
