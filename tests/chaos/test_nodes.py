"""One job on several nodes, and with several drivers."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.output.folder import DRIVERS
from tests.chaos.chaos import JOB, Nodes, hashes, start, write_job
from tests.stand_ins import STAND_INS

LONGEST_SECONDS = 500.0

NUM_ROWS = 24


def calls(log: Path) -> Iterator[tuple[str, str, list[str]]]:
    """The actors' log: method, node, prompts."""
    for line in log.read_text().splitlines() if log.exists() else ():
        method, node, prompts = json.loads(line)
        yield method, node, prompts


def rows_of(log: Path, method: str) -> Counter[str]:
    """How often each row went through a method."""
    return Counter(
        prompt for name, _, prompts in calls(log) if name == method for prompt in prompts
    )


@pytest.mark.timeout(1200)
def test_what_a_dead_node_held_is_made_again_and_nothing_else(here: Nodes, tmp_path: Path) -> None:
    """Two students on a node each draw everything; then one node dies with its latents.

    Every row is rejected, and no teacher has loaded: all latents are in the store. Each call of an
    actor is counted: Ray's own reconstruction of lost objects would be one more.
    """
    cluster = here.cluster
    doomed, _, _ = nodes = [
        cluster.add_node(num_cpus=1, labels={"for": "student"}),
        cluster.add_node(num_cpus=1, labels={"for": "student"}),
        cluster.add_node(num_cpus=2, labels={"for": "others"}),
    ]
    prompts = pq.read_table(JOB["input"]).slice(0, NUM_ROWS)
    pq.write_table(prompts, tmp_path / "prompts.parquet")
    others = {"size": 1, "node_label": {"for": "others"}}
    fields: dict[str, Any] = {
        **STAND_INS,
        "input": str(tmp_path / "prompts.parquet"),
        "budget": {"refine": 1.0},
        "save_student": False,
        "pools": {
            "student": {"size": 2, "node_label": {"for": "student"}},
            "oracle": others,
            "teacher": others,
        },
    }
    job = write_job(tmp_path, **fields)
    log, gate, out = tmp_path / "calls", tmp_path / "gate", tmp_path / "out"
    counting = [sys.executable, "-m", "tests.chaos.counting", str(log), str(gate)]
    driver = start(job, out, cluster.address, bottega=counting)
    log_file = out.with_suffix(".log")
    try:
        _wait_until(lambda: rows_of(log, "score").total() == NUM_ROWS, driver, log_file)
        cluster.remove_node(doomed, allow_graceful=False)
        gate.touch()
        assert driver.wait(timeout=LONGEST_SECONDS) == 0, log_file.read_text()[-3000:]
    finally:
        driver.kill()
        for node in nodes[1:]:
            cluster.remove_node(node)
    every = set(prompts["prompt"].to_pylist())
    assert len(every) == NUM_ROWS
    lost = {
        prompt
        for method, node, drawn in calls(log)
        for prompt in drawn
        if method == "draw" and node == doomed.node_id
    }
    assert 0 < len(lost) < NUM_ROWS, "each student has drawn something"
    assert rows_of(log, "draw") == Counter({prompt: 1 + (prompt in lost) for prompt in every})
    assert rows_of(log, "refine") == dict.fromkeys(every, 1)
    # Before and after the teacher.
    assert rows_of(log, "score") == dict.fromkeys(every, 2)


def _wait_until(happened: Any, driver: Any, log_file: Path) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not happened():
        assert driver.poll() is None, log_file.read_text()[-3000:]
        assert time.monotonic() < deadline, log_file.read_text()[-3000:]
        time.sleep(0.05)


@pytest.mark.timeout(1200)
def test_two_drivers_on_one_output_are_both_right_and_the_second_warns(
    here: Nodes, quick: dict[str, Any], faultless: dict[str, str], tmp_path: Path
) -> None:
    job = write_job(tmp_path, **quick)
    out = tmp_path / "out"
    first = start(job, out, here.cluster.address, name=".first")
    # From its first heartbeat on: it connects and starts actors while the second one starts.
    _wait_until(lambda: any(out.glob(f"{DRIVERS}/*")), first, out.with_suffix(".first.log"))
    second = start(job, out, here.cluster.address, name=".second")
    try:
        ended = [driver.wait(timeout=LONGEST_SECONDS) for driver in (first, second)]
    finally:
        first.kill()
        second.kill()
    logs = [out.with_suffix(f".{name}.log").read_text() for name in ("first", "second")]
    assert ended == [0, 0], logs
    assert "another run writes to" not in logs[0]
    assert "another run writes to" in logs[1]
    assert hashes(out) == faultless
