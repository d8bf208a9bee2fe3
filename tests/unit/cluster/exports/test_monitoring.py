"""The files for Prometheus and Grafana go into a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from actors.errors import OutputError
from cluster.exports.monitoring import write_monitoring


def test_the_files_are_whole_and_can_be_written_again(tmp_path: Path) -> None:
    for _ in range(2):
        configuration, alerts, dashboard = write_monitoring(tmp_path / "a/b")
    assert yaml.safe_load(configuration.read_text())["rule_files"] == [alerts.name]
    assert json.loads(dashboard.read_text())["title"] == "Bottega"


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write to"):
        write_monitoring(tmp_path / "file/below")
