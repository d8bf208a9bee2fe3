"""The id of a job follows from the job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import SpecError
from jobs.job_id import MOST_FOR, MOST_ID, attempt_id, fill_in, job_id, split_attempt
from jobs.spec.job_spec import JobSpec, make_spec

FIELDS: dict[str, Any] = {"input": "p.csv", "output": "/data/out", "models": "shapes"}


def spec(**fields: Any) -> JobSpec:
    return make_spec({**FIELDS, **fields})


def test_the_same_job_has_the_same_id_and_another_job_another() -> None:
    first = job_id(spec(name="Nightly faces"))
    assert re.fullmatch(r"bottega-nightly-faces-[0-9a-f]{10}", first)
    assert job_id(spec(name="Nightly faces", max_attempts=5)) == first
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"input": "q.csv"},
        {"output": "/data/other"},
        {"models": {"preset": "shapes", "student": {"path": "models/mine"}}},
    ]
    assert len({first, *(job_id(spec(name="Nightly faces", **other)) for other in others)}) == 5


def test_a_relative_output_is_another_one_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = job_id(spec(output="out"))
    assert job_id(spec(output=f"{tmp_path}/out/")) == here
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert job_id(spec(output="out")) != here


NAMES = st.text(st.characters().filter(str.isprintable), min_size=1, max_size=100)


@given(NAMES, st.from_regex(r"[a-z0-9]{0,16}", fullmatch=True))
def test_an_id_is_a_name_for_ray_and_kubernetes(name: str, run_for: str) -> None:
    found = job_id(JobSpec.model_validate({**FIELDS, "name": name}), run_for)
    assert len(found) <= MOST_ID
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found)
    assert found.endswith(run_for)


def test_for_is_a_part_of_the_id() -> None:
    assert job_id(spec(), "2026-11-23") == job_id(spec()) + "-2026-11-23"
    assert job_id(spec(), "2026-11-23T06:00").endswith("-2026-11-23t06-00")


@pytest.mark.parametrize(
    "run_for",
    ["the run of every monday", "../../x", "a b", "x;y", "-x", "ü", "2026_11_23", "\x1b[1m"],
)
def test_what_an_id_cannot_have_is_no_for(run_for: str) -> None:
    with pytest.raises(SpecError, match=f"1 to {MOST_FOR} letters"):
        job_id(spec(), run_for)


@pytest.mark.parametrize("run_for", ["2026-13-01", "2026-02-30", "0000-01-01", "2026-11-31T06"])
def test_a_date_that_no_calendar_has_is_refused(run_for: str) -> None:
    with pytest.raises(SpecError, match=f"--for {run_for[:10]}: there is no such date"):
        job_id(spec(), run_for)
    with pytest.raises(SpecError, match="there is no such date"):
        fill_in({"output": "out/{date}"}, run_for)


def test_attempts_are_counted() -> None:
    assert [attempt_id("bottega-a-0", n) for n in (1, 2)] == ["bottega-a-0", "bottega-a-0.2"]
    assert split_attempt("bottega-a-0.12") == ("bottega-a-0", 12)
    assert split_attempt("bottega-a-0") == ("bottega-a-0", 1)


def test_for_and_date_are_filled_in() -> None:
    fields = {"input": "in/{date}/*.csv", "output": "out/{for}", "name": "{for}"}
    assert fill_in(fields, "2026-11-23T06") == {
        "input": "in/2026-11-23/*.csv",
        "output": "out/2026-11-23t06",
        "name": "{for}",
    }
    with pytest.raises(SpecError, match="which is missing"):
        fill_in({"output": "out/{for}"})
    with pytest.raises(SpecError, match="--for 'monday' has none"):
        fill_in({"output": "out/{date}"}, "monday")
