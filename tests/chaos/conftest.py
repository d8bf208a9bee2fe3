"""One Ray of several nodes for all of these tests, and a run without faults on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.chaos.chaos import JOB, Nodes, nodes, run_without_faults
from tests.stand_ins import STAND_INS


@pytest.fixture(scope="package")
def here() -> Iterator[Nodes]:
    with nodes() as made:
        yield made


@pytest.fixture(scope="package")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The fields of a job with half of the rows and one actor of each kind: they load sooner."""
    prompts = tmp_path_factory.mktemp("small") / "prompts.parquet"
    pq.write_table(pq.read_table(JOB["input"]).slice(0, 96), prompts)
    pools = {name: {"size": 1} for name in ("student", "oracle", "teacher")}
    return {"input": str(prompts), "pools": pools, "rows_per_part": 12}


@pytest.fixture(scope="package")
def quick(small: dict[str, Any]) -> dict[str, Any]:
    """The fields of the small job with stand-ins for its models."""
    return {**small, **STAND_INS}


@pytest.fixture(scope="package")
def faultless(
    here: Nodes, quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The parts of the quick job, by content."""
    return run_without_faults(tmp_path_factory.mktemp("faultless"), here, **quick)
