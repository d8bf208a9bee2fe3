"""The kind of device on which a dataset is made: recorded, compared, and never changed silently."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.device_kind import device_kind
from actors.errors import OutputError
from actors.facts import CallFacts
from actors.roles import ROLES
from jobs.execution.calls import Call
from jobs.execution.measurements import Measurements
from jobs.execution.runner import Runner
from jobs.execution.stages import Stage
from jobs.output.records import DEVICES, parse_record
from tests.outputs import record_file
from tests.unit.jobs.local import LocalDispatcher, local_job, retry, run, write_prompts

POOLS = {name: SimpleNamespace(size=1) for name in ROLES}
H200, A100 = "NVIDIA H200", "NVIDIA A100-SXM4-80GB"


def measurements(tmp_path: Path, **pools: Any) -> Measurements:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out", pools=pools)
    return Measurements(job)


def drawn_on(device: str, found: Measurements, stage: Stage = Stage.DRAW) -> dict[str, set[str]]:
    """A call on a device; returns the devices of the part that it was for."""
    owner: Any = SimpleNamespace(
        seconds=dict.fromkeys(ROLES, 0.0), calls=dict.fromkeys(ROLES, 0),
        padded_rows=dict.fromkeys(ROLES, 0), smaller_batches={}, truncated=set(),
        devices={name: set() for name in ROLES},
    )  # fmt: skip
    task: Any = SimpleNamespace(
        call=Call(stage, (0, 1)), owner=owner, micro_batch_size=2, slots=None
    )
    pools: Any = POOLS
    found.add(task, CallFacts(2, 1.0, device=device), pools)
    devices: dict[str, set[str]] = owner.devices
    return devices


def test_another_kind_than_that_of_the_parts_that_are_there_is_refused(tmp_path: Path) -> None:
    found = measurements(tmp_path)
    found.devices_before = {"student": {H200}}
    assert drawn_on(H200, found)["student"] == {H200}
    drawn_on(A100, found, Stage.REFINE)  # No teacher has drawn yet.
    with pytest.raises(OutputError, match=rf"student computes on {A100} now.*made on {H200}.*"
                       r"pools\.allow_other_devices: true"):  # fmt: skip
        drawn_on(A100, found)


def test_it_goes_on_with_a_warning_where_the_job_allows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = measurements(tmp_path, allow_other_devices=True)
    found.devices_before = {"student": {H200}}
    for _ in range(2):
        assert drawn_on(A100, found)["student"] == {A100}
    assert caplog.text.count(f"the student computes on {A100} too, and on {H200}") == 1


def test_a_pool_on_two_kinds_from_the_start_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = measurements(tmp_path)
    for device in (H200, A100, H200, A100):
        drawn_on(device, found)
    assert caplog.text.count("pools.student.node_label keeps a pool on one kind of node") == 1


def test_stand_ins_have_no_device(tmp_path: Path) -> None:
    assert drawn_on("", measurements(tmp_path))["student"] == set()


def test_a_run_knows_the_devices_of_the_records(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 12), tmp_path / "out")
    run(job)
    for part, device in enumerate((H200, A100)):
        file = record_file(job.output, part)
        record = {**json.loads(file.read_text()), DEVICES: {"student": [device]}}
        file.write_text(json.dumps(record))
    assert Runner(job)._devices_before == {"student": {H200, A100}}


def test_a_retry_keeps_the_devices_of_the_rows_that_it_keeps(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out", max_failed=0.9)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 1"})))
    file = record_file(job.output, 0)
    file.write_text(json.dumps({**json.loads(file.read_text()), DEVICES: {"student": [A100]}}))
    assert retry(job).failed_rows == 0
    assert parse_record(file.read_bytes(), file.name)[DEVICES] == {"student": [A100]}


@pytest.mark.parametrize("devices", [["NVIDIA"], {"student": "NVIDIA"}, {"student": [1]}])
def test_a_record_with_other_devices_than_names_does_not_count(
    tmp_path: Path, devices: Any
) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out")
    run(job)
    file = record_file(job.output, 0)
    file.write_text(json.dumps({**json.loads(file.read_text()), DEVICES: devices}))
    with pytest.raises(ValueError, match="its 'devices' is"):
        parse_record(file.read_bytes(), file.name)


def test_the_kind_names_what_changes_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_kind().startswith("CPU, ")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: H200)
    assert device_kind() == H200
    monkeypatch.setenv("DIFFUSERS_ATTN_BACKEND", "flash")
    # By hand: monkeypatch cannot put back an attribute of these modules.
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = False, True
    kind = device_kind()
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    assert kind == (
        f"{H200}, TF32 in products of matrices, no TF32 in convolutions, attention by flash"
    )
