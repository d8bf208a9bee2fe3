"""A real Prometheus scrapes a running job, through Ray's agent and at the job's own port.

Each query of the dashboard and of the alerts gives what the job did.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cluster.metrics.catalogue import METRICS
from jobs import open_output
from tests.cluster.head import kill_all
from tests.stand_ins import STAND_INS
from tests.unit.cluster.metrics.test_dashboard import FOLDER, names_of

BIN = Path(sys.executable).parent
ROWS, FAILING = 96, 8
"""Of the job, and those whose prompt is empty: 8.3 %, and the alert fires at 5 %."""

WAYS = ("ray", "port")


@dataclass(frozen=True)
class Prometheus:
    """A server, as somebody asks it."""

    address: str

    def value(self, query: str, at: float | None = None) -> dict[tuple[str, ...], float]:
        """The values of an instant query, by the labels beside those of the process."""
        filled = query.replace('"$job"', '".+"').replace("$__rate_interval", "1m")
        given = {"query": filled, **({"time": at} if at else {})}
        with urlopen(f"{self.address}/api/v1/query?{urlencode(given)}", timeout=20) as answer:
            found = json.load(answer)["data"]["result"]
        return {
            tuple(
                name_of(value) if label == "job" else value
                for label, value in sorted(each["metric"].items())
                if label in ("job", *OWN_LABELS)
            ): float(each["value"][1])
            for each in found
        }


ENDED = 'last_over_time(bottega_runs_ended_total{state="succeeded"}[10m]) == 1'


def name_of(job: str) -> str:
    """The name in a job's id."""
    found = re.fullmatch(r"bottega-(\w+)-[0-9a-f]{10}", job)
    return found[1] if found else job


OWN_LABELS = sorted({label for metric in METRICS for label in metric.labels})


@dataclass(frozen=True)
class Head:
    """A Ray with an agent. `scraped`: a Prometheus by each way of WAYS."""

    address: str
    job_port: int
    environment: dict[str, str]
    scraped: dict[str, Prometheus]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    (folder / "token").write_text("0123456789abcdef" * 4)
    (folder / "token").chmod(0o600)
    ports = free_ports(6)
    gcs, agent, listen, job, first, second = ports
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
    }
    ray = [
        *(BIN / "ray", "start", "--head", "--block", f"--port={gcs}", "--num-cpus=4"),
        *(f"--metrics-export-port={agent}", f"--dashboard-agent-listen-port={listen}"),
        *("--include-dashboard=false", "--node-ip-address=127.0.0.1", "--disable-usage-stats"),
        *("--object-store-memory=200000000", "--num-gpus=2"),
        '--system-config={"metrics_report_interval_ms": 500}',
    ]
    with (
        running(ray, folder / "ray.log", environment),
        prometheus(folder / "by-ray", first, f"127.0.0.1:{agent}") as by_ray,
        prometheus(folder / "by-port", second, f"127.0.0.1:{job}") as by_port,
    ):
        until(lambda: by_ray.value("ray_node_mem_total") or by_ray.value("up") == {("ray",): 1.0})
        yield Head(f"127.0.0.1:{gcs}", job, environment, {"ray": by_ray, "port": by_port})


@contextmanager
def prometheus(folder: Path, port: int, target: str) -> Iterator[Prometheus]:
    """The configuration that users get, with another target, and scrapes every half second."""
    folder.mkdir()
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    for scrape in config["scrape_configs"]:
        scrape.pop("file_sd_configs", None)
        scrape["static_configs"] = [{"targets": [target]}]
    # Either block reads both kinds of names; one of them is enough.
    config["scrape_configs"] = config["scrape_configs"][:1]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
    command = [
        *(BIN / "prometheus", f"--config.file={folder / 'prometheus.yml'}"),
        *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    with running(command, folder / "log", dict(os.environ)):
        found = Prometheus(f"http://127.0.0.1:{port}")
        until(lambda: is_ready(found))
        yield found


def is_ready(server: Prometheus) -> bool:
    try:
        server.value("up")
    except OSError:
        return False
    return True


@contextmanager
def running(command: list[Any], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=output, env=environment
        )
    try:
        yield
    finally:
        kill_all(process)


def until(is_so: Callable[[], object], seconds: float = 90.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    import socket

    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(head: Head, folder: Path, name: str, seconds: float) -> subprocess.Popen[bytes]:
    """`bottega run` of stand-ins on two pretended GPUs; a student's batch takes so long."""
    prompts = [f"prompt {row}" if row % (ROWS // FAILING) else "" for row in range(ROWS)]
    folder.mkdir()
    pq.write_table(pa.table({"prompt": prompts}), folder / "prompts.parquet")
    models = json.loads(json.dumps(STAND_INS["models"]))
    models["student"]["timed"]["seconds"] = {4: seconds}
    models["oracle"]["timed"]["rejected"] = 0.25
    job = {
        **STAND_INS,
        "models": models,
        "name": name,
        "input": str(folder / "prompts.parquet"),
        "output": str(folder / "out"),
        "rows_per_part": 16,
        "max_failed": 0.5,
        "pools": {"student": {"size": 1}, "teacher": {"size": 1}, "device": "gpu"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    command = [
        *(BIN / "bottega", "run", folder / "job.yaml", "--address", head.address),
        *("--metrics-port", head.job_port, "--log-format", "json"),
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, env=head.environment
        )


@dataclass(frozen=True)
class Done:
    """A job that has ended; `ended`: when."""

    log: list[dict[str, Any]]
    records: list[dict[str, Any]]
    began: float
    ended: float


@pytest.fixture(scope="module")
def done(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("jobs") / "done"
    began = time.time()
    process = start(head, folder, "done", seconds=0.2)
    code = process.wait(timeout=120)
    text = (folder / "log").read_text()
    assert code == 0, text
    ended = time.time()
    for server in head.scraped.values():
        until(lambda server=server: server.value(ENDED))
    records = list(open_output(folder / "out").records().values())
    return Done([json.loads(line) for line in text.splitlines()], records, began, ended)


def queries(server: Prometheus, at: float | None = None) -> dict[str, list[dict[Any, float]]]:
    """The answers to the targets of each panel, by its title."""
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    return {
        panel["title"]: [server.value(target["expr"], at) for target in panel["targets"]]
        for panel in panels
    }


@pytest.mark.parametrize("way", WAYS)
def test_each_metric_says_what_the_job_did(head: Head, done: Done, way: str) -> None:
    server = head.scraped[way]
    last = "last_over_time({}[10m])".format
    rows = server.value(f"sum by (job, outcome) ({last('bottega_rows_total')})")
    refined = sum(record["refined"] for record in done.records)
    assert refined
    by_outcome = {outcome: value for (_, outcome), value in rows.items() if value}
    assert by_outcome == {
        "accepted": ROWS - FAILING - refined, "refined": refined, "failed": FAILING,
    }  # fmt: skip
    assert {job for job, _ in rows} == {"done"}
    rungs = server.value(f"sum by (rung, make) ({last('bottega_rung_rows_total')})")
    assert rungs == {("draw", "1"): ROWS - FAILING, ("refine", "2"): refined}
    calls = server.value(f"sum by (stage) ({last('bottega_stage_seconds_count')})")
    assert calls["commit",] == len(done.records) == 6
    assert calls["draw",] >= (ROWS - FAILING) / 4
    spent = server.value(f"sum by (stage) ({last('bottega_stage_seconds_sum')})")
    assert spent["draw",] == pytest.approx(0.2 * calls["draw",], rel=0.2)
    held = server.value(f"sum by (pool) ({last('bottega_gpu_seconds_total')})")
    assert 0 < held["student",] < done.ended - done.began
    assert 0.2 * calls["draw",] < 2 * held["student",], "of nine tenths of a GPU"
    ready = server.value('max_over_time(bottega_pool_actors{state="ready"}[10m])')
    assert set(ready.values()) == {1.0}
    assert {pool for _, pool, _ in ready} == {"student", "oracle", "teacher"}
    assert server.value(f"max({last('bottega_job_rows')})")
    assert server.value(last('bottega_job_parts{state="done"}'))
    for metric in METRICS:
        if metric.name != "bottega_failures_total":
            (name, *_) = sorted(names_of(metric))
            assert server.value(f"present_over_time({name}[10m])"), metric.name


@pytest.mark.parametrize("way", WAYS)
def test_each_panel_shows_the_job_while_it_ran(head: Head, done: Done, way: str) -> None:
    server = head.scraped[way]
    alive = server.value("max(max_over_time(bottega_heartbeat_timestamp_seconds[10m]))")[()]
    shown = queries(server, at=alive)
    # Nothing failed on an actor, and at that time the run had not ended.
    empty = {title for title, answers in shown.items() if not all(answers)}
    assert empty <= {"Failures by kind", "Runs that ended"}
    ((_, fraction),) = shown["Rows that are done"][0].items()
    assert 0 < fraction <= 1
    mean, low, high = (answer["done",] for answer in shown["Rejected rows, with the 95 % interval"])
    assert low <= mean <= high
    wanted = shown["Actors wanted, ready, busy, waiting"][0]
    assert wanted["done", "student", "wanted"] == wanted["done", "teacher", "wanted"] == 1


def alerts(server: Prometheus, at: float) -> dict[str, set[str]]:
    """By the alert's name, the jobs for which its query answers at a time."""
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {
        rule["alert"]: {labels[0] for labels in server.value(rule["expr"], at)}
        for rule in group["rules"]
    }


@pytest.mark.parametrize("way", WAYS)
def test_the_failing_rows_of_the_job_raise_their_alert_and_no_other(
    head: Head, done: Done, way: str
) -> None:
    server = head.scraped[way]
    alive = server.value("max(max_over_time(bottega_heartbeat_timestamp_seconds[10m]))")[()]
    found = {name: jobs for name, jobs in alerts(server, alive).items() if jobs}
    assert found == {"BottegaRowsFailing": {"done"}}


def test_a_job_that_is_killed_is_lost_and_one_that_ended_is_not(
    head: Head, done: Done, tmp_path: Path
) -> None:
    process = start(head, tmp_path / "killed", "killed", seconds=2.0)
    try:
        for server in head.scraped.values():
            until(
                lambda server=server: (
                    server.value('bottega_pool_actors{job=~".*killed.*", state="ready"} == 1')
                    or process.poll() is not None
                )
            )
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    now = time.time()
    for server in head.scraped.values():
        assert alerts(server, now + 60)["BottegaJobLost"] == set()
        assert alerts(server, now + 240)["BottegaJobLost"] == {"killed"}


def test_the_log_has_a_json_object_a_line(done: Done) -> None:
    assert all(
        list(line)[:7] == ["time", "level", "logger", "message", "job", "host", "process"]
        for line in done.log
    )
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["time"]) for line in done.log)
    messages = [line["message"] for line in done.log]
    assert any(message.startswith("Ray: attached to ") for message in messages)
    assert any(message.startswith("part 5 is done: 16 rows") for message in messages)
    assert any(message.startswith("rows ") for message in messages)
    assert {name_of(line["job"]) for line in done.log} == {"done"}
    assert len({line["process"] for line in done.log}) == 1
