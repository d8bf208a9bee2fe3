"""The dashboard and the alerts ask for metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.metrics.catalogue import METRICS, Kind, Metric

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "cluster/metrics"
PROMTOOL = Path(sys.executable).with_name("promtool")
OF_PROMETHEUS = {"le", "instance", "WorkerId"}
"""Labels that histograms, scrapes and Ray's agent add."""


def queries() -> Iterator[str]:
    for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def names_of(metric: Metric) -> set[str]:
    endings = ("_bucket", "_count", "_sum") if metric.kind is Kind.HISTOGRAM else ("",)
    return {metric.name + ending for ending in endings}


def test_every_query_asks_for_metrics_that_there_are_and_every_metric_is_asked_for() -> None:
    asked = {name for query in queries() for name in re.findall(r"\bbottega_\w+", query)}
    assert asked <= set().union(*map(names_of, METRICS))
    assert not [metric.name for metric in METRICS if not names_of(metric) & asked]


@pytest.mark.parametrize("query", queries())
def test_a_query_selects_and_groups_by_labels_that_its_metrics_have(query: str) -> None:
    used = [metric for metric in METRICS if any(name in query for name in names_of(metric))]
    known = {"job", *OF_PROMETHEUS, *(label for metric in used for label in metric.labels)}
    selected = set(re.findall(r"[{,]\s*(\w+)(?:=~|!=|=)", query))
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"(?:by|on) \(([^)]*)\)", query))))
    assert selected | grouped <= known


def test_the_page_has_the_table_of_metrics() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    found = dict(re.findall(r"^\| `(bottega_\w+)(?:\{[^}]*\})?` \| (.+) \|$", page, re.MULTILINE))
    assert found == {metric.name: metric.help for metric in METRICS}
    for metric in METRICS:
        if metric.labels:
            assert f"`{metric.name}{{{','.join(metric.labels)}}}`" in page


def test_the_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """On series written by hand, in Prometheus' own time."""
    (tmp_path / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
    cases = Path(__file__).with_name("alerts_test.yml")
    (tmp_path / "alerts_test.yml").write_text(cases.read_text())
    end = subprocess.run(
        [PROMTOOL, "test", "rules", "alerts_test.yml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert end.returncode == 0, end.stdout + end.stderr
    names = set(re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text()))
    assert names == set(re.findall(r"alertname: (\w+)", cases.read_text()))


def test_prometheus_takes_the_configuration() -> None:
    end = subprocess.run(
        [PROMTOOL, "check", "config", "prometheus.yml"],
        cwd=FOLDER, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert end.returncode == 0, end.stdout + end.stderr
