"""Whole jobs from an object store to one: a real Ray, a real radosgw, real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.output.folder import OutputFolder
from jobs.resolution import resolve
from jobs.spec.job_spec import load_spec
from jobs.storage.object_store import ObjectStorage
from jobs.storage.storage_at import storage_at
from tests.cluster.conftest import CAPTIONS, FAST
from tests.cluster.head import Head, environment_of, head_in
from tests.cluster.test_output import with_failures
from tests.servers.fixtures import object_store
from tests.servers.flaky_proxy import FlakyProxy, flaky_proxy
from tests.servers.object_store import ObjectStoreServer
from tests.stand_ins import STAND_INS

__all__ = ["object_store"]

BOTTEGA = str(Path(sys.executable).parent / "bottega")
ROWS = 22
AWAY_SECONDS = 6.0
"""Less than a call is tried again by itself; tests/storage has the rest."""


@pytest.fixture(scope="module")
def proxy(object_store: ObjectStoreServer) -> Iterator[FlakyProxy]:
    """All requests of this file go through it: one in ten is answered with 503."""
    with flaky_proxy(object_store.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bucket(object_store: ObjectStoreServer, proxy: FlakyProxy) -> Iterator[str]:
    """A new bucket's URL; the credentials are in the environment of this process."""
    name = f"jobs-{uuid4().hex[:12]}"
    client: Any = object_store.client()
    client.create_bucket(Bucket=name)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in object_store.environment.items():
            patch.setenv(variable, value)
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield f"s3://{name}"


@pytest.fixture(scope="module")
def head(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray whose workers have the credentials in their environment, as a cluster's nodes do."""
    with head_in(tmp_path_factory.mktemp("home")) as head:
        yield head


Bottega = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def bottega(head: Head, tmp_path: Path) -> Bottega:
    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BOTTEGA, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
            env={**environment_of(head.home), "COLUMNS": "160"}, start_new_session=True,
        )  # fmt: skip

    return start


def ended(process: subprocess.Popen[str]) -> str:
    """The output of a command that has to end well."""
    text, _ = process.communicate(timeout=280)
    assert process.returncode == 0, text
    return text


def put_prompts(url: str, first: int, rows: int) -> None:
    table = pa.table(
        {
            "id": [f"row-{n}" for n in range(first, first + rows)],
            "prompt": [CAPTIONS[n % len(CAPTIONS)] for n in range(first, first + rows)],
        }
    )
    buffer = BytesIO()
    pq.write_table(table, buffer)
    folder, _, name = url.rpartition("/")
    storage_at(folder).put(name, buffer.getvalue())


def job_file(folder: Path, **fields: Any) -> Path:
    file = folder / "job.yaml"
    job = {**FAST, **STAND_INS, "id_column": "id", "save_student": True, "rows_per_part": 4}
    file.write_text(yaml.safe_dump({**job, **fields}))
    return file


def parts_of(place: str) -> dict[str, str]:
    """The parts at a path or URL, by content."""
    storage = storage_at(place)
    return {
        entry.path: sha256(storage.get(entry.path)).hexdigest() for entry in storage.entries("data")
    }


def wait_for_parts(url: str, count: int, process: subprocess.Popen[str]) -> None:
    storage = ObjectStorage(url)
    while len(storage.entries("records")) < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


@pytest.mark.timeout(900)  # a minute alone, and ten starts of a process under load
def test_a_job_on_an_object_store_is_the_job_in_a_folder_whatever_dies(
    bottega: Bottega,
    head: Head,
    bucket: str,
    object_store: ObjectStoreServer,
    proxy: FlakyProxy,
    tmp_path: Path,
) -> None:
    put_prompts(f"{bucket}/in/part-0.parquet", 0, ROWS)
    source, out = f"{bucket}/in/*.parquet", f"{bucket}/out/first"
    file = job_file(tmp_path, input=source, output=out)
    run = ("run", file, "--address", head.ray_address)

    killed = bottega(*run)
    wait_for_parts(out, 1, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    logs = [killed.communicate()[0]]
    there = parts_of(out)
    assert 1 <= len(there) < 6, "it was killed too late"

    # Two drivers at once, of which neither may spoil what the other does.
    both = [bottega(*run), bottega(*run)]
    wait_for_parts(out, len(there) + 1, both[0])
    proxy.is_away = True
    Timer(AWAY_SECONDS, lambda: setattr(proxy, "is_away", False)).start()
    logs += [ended(process) for process in both]
    assert proxy.failed > 10
    whole = parts_of(out)
    assert list(whole) == [f"data/00000/part-{n:08d}.parquet" for n in range(6)]
    assert {name: whole[name] for name in there} == there

    logs.append(ended(bottega("run", file, "--output", tmp_path / "out", *run[2:])))
    assert parts_of(str(tmp_path / "out")) == whole

    logs.append(ended(bottega("verify", out)))
    assert "all is well: 22 rows" in logs[-1]
    logs.append(ended(bottega("sheet", out)))
    assert storage_at(out).get("sheet.png").startswith(b"\x89PNG")
    with_failures(resolve(load_spec(file)), OutputFolder(out), index=1, failed={1, 3})
    assert parts_of(out) != whole
    logs.append(ended(bottega("retry", out, "--address", head.ray_address)))
    assert "2 rows had failed, 0 still do" in logs[-1]
    assert parts_of(out) == whole
    logs.append(ended(bottega("plan", file, "--measured", out, "--gpus", "8")))
    assert f"the records of {out}" in " ".join(logs[-1].split())
    logs.append(ended(bottega("status", out)))
    assert "succeeded" in logs[-1]

    put_prompts(f"{bucket}/in/part-1.parquet", ROWS, 4)
    refused = bottega(*run)
    assert "add --extend" in refused.communicate()[0]
    assert refused.returncode == 2
    logs.append(ended(bottega(*run, "--extend")))
    grown = parts_of(out)
    assert len(grown) == 7
    assert {name: grown[name] for name in list(whole)[:5]} == dict(list(whole.items())[:5])
    logs.append(ended(bottega("verify", out)))

    storage = ObjectStorage(out)
    names = {entry.path for entry in storage.entries()}
    assert {"job.json", "_SUCCESS", "report.html", "README.md", "timeline.jsonl"} <= names
    assert "records/00000/index.json" in names
    assert not [name for name in names if name.startswith(".drivers")], "a driver left its beat"
    written = b"".join(storage.get(name) for name in names)
    for secret in (object_store.secret, object_store.key):
        assert secret.encode() not in written
        assert not [text for text in logs if secret in text]


def test_refusals_are_sentences_without_a_traceback(
    bottega: Bottega, head: Head, bucket: str, tmp_path: Path
) -> None:
    put_prompts(f"{bucket}/some/prompts.parquet", 0, 4)

    def refused(**fields: Any) -> str:
        process = bottega("run", job_file(tmp_path, **fields), "--address", head.ray_address)
        text = process.communicate(timeout=120)[0]
        assert process.returncode == 2, text
        assert "Traceback" not in text
        return " ".join(text.split())

    source = f"{bucket}/some/prompts.parquet"
    assert "does not exist" in refused(input=f"{bucket}/none", output=f"{bucket}/o")
    assert "is in a bucket that does not exist" in refused(input=source, output="s3://no-such/o")
    assert "is in a bucket that does not exist" in refused(input="s3://no-such/i", output="o")
    assert "takes finished datasets only" in refused(input=source, output="hf://datasets/a/b")
    assert "lie one inside the other" in refused(input=f"{bucket}/some", output=f"{bucket}/some/o")
    said = refused(input=source, output=f"{bucket}/some")
    assert "not empty and has no job.json" in said or "lie one inside" in said
    text = refused(input=source, output=f"s3://KEY:TOPSECRET@{bucket[5:]}/o")
    assert "key" in text
    assert "TOPSECRET" not in text
