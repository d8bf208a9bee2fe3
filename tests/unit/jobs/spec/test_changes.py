"""`--set`: fields of the job file from the command line."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import SpecError
from jobs.spec.changes import with_changes

FIELDS = {"seed": 1, "models": "shapes", "budget": {"refine": 0.3}, "name": "a"}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("seed=3", {"seed": 3}),
        ("seed = 3", {"seed": 3}),
        ("name=a=b", {"name": "a=b"}),
        ("name='3'", {"name": "3"}),
        ("name=", {"name": None}),
        ("budget={nfe: 8}", {"budget": {"nfe": 8}}),
        ("budget.refine=0.1", {"budget": {"refine": 0.1}}),
        ("models.teacher.steps=30", {"models": {"preset": "shapes", "teacher": {"steps": 30}}}),
        ("pools.teacher.size=2", {"pools": {"teacher": {"size": 2}}}),
    ],
)
def test_a_field_is_put_in_its_place(change: str, changed: dict[str, Any]) -> None:
    assert with_changes(FIELDS, [change]) == {**FIELDS, **changed}
    assert FIELDS["budget"] == {"refine": 0.3}


def test_a_later_change_goes_before_an_earlier_one() -> None:
    assert with_changes(FIELDS, ["budget.nfe=8", "budget={refine: 0.1}", "seed=1", "seed=2"]) == {
        **FIELDS, "budget": {"refine": 0.1}, "seed": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "give a field and its value, as --set seed=3"),
        ("=3", "give a field and its value"),
        ("budget..nfe=3", "give a field and its value"),
        ("seed.x=3", "--set 'seed.x=3': 'seed' is 1, which has no fields"),
        ("name=[", "--set name, line 1: not valid YAML"),
        ("name=!!python/object:os.system {}", "the tag .* is not allowed"),
        ("seed=1:30", "is a number to the base of 60"),
    ],
)
def test_what_is_no_change_is_refused(change: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        with_changes(FIELDS, [change])
