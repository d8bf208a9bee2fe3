"""A job's state at a URL: read from anywhere, and its age by the store's own clock."""

from __future__ import annotations

import json
import time

import pytest

from jobs.output.status import State
from jobs.output.status_file import read_state, write_status
from jobs.storage.storage_at import storage_at
from tests.cluster.conftest import bottega_in_process
from tests.unit.jobs.output.test_status import RUNNING


def test_a_status_at_a_url_is_read_without_a_cluster(
    in_object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{in_object_store}/faces"
    storage = storage_at(url)
    assert read_state(storage) is None
    write_status(storage, RUNNING)
    for name in ("BOTTEGA_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    shown = bottega_in_process("status", url, "--json")
    assert shown.returncode == 5, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["state"], found["output"], found["id"]) == ("running", url, RUNNING.id)
    nobody = bottega_in_process("status", f"{in_object_store}/nowhere")
    assert nobody.returncode == 6
    # The clock of this machine is an hour ahead: the store's says that the driver is alive.
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    alive = read_state(storage)
    assert alive is not None
    assert alive.state is State.RUNNING
    assert [entry.path for entry in storage.entries()] == ["status.json"], "a look leaves nothing"
