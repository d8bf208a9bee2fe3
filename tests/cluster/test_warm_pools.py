"""Warm pools: actors that a job leaves loaded, and the next job takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from cluster.warm_pools import end_all, warm_actors
from jobs.execution.launch import dispatcher_on_ray
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.execution.warm_actor import About, Lease, kept
from jobs.execution.warm_list import warm_list
from jobs.output.folder import OutputFolder
from jobs.output.verify import verify
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from tests.cluster.conftest import FAST, FIELDS, hashes
from tests.cluster.head import Head, environment_of
from tests.cluster.test_command import ROOT
from tests.stand_ins import STAND_INS

PATIENCE_SECONDS = 60.0
"""For what happens within a second or two on a machine with nothing else to do."""

RunWarm = Callable[..., tuple[Job, list[str]]]


def until(met: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < deadline, "that did not come"
        time.sleep(0.1)


def roles() -> list[str]:
    return sorted(actor["role"] for actor in warm_actors())


@pytest.fixture
def run_warm(ray_here: Resources, caplog: pytest.LogCaptureFixture) -> Iterator[RunWarm]:
    """Run a job as on a cluster that lives on; returns it, and the pools that got warm actors."""

    def run(**fields: Any) -> tuple[Job, list[str]]:
        job = resolve(make_spec({**FAST, **fields}))
        caplog.clear()
        with caplog.at_level("INFO", "bottega"):
            run_job(job, lambda _: dispatcher_on_ray(job, replace(ray_here, alone=False)))
        said = [record.getMessage() for record in caplog.records]
        return job, sorted(text.split(":")[0] for text in said if "a warm actor is taken" in text)

    yield run
    end_all()


def pools(keep_warm: str | None = "5m") -> dict[str, Any]:
    return {**FAST["pools"], "keep_warm": keep_warm}


# ---- whole jobs, with real pipelines


def test_the_next_job_takes_the_actors_and_has_the_same_bytes(
    run_warm: RunWarm, done: tuple[Job, object], captions: Path, tmp_path: Path
) -> None:
    """Also one that does something else with the same models; and one with another model has its
    own."""
    fields = {"input": str(captions), "pools": pools(), **FIELDS}
    _, taken = run_warm(output=str(tmp_path / "cold"), **fields)
    assert taken == []
    assert roles() == ["oracle", "student", "teacher"]
    warm, taken = run_warm(output=str(tmp_path / "warm"), **fields)
    assert taken == ["oracle", "student", "teacher"]
    alone = hashes(Path(done[0].spec.output))
    assert hashes(tmp_path / "cold") == hashes(tmp_path / "warm") == alone
    assert list(verify(warm.output)) == []

    other = {**fields, "draws": 2, "teacher_steps": 2, "name": "other"}
    _, taken = run_warm(output=str(tmp_path / "other"), **other)
    assert taken == ["oracle", "student", "teacher"]
    end_all()
    _, taken = run_warm(output=str(tmp_path / "again"), **{**other, "pools": pools(None)})
    assert taken == []
    assert hashes(tmp_path / "other") == hashes(tmp_path / "again")
    assert hashes(tmp_path / "other") != alone


def test_a_job_without_keep_warm_takes_warm_actors_and_leaves_none(
    run_warm: RunWarm, captions: Path, tmp_path: Path
) -> None:
    fields = {"input": str(captions), "models": STAND_INS["models"], **FIELDS}
    run_warm(output=str(tmp_path / "one"), pools=pools(), **fields)
    _, taken = run_warm(output=str(tmp_path / "two"), pools=pools(None), **fields)
    assert taken == ["oracle", "student", "teacher"]
    assert roles() == []
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_other_settings_are_another_model(
    run_warm: RunWarm, captions: Path, tmp_path: Path
) -> None:
    """And the actors that are in its way go at once."""
    models: Any = STAND_INS["models"]
    fields = {"input": str(captions), "pools": pools(), **FIELDS}
    run_warm(output=str(tmp_path / "one"), models=models, **fields)
    teacher = {**models["teacher"], "guidance_scale": 5.0}
    _, taken = run_warm(
        output=str(tmp_path / "two"), models={**models, "teacher": teacher}, **fields
    )
    assert taken == ["oracle", "student"]


def test_an_oracle_whose_modules_nobody_can_compare_does_not_stay(
    run_warm: RunWarm, captions: Path, modules: Path, tmp_path: Path
) -> None:
    (modules / "redness.py").write_text((ROOT / "examples/colorfulness.py").read_text())
    own = {"kind": "redness:Colorfulness", "batch_size": 4}
    fields = {"input": str(captions), "pools": pools(), **FIELDS}
    run_warm(output=str(tmp_path / "out"), models={**FAST["models"], "oracle": own}, **fields)
    assert roles() == ["student", "teacher"]


def test_a_warm_actor_that_died_or_misbehaves_is_replaced_as_any(
    run_warm: RunWarm, captions: Path, tmp_path: Path
) -> None:
    """One is gone without a word, one does not answer."""
    fields = {"input": str(captions), "models": STAND_INS["models"], "pools": pools(), **FIELDS}
    run_warm(output=str(tmp_path / "one"), **fields)
    pids = {actor["role"]: actor["pid"] for actor in warm_processes()}
    os.kill(pids["student"], signal.SIGKILL)
    os.kill(pids["teacher"], signal.SIGSTOP)
    job, taken = run_warm(output=str(tmp_path / "two"), **fields)
    assert taken == ["oracle"]
    assert list(verify(job.output)) == []
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def warm_processes() -> list[dict[str, Any]]:
    table: Any = ray._private.state.state.actor_table
    alive = table(None, None, "ALIVE")
    return [{**actor, "pid": alive[actor["actor"]]["Pid"]} for actor in warm_actors()]


# ---- one actor


class Idler:
    """An actor of a model that is nothing."""

    def __init__(self, settings: str, threads: int | None = None) -> None:
        self.settings = settings

    def ready(self) -> str:
        return self.settings

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


NOBODY = "ffffffff"
"""Ray's number of a driver that never was."""


def lease(**fields: Any) -> Lease:
    driver = ray.get_runtime_context().get_job_id()
    return Lease(**{"ray_job": driver, "name": "faces", "keep_seconds": 300.0, **fields})


def start(**fields: Any) -> Any:
    kind: Any = ray.remote(kept(Idler)).options(lifetime="detached", num_cpus=0)
    about = About(key="nothing", role="student", model="m", cpus=0.0, gpus=0.0)
    return kind.remote("m", lease=lease(**fields), about=about)


def is_gone(actor: Any) -> bool:
    try:
        ray.get(actor.ready.remote(), timeout=1)
    except RayActorError:
        return True
    except TimeoutError:
        return False
    return False


def test_an_actor_is_lent_to_one_job_and_only_between_two(ray_here: Resources) -> None:
    actor = start()
    assert ray.get(actor.ready.remote()) == "m"
    assert not ray.get(actor.lend.remote(lease())), "it has a job"
    ray.get(actor.rest.remote())
    assert ray.get([actor.lend.remote(lease()) for _ in range(3)]) == [True, False, False]
    ray.kill(actor)


def test_the_list_gives_an_actor_to_one_of_two(ray_here: Resources) -> None:
    actor = start()
    ray.get(actor.rest.remote())
    until(lambda: roles() == ["student"])
    claims = ray.get([warm_list().claim.remote("nothing") for _ in range(2)])
    assert [claim is not None for claim in claims] == [True, False]
    ray.kill(actor)


def test_an_actor_ends_when_its_time_is_over(ray_here: Resources) -> None:
    actor = start(keep_seconds=0.5)
    ray.get(actor.rest.remote())
    until(lambda: is_gone(actor))


def test_an_actor_whose_driver_is_gone_rests_and_is_lent_again(ray_here: Resources) -> None:
    """Once the call that it is at is over."""
    actor = start()
    ray.get(actor.rest.remote())
    assert ray.get(actor.lend.remote(lease(ray_job=NOBODY)))
    until(lambda: roles() == ["student"])
    assert ray.get(actor.lend.remote(lease()))
    ray.kill(actor)


def test_an_actor_hangs_at_the_call_of_a_driver_that_is_gone_no_longer_than_its_time(
    ray_here: Resources,
) -> None:
    actor = start()
    ray.get(actor.rest.remote())
    ray.get(actor.lend.remote(lease(ray_job=NOBODY, keep_seconds=0.5)))
    actor.sleep.remote(3600.0)
    until(lambda: is_gone(actor))


def test_an_actor_that_gets_its_place_after_its_driver_is_gone_loads_nothing(
    ray_here: Resources,
) -> None:
    actor = start(ray_job=NOBODY)
    until(lambda: is_gone(actor))


# ---- the command, and a driver that is killed


def bottega(head: Head, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bottega", *arguments], env=environment_of(head.home), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def listed(head: Head) -> list[dict[str, Any]]:
    found = bottega(head, "pools", "list", "--json", "--address", head.ray_address)
    assert found.returncode == 0, found.stderr
    return list(json.loads(found.stdout))


def test_actors_of_a_killed_driver_are_the_next_ones_until_they_are_cleared(
    head: Head, captions: Path, tmp_path: Path
) -> None:
    fields = {
        **FAST,
        "name": "nightly",
        "input": str(captions),
        "output": str(tmp_path / "out"),
        "models": STAND_INS["models"],
        "pools": pools(),
    }
    (tmp_path / "job.json").write_text(json.dumps(fields))
    run = ["bottega", "run", str(tmp_path / "job.json"), "--address", head.ray_address, "-v"]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(run, env=environment_of(head.home), stdout=log, stderr=log)
        until(lambda: (tmp_path / "log").read_text().count("an actor is ready") == 3)
        first.kill()
        first.wait()
    until(lambda: len(listed(head)) == 3)
    again = bottega(head, *run[1:])
    assert again.returncode == 0, again.stderr
    assert (again.stdout + again.stderr).count("a warm actor is taken") == 3
    assert list(verify(OutputFolder(tmp_path / "out"))) == []
    shown = bottega(head, "pools", "list", "--address", head.address)
    assert shown.returncode == 0, shown.stderr
    assert "nightly" in shown.stdout
    assert "4 min" in shown.stdout
    cleared = bottega(head, "pools", "clear", "--json", "--address", head.address)
    assert sorted(actor["role"] for actor in json.loads(cleared.stdout)) == [
        "oracle", "student", "teacher"
    ]  # fmt: skip
    assert listed(head) == []


def test_a_ray_that_ends_with_its_job_keeps_nothing_and_says_so(
    ray_here: Resources, captions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {**FAST, "models": STAND_INS["models"], "pools": pools()}
    job = resolve(make_spec({**fields, "input": str(captions), "output": str(tmp_path / "out")}))
    dispatcher_on_ray(job, ray_here)
    assert "this job's Ray ends with it, so that no actor can stay" in caplog.text
    caplog.clear()
    dispatcher_on_ray(job, replace(ray_here, alone=False))
    assert "no actor can stay" not in caplog.text
