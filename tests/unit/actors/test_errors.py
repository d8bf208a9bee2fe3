"""The exception tree: every error pickles, and has an exit code."""

from __future__ import annotations

import pickle

import pytest

from actors import errors

KINDS = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_the_way_between_processes(kind: type[errors.BottegaError]) -> None:
    back = pickle.loads(pickle.dumps(kind("value, rule, next step")))  # noqa: S301
    assert type(back) is kind
    assert str(back) == "value, rule, next step"


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_at_the_top_of_the_file_is_complete(kind: type[errors.BottegaError]) -> None:
    assert issubclass(kind, errors.BottegaError)
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.exit_code in (1, 2, 4, 6, 130)
