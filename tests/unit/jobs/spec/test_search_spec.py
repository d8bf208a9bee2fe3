"""`ladder: search` in a job file: what it means, and what it does not go with."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import SpecError
from jobs.job_id import job_id
from jobs.spec.byte_fields import byte_fields
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.ladder_search import asked_by, every_attempt, tried_for
from jobs.spec.search import Search

EXTRA = {"kind": "classifier", "path": "somewhere", "label": "nice", "column": "nice"}
JUDGED = {"preset": "shapes", "oracle": {"extra_scores": [EXTRA]}}


def spec(**fields: Any) -> JobSpec:
    usual: dict[str, Any] = {"input": "p.csv", "output": "out", "models": "shapes"}
    return make_spec({**usual, "budget": {"nfe": 4}, **fields})


def test_the_short_way_is_a_search_with_no_settings() -> None:
    short = spec(ladder="search")
    assert short.search == Search()
    assert short.ladder is None
    assert short == spec(search={})
    assert make_spec(short.model_dump(mode="json")) == short, "as submit and job.json write it"


def test_a_judge_may_stand_beside_the_short_way() -> None:
    found = spec(ladder="search", search={"judge": "nice"}, models=JUDGED)
    asked = asked_by(found)
    assert asked is not None
    assert (asked.unit, asked.budget, asked.judge) == ("nfe", 4, "nice")
    assert str(asked) == "4 network evaluations a picture, by the mean of nice"


def test_a_job_without_a_search_is_what_it_was_before_there_were_any() -> None:
    """Its identity and its id have no trace of the field."""
    assert "search" not in byte_fields(spec())
    assert "search" in byte_fields(spec(ladder="search"))
    assert job_id(spec()) != job_id(spec(ladder="search"))


def test_what_a_search_tries_follows_from_the_jobs_own_attempts() -> None:
    found = spec(ladder="search", draws=2, teacher_steps=10)
    every = every_attempt(found)
    assert every.search is None
    assert every.ladder == tried_for(found).ladder
    assert every.ladder[1].refine is not None
    assert every.ladder[1].refine.steps == 10
    assert asked_by(every) is None


def test_what_is_asked_is_all_that_the_choice_depends_on() -> None:
    base = asked_by(spec(ladder="search"))
    others = [
        {"budget": {"nfe": 5}},
        {"budget": {"gpu_seconds": 4.0}},
        {"draws": 6},
        {"teacher_steps": 9},
        {"rollback": {"strength": 0.5}},
        {"search": {"judge": "nice"}, "models": JUDGED},
    ]
    found = [asked_by(spec(ladder="search", **fields)) for fields in others]
    fields = [one.fields for one in (base, *found) if one]
    assert len(fields) == 1 + len(others)
    assert all(fields.count(one) == 1 for one in fields)
    assert asked_by(spec(ladder="search", name="another", output="there")) == base


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"budget": {"refine": 0.3}}, "a search for a ladder needs what a picture may cost"),
        ({"budget": {"threshold": 0.3}}, "a search for a ladder needs what a picture may cost"),
        ({"keep": "best"}, "keep: a search for a ladder chooses it"),
        ({"search": {"judge": "nice"}}, "the job has none"),
        ({"search": {"judge": "good"}, "models": JUDGED}, "'good' is no column .* they are nice"),
        ({"search": {"jugde": "nice"}}, "search.jugde: unknown field. Did you mean"),
    ],
)
def test_what_goes_with_no_search_is_a_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec(ladder="search", **fields)


def test_a_ladder_and_a_search_contradict_each_other() -> None:
    with pytest.raises(SpecError, match="ladder: with `search` the calibration finds it"):
        make_spec(
            {"input": "p", "output": "o", "models": "shapes", "search": {}, "ladder": "nfe-4"}
        )
