"""The exception tree: every error pickles, and has an exit code."""

from __future__ import annotations

import pickle

import pytest

from actors import errors

KINDS = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_the_way_between_processes(kind: type[errors.BottegaError]) -> None:
    storage = issubclass(kind, errors.StorageError)
    texts = ("s3://bucket/x", "is full") if storage else ("value, rule, next step",)
    error = kind(*texts)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(back) is kind
    assert str(back) == str(error) == ("s3://bucket/x is full." if storage else texts[0])
    assert vars(back) == vars(error)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_at_the_top_of_the_file_is_complete(kind: type[errors.BottegaError]) -> None:
    assert issubclass(kind, errors.BottegaError)
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.exit_code in (1, 2, 4, 6, 130)
