"""The real scheduling code on a simulated executor: thousands of seeded fault plans."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from actors.errors import JobError, PoolFailedError, StalledError
from jobs.execution.calls import Call
from jobs.execution.dispatcher import MOST_COMMITS, Dispatcher
from jobs.execution.executor import ErrorKind, Task, TaskError
from jobs.execution.runner import Runner
from jobs.execution.stages import Stage
from jobs.simulation.executor import (
    DRIVER_NODE,
    Durations,
    SimulatedActor,
    SimulatedExecutor,
)
from jobs.simulation.job import simulated_job
from jobs.spec.job_spec import make_spec
from tests.chaos.broken import BROKEN, ROOT
from tests.simulation.fault_plans import (
    Fault,
    FaultKind,
    FaultPlan,
    Poison,
    SmallJob,
    make_fault_plan,
)
from tests.simulation.trials import run_trial

NUM_FAULT_PLANS = 2400
NUM_SLICES = 8

SIZES = {"student": 1, "oracle": 1, "teacher": 1}


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    """No log of thousands of warnings, and no collections, which would free nothing."""
    gc.collect()
    gc.freeze()
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
    gc.unfreeze()


@pytest.mark.parametrize("which", range(NUM_SLICES))
def test_faults_change_nothing_but_the_time(which: int) -> None:
    failed: dict[int, str] = {}
    for seed in range(which, NUM_FAULT_PLANS, NUM_SLICES):
        if problems := run_trial(make_fault_plan(seed)).problems:
            failed[seed] = problems[0]
    assert not failed, f"replay with: python -m tests.simulation.trials --seed {next(iter(failed))}"


def test_the_plans_contain_every_kind_of_fault() -> None:
    """Or a promise would be kept because nobody tested it."""
    lines: list[str] = []
    for seed in range(300):
        run_trial(make_fault_plan(seed), lines.append)
    log = "\n".join(lines)
    for words in [
        "dies: an actor dies while it loads", "dies: an actor dies while it has nothing to do",
        "dies: an actor dies with one call", "dies: an actor dies with two calls", "node",
        "latents of draw of", "pictures of draw of", "pictures of refine of",
        "files of encode drawn of", "files of encode refined of", FaultKind.SLOW, FaultKind.HANG,
        FaultKind.RAISE, FaultKind.RAISE_ALWAYS, "memory is short", FaultKind.LATE, FaultKind.TWICE,
        FaultKind.COMMIT, FaultKind.COMMIT_UNREPORTED, FaultKind.RESTART, "dies: poison",
        "hangs: poison", "numbers are not finite", "is killed by the dispatcher",
        "the pools are resized", FaultKind.OTHERS, FaultKind.GPU_LEAVES, "waits for a GPU",
        f"dies: {FaultKind.EVICT}",
    ]:  # fmt: skip
        assert words in log, words


def test_a_seed_gives_the_same_log_each_time() -> None:
    for seed in range(20):
        logs: list[list[str]] = [[], []]
        for log in logs:
            run_trial(make_fault_plan(seed), log.append)
        assert logs[0] == logs[1]


SMALL = SmallJob(
    num_rows=8,
    rows_per_part=8,
    batches=(4, 8, 4),
    sizes=(1, 1, 1),
    num_nodes=2,
    task_slots=2,
    threshold=1.1,
    strategy="refine",
    through="latents",
    keep="teacher",
    save_student=False,
    invalid_rows=frozenset(),
    poison=(),
)


@pytest.mark.parametrize("how", [FaultKind.RAISE, FaultKind.KILL_WORKING, FaultKind.HANG])
@pytest.mark.parametrize("stage", [Stage.DRAW, Stage.SCORE_DRAWN, Stage.REFINE])
def test_a_poison_row_fails_and_its_neighbours_stay(stage: Stage, how: FaultKind) -> None:
    faultless = run_trial(FaultPlan(seed=0, job=SMALL)).content[0]
    poison = (Poison(row=5, stage=stage, how=how),)
    small = SmallJob(**{**{n: getattr(SMALL, n) for n in SMALL.__slots__}, "poison": poison})
    verdict = run_trial(FaultPlan(seed=0, job=small))
    assert verdict.problems == []
    rows = verdict.content[0]
    assert rows[:5] == faultless[:5]
    if stage is Stage.REFINE:
        assert rows[6:] == faultless[6:]
    # A row that is not rejected has no slot in the teacher's batch: those behind it move up.
    for row, usual in zip(rows[6:], faultless[6:], strict=True):
        (*head, _, source, nfe, error, (_, picture), student, _) = row
        (*before, _, who, spent, why_not, (_, drawn), none, _) = usual
        assert (head, source, nfe, error, student) == (before, who, spent, why_not, none)
        assert picture[:-1] == drawn[:-1]
    # The log says who died where; the dataset has the same text on every cluster.
    why = {FaultKind.RAISE: "poison", FaultKind.KILL_WORKING: "its actor died"}
    assert rows[5][5] == f"{stage}: {why.get(how, 'its actor did not answer in time')}"


def test_a_lost_reference_redoes_what_made_it_and_nothing_else() -> None:
    """A part of two batches loses one of its references."""
    faultless = run_trial(FaultPlan(seed=0, job=SMALL))
    lines: list[str] = []
    plans = (
        FaultPlan(seed=0, job=SMALL, faults=(Fault(FaultKind.LOSE, at, pick, 0.0),))
        for at in (0.5, 0.7, 0.9)
        for pick in range(4)
    )
    verdicts = [run_trial(plan, lines.append) for plan in plans]
    assert any("are lost" in line for line in lines)
    assert [verdict.problems for verdict in verdicts] == [[]] * 12
    # At most the drawing, refining and encoding of one batch, and the calls that missed it.
    assert max(verdict.num_calls for verdict in verdicts) <= faultless.num_calls + 6


class _Memory(SimulatedExecutor):
    """Devices with room for two rows; notes how many were asked for at once."""

    def __init__(self, room: int) -> None:
        super().__init__(Durations(), num_nodes=1)
        self.room = room
        self.running: list[tuple[Call, int]] = []

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        self.running.append((task.call, task.micro_batch_size))
        if actor.pool == "teacher" and task.micro_batch_size > self.room:
            return 0.1, TaskError(ErrorKind.OUT_OF_MEMORY, "CUDA out of memory")
        return super().outcome(actor, task)


def _run(
    executor: SimulatedExecutor,
    num_rows: int = 16,
    threshold: float = 1.1,
    teacher_batch: int = 8,
    **fields: object,
) -> None:
    batches = {"student": 8, "oracle": 8, "teacher": teacher_batch}
    models = {"preset": "shapes", **{n: {"batch_size": b} for n, b in batches.items()}}
    spec = make_spec({"input": "-", "output": "-", "models": models, "rows_per_part": 16, **fields})
    job = simulated_job(spec, num_rows, "latents", frozenset())
    with Dispatcher(job, executor, SIZES, task_slots=2) as dispatcher:
        Runner(job).run(dispatcher, job.rules(threshold))


def test_a_pool_without_memory_computes_fewer_rows_at_once_and_remembers() -> None:
    executor = _Memory(room=2)
    _run(executor, num_rows=32)
    refined = [(call, rows) for call, rows in executor.running if call.stage is Stage.REFINE]
    sizes = [rows for _, rows in refined]
    assert sizes == sorted(sizes, reverse=True), "a size that did not fit is not tried again"
    assert set(sizes) == {8, 4, 2}
    assert sizes.count(2) == 4, "each batch of eight once, in twos"
    assert {len(call.rows) for call, _ in refined} == {8}, "the rows of a batch stay together"
    assert {rows for call, rows in executor.running if call.stage is not Stage.REFINE} == {8}
    assert all(row[5] is None for rows in executor.committed.values() for row in rows)


def test_a_part_counts_the_calls_and_the_rows_that_they_computed() -> None:
    facts: list[dict[str, object]] = []

    class Noting(SimulatedExecutor):
        def commit(self, task: Task) -> dict[str, Any]:
            facts.append(task.owner.facts())
            return super().commit(task)

    # A batch of eight, and one of one row.
    _run(Noting(Durations(), num_nodes=1), num_rows=9, threshold=1.1)
    assert facts[0]["calls"] == {"student": 2, "oracle": 4, "teacher": 2, "files": 2}
    assert facts[0]["padded_rows"] == {"student": 16, "oracle": 32, "teacher": 16}


def test_rows_for_which_there_is_never_room_fail() -> None:
    executor = _Memory(room=0)
    _run(executor, max_failed=1.0)
    assert {row[5] for row in executor.committed[0]} == {"refine: out of memory"}


class _Evicting(SimulatedExecutor):
    """The memory monitor of the teachers' node kills each of the first `count` at its call."""

    def __init__(self, count: float) -> None:
        super().__init__(Durations(), num_nodes=1)
        self.left = count
        self.sizes: list[int] = []

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        if actor.pool == "teacher":
            self.sizes.append(task.micro_batch_size)
            if self.left > 0:
                self.left -= 1
                actor.death = ErrorKind.EVICTED
                self.at(0.5, lambda: self.kill_actor(actor))
                return float("inf"), None
        return super().outcome(actor, task)


def test_an_actor_that_the_memory_monitor_killed_is_replaced_and_nothing_is_halved() -> None:
    executor = _Evicting(count=3)
    _run(executor, max_attempts=1)
    assert executor.sizes == [8] * 5, "two batches, and one call for each teacher that was killed"
    assert all(row[5] is None for rows in executor.committed.values() for row in rows)


def test_a_node_that_is_always_full_ends_the_job_and_fails_no_row() -> None:
    executor = _Evicting(count=float("inf"))
    with pytest.raises(PoolFailedError, match="the teacher pool lost actor after actor"):
        _run(executor, max_failed=1.0)
    assert executor.committed == {}


class _Waves(SimulatedExecutor):
    """A wave takes every node but the driver's each time that a teacher has begun, so often."""

    def __init__(self, waves: float) -> None:
        super().__init__(Durations(), num_nodes=2)
        self.waves = waves

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        self._actors_on[DRIVER_NODE] = 1000  # no actor there
        return super().start_actor(pool)

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        if actor.pool == "teacher" and self.waves > 0:
            self.waves -= 1
            for node in sorted(self.nodes - {DRIVER_NODE}):
                self.at(0.5, lambda node=node: self.kill_node(node))  # type: ignore[misc]
        return super().outcome(actor, task)


def test_many_waves_that_take_all_nodes_only_take_time() -> None:
    undisturbed, executor = _Waves(0), _Waves(18)
    for each in (undisturbed, executor):
        _run(each, max_attempts=1)
    assert executor.waves == 0
    assert executor.committed == undisturbed.committed
    assert all(row[5] is None for rows in executor.committed.values() for row in rows)


def test_nodes_that_last_for_no_call_end_the_job() -> None:
    with pytest.raises(PoolFailedError, match="nodes of the teacher pool are lost before a call"):
        _run(_Waves(float("inf")), max_attempts=1)


class _Losing(SimulatedExecutor):
    """The latents are lost when the teacher's second call is on its way, and with it the third.

    Its first call goes alone: none has shown yet that its calls are short.
    """

    def __init__(self) -> None:
        super().__init__(Durations(), num_nodes=1)
        self.running: list[Stage] = []

    def submit_actor_task(self, handle: SimulatedActor, task: Task) -> object:
        if task.call.stage is Stage.REFINE and self.running.count(Stage.REFINE) == 1:
            for ref in task.inputs:
                self.lose(ref)
        self.running.append(task.call.stage)
        return super().submit_actor_task(handle, task)


def test_what_was_made_anew_is_not_lost_when_the_next_call_misses_the_old() -> None:
    executor = _Losing()
    _run(executor, num_rows=8, teacher_batch=3)
    assert executor.running.count(Stage.DRAW) == 2
    assert executor.running.count(Stage.REFINE) == 3 + 2


def test_a_call_whose_input_is_lost_while_it_waits_is_sent_when_it_is_there_again() -> None:
    """Eight calls take the latents; two miss them on the way, and five still wait."""
    executor = _Losing()
    _run(executor, num_rows=8, teacher_batch=1)
    assert executor.running.count(Stage.DRAW) == 2
    assert executor.running.count(Stage.REFINE) == 8 + 2
    assert all(row[5] is None for row in executor.committed[0])


class _Hung(SimulatedExecutor):
    """No teacher ever comes back."""

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        seconds, error = super().outcome(actor, task)
        return (float("inf") if actor.pool == "teacher" else seconds), error


def test_actors_that_all_hang_end_the_job_with_the_limit() -> None:
    with pytest.raises(PoolFailedError, match=r"no answer for 20 s \(call_timeout_seconds"):
        _run(_Hung(Durations(), num_nodes=1), call_timeout_seconds=20)


def test_actors_that_never_load_stall_the_job_with_what_it_waits_for() -> None:
    executor = SimulatedExecutor(Durations(load=float("inf")), num_nodes=1)
    with pytest.raises(StalledError, match=r"student: 0 of 1 actors ready, 0 busy, 2 calls"):
        _run(executor, stall_timeout_seconds=60)
    assert 60 < executor.now() < 62


class _Broken(SimulatedExecutor):
    """No student ever draws."""

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        return 0.1, TaskError(ErrorKind.RAISED, "RuntimeError: expected Half, got Float")


def test_a_student_that_fails_at_everything_ends_the_job_with_the_cause_and_few_loads() -> None:
    executor = _Broken(Durations(load=20.0), num_nodes=1)
    with pytest.raises(PoolFailedError, match=r"every call of the student .* got Float"):
        _run(executor, num_rows=1600, max_failed=1.0)
    assert executor.now() < 200


class _FullDisk(SimulatedExecutor):
    def file_outcome(self, task: Task) -> TaskError | None:
        if task.call.stage is Stage.COMMIT:
            return TaskError(ErrorKind.RAISED, "No space left on device")
        return None


def test_a_part_that_cannot_be_written_ends_the_job_after_so_many_attempts() -> None:
    with pytest.raises(JobError, match="part 0 cannot be written: No space left on device"):
        _run(_FullDisk(Durations(), num_nodes=1))


def test_what_is_broken_on_purpose_is_still_there_to_be_broken() -> None:
    """`python -m tests.chaos.broken` takes minutes; the code moves on meanwhile."""
    for name, (file, before, _) in BROKEN.items():
        assert (ROOT / file).read_text().count(before) == 1, name


class _SlowDisk(SimulatedExecutor):
    """Commits take a hundred times as long as everything else. Notes how many run at once."""

    def __init__(self) -> None:
        super().__init__(Durations(), num_nodes=1)
        self.commits = 0
        self.most_commits = 0
        self.encoded_meanwhile = 0

    def file_seconds(self, task: Task) -> float:
        if task.call.stage is not Stage.COMMIT:
            self.encoded_meanwhile += self.commits > 0
            return 0.1
        self.commits += 1
        self.most_commits = max(self.most_commits, self.commits)
        return 100.0

    def commit(self, task: Task) -> dict[str, Any]:
        self.commits -= 1
        return super().commit(task)


@pytest.mark.parametrize("num_writers", [1, 3])
def test_few_commits_run_at_once_and_pictures_are_encoded_meanwhile(num_writers: int) -> None:
    """Each commit has a part in memory. A slow disk does not take every slot for files."""
    executor = _SlowDisk()
    models = {"preset": "shapes", **{n: {"batch_size": 4} for n in SIZES}}
    spec = make_spec({"input": "-", "output": "-", "models": models, "rows_per_part": 8})
    job = simulated_job(spec, 160, "latents", frozenset())
    with Dispatcher(job, executor, SIZES, task_slots=8, num_writers=num_writers) as dispatcher:
        Runner(job).run(dispatcher, job.rules(-1.0))
    assert len(executor.committed) == 20
    assert executor.most_commits == num_writers * MOST_COMMITS
    assert executor.encoded_meanwhile > 0
