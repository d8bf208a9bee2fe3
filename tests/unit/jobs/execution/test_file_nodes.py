"""Which nodes encode and write: any, the driver's alone, or those that see the output's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ray.exceptions import NodeDiedError

from actors.errors import StorageError
from jobs.execution import file_nodes
from jobs.execution.file_nodes import FileNodes, sees
from jobs.output.heartbeat import heartbeat
from jobs.resolution import Job
from jobs.storage.local import LocalStorage
from tests.unit.jobs.local import local_job, write_prompts

HERE, ONE, TWO = "0" * 56, "1" * 56, "2" * 56


class _Ray:
    """Ray's tasks on other nodes. `sees`: by node, what its task finds; None while it runs."""

    def __init__(self) -> None:
        self.sees: dict[str, bool | Exception | None] = {}
        self.asked: list[str] = []

    def remote(self, **options: Any) -> Any:
        return lambda function: self

    def options(self, scheduling_strategy: Any) -> _Ray:
        assert not scheduling_strategy.soft
        self.asked.append(scheduling_strategy.node_id)
        return self

    def wait(self, waiting: list[str], num_returns: int, timeout: float) -> tuple[list[str], None]:
        assert (num_returns, timeout) == (len(waiting), 0), "it must not block the driver"
        return [node for node in waiting if self.sees.get(node) is not None], None

    def get(self, node: str) -> object:
        if isinstance(said := self.sees[node], Exception):
            raise said
        return said


class _Task(_Ray):
    def remote(self, *arguments: Any, **options: Any) -> Any:
        return self.asked[-1] if arguments else super().remote(**options)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> _Task:
    fake = _Task()
    monkeypatch.setattr(file_nodes, "ray", fake)
    return fake


def job_in(folder: Path, **fields: Any) -> Job:
    return local_job(write_prompts(folder / "p.csv", 4), folder / "out", **fields)


def writers(nodes: FileNodes) -> list[str]:
    return sorted({nodes.writer().node_id for _ in range(6)})


def test_any_node_but_the_drivers_writes_to_an_object_store(tmp_path: Path, ray: _Task) -> None:
    job = job_in(tmp_path)
    job = replace(job, spec=job.spec.model_copy(update={"output": "s3://bucket/out"}))
    nodes = FileNodes(job, HERE, [HERE])
    assert writers(nodes) == [HERE], "there is no other"
    assert nodes.look([HERE, ONE, TWO]) == 2
    assert writers(nodes) == [ONE, TWO]
    assert nodes.writer().soft, "any other node does as well"
    assert nodes.look([HERE, TWO]) == 1
    assert writers(nodes) == [TWO]
    assert not ray.asked


def test_a_folder_that_is_said_to_be_the_drivers_is_written_there_alone(
    tmp_path: Path, ray: _Task
) -> None:
    nodes = FileNodes(job_in(tmp_path, output_shared=False), HERE, [HERE, ONE])
    assert nodes.look([HERE, ONE, TWO]) == 1
    assert writers(nodes) == [HERE]
    assert not nodes.writer().soft
    assert nodes.encoder().node_id in (ONE, TWO), "pictures are encoded anywhere"
    assert not ray.asked


def test_a_folder_is_written_from_the_nodes_that_see_it(tmp_path: Path, ray: _Task) -> None:
    job = job_in(tmp_path)
    with heartbeat(job.output):
        nodes = FileNodes(job, HERE, [HERE, ONE])
        assert ray.asked == [ONE]
        assert writers(nodes) == [HERE], "nobody has answered"
        ray.sees = {ONE: True}
        assert nodes.look([HERE, ONE, TWO]) == 1
        assert ray.asked == [ONE, TWO], "each node is asked once"
        assert writers(nodes) == [ONE]
        assert not nodes.writer().soft, "another node may not see it"
        ray.sees[TWO] = False
        assert nodes.look([HERE, ONE, TWO]) == 1
        assert writers(nodes) == [ONE]
        assert nodes.look([HERE, TWO]) == 1
        assert writers(nodes) == [HERE], "the one that saw it is gone"


def test_a_node_that_dies_before_it_answers_does_not_write(tmp_path: Path, ray: _Task) -> None:
    job = job_in(tmp_path)
    with heartbeat(job.output):
        nodes = FileNodes(job, HERE, [HERE, ONE])
        ray.sees = {ONE: NodeDiedError("it died")}
        assert nodes.look([HERE, ONE]) == 1
        assert writers(nodes) == [HERE]


def test_a_folder_is_seen_by_the_drivers_heartbeat_where_one_may_write(tmp_path: Path) -> None:
    there, elsewhere = LocalStorage(tmp_path / "there"), LocalStorage(tmp_path / "elsewhere")
    there.create()
    elsewhere.create()
    there.put(".drivers/host.1.0123abcd", b"")
    elsewhere.put("job.json", b"{}")
    names = [".drivers/host.1.0123abcd"]
    assert sees(there, names)
    assert [entry.path for entry in there.entries()] == names, "the trial leaves nothing"
    assert not sees(elsewhere, names), "another machine's folder of the same name"


def test_a_folder_that_cannot_be_written_to_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = LocalStorage(tmp_path)
    there.put(".drivers/host.1.0123abcd", b"")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert not sees(there, [".drivers/host.1.0123abcd"])


def test_an_output_that_is_away_for_a_while_is_asked_for_again(
    tmp_path: Path, ray: _Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that joined just then ended the job, which waits for its output everywhere else."""
    job = job_in(tmp_path)
    with heartbeat(job.output):
        nodes = FileNodes(job, HERE, [HERE])
        with monkeypatch.context() as away:
            away.setattr(LocalStorage, "entries", Mock(side_effect=StorageError("out", "is away")))
            assert nodes.look([HERE, ONE]) == 1
            assert not ray.asked
        nodes.look([HERE, ONE])
        assert ray.asked == [ONE]
