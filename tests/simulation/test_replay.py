"""The decisions before an unforeseen error can be replayed without Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.errors import StalledError
from jobs.execution.calls import Call
from jobs.execution.cascade import Cascade
from jobs.execution.decision_log import DecisionLog
from jobs.execution.stages import Stage
from jobs.output.folder import OutputFolder
from tests.simulation.fault_plans import make_fault_plan
from tests.simulation.replay import read, replay
from tests.simulation.trials import Trial
from tests.unit.jobs.local import local_job, run, write_prompts


def log_of(seed: int, folder: Path) -> dict[str, Any]:
    """The decisions of a job with the faults of a seed."""
    trial = Trial(make_fault_plan(seed), None, lambda _: None)
    trial.decisions = DecisionLog()
    trial.run()
    name = trial.decisions.write(OutputFolder(folder), ValueError("nothing happened"))
    return read(Path(name))


@pytest.mark.parametrize("seed", range(40))
def test_what_a_cascade_decided_under_faults_it_decides_again(seed: int, tmp_path: Path) -> None:
    content = log_of(seed, tmp_path)
    assert sum(len(part["decisions"]) for part in content["parts"]) > 1
    assert replay(content) == []


def test_another_decision_is_seen(tmp_path: Path) -> None:
    content = log_of(3, tmp_path)
    part = max(content["parts"], key=lambda part: int(part["num_rows"]))
    assert part["rules"]["student_batch"] > 1
    part["rules"]["student_batch"] = 1
    assert any("DIFFERS: decision 0" in problem for problem in replay(content))


def test_an_unforeseen_error_leaves_its_decisions_and_replays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Cascade._judge

    def broken(self: Cascade, call: Call, scored: Any) -> None:
        if call.stage is Stage.SCORE_REFINED and 2 in call.rows:
            raise ZeroDivisionError("a fault in the cascade")
        judge(self, call, scored)

    job = local_job(write_prompts(tmp_path / "p.csv", 12), tmp_path / "out", budget={"refine": 1})
    with monkeypatch.context() as patch:
        patch.setattr(Cascade, "_judge", broken)
        with pytest.raises(ZeroDivisionError) as raised:
            run(job)
        file = job.output.path / "decisions.json"
        assert str(file) in raised.value.__notes__[0]
        lines: list[str] = []
        assert replay(read(file), lines.append) == []
        assert any("as it did then" in line and "ZeroDivisionError" in line for line in lines)
        assert lines[-1] == "the job ended with: ZeroDivisionError: a fault in the cascade"
    # The mended code does not raise, and says so.
    assert any("does not now" in problem for problem in replay(read(file)))
    assert "picture 3" not in file.read_text(), "a prompt is in the log"
    assert run(job).done_rows == 12


def test_an_error_that_was_foreseen_leaves_none(tmp_path: Path) -> None:
    decisions = DecisionLog()
    with pytest.raises(StalledError), decisions.written_on_error(OutputFolder(tmp_path)):
        raise StalledError("nothing came back")
    assert not list(tmp_path.iterdir())


def test_a_log_of_another_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "decisions.json"
    file.write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        read(file)
