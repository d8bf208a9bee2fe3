"""Which Ray a session takes; cluster tests start and attach to real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from actors.errors import ClusterError
from cluster import session
from cluster.session import ray_session
from jobs import Resources


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the sessions: `local` for a Ray that starts here."""
    taken: list[str] = []

    @contextmanager
    def take(address: object) -> Iterator[None]:
        taken.append(address if isinstance(address, str) else "local")
        yield

    monkeypatch.setattr(session, "_started", take)
    monkeypatch.setattr(session, "_attached", take)
    monkeypatch.setattr(Resources, "of_ray", lambda: Resources(cpus=64.0, gpus=8.0))
    monkeypatch.setattr("ray.available_resources", lambda: {"GPU": 6.0, "CPU": 60.0})
    context = SimpleNamespace(gcs_address="10.0.0.1:6379")
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return taken


@pytest.mark.parametrize(
    ("address", "variable", "expected"),
    [
        (None, None, "local"),
        (None, "", "local"),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        (None, "local", "local"),
        ("local", "10.0.0.1:6379", "local"),
        ("auto", "10.0.0.1:6379", "auto"),
        ("10.0.0.2:6379", "10.0.0.1:6379", "10.0.0.2:6379"),
    ],
)
def test_the_address_that_is_given_counts_then_the_environments(
    address: str | None,
    variable: str | None,
    expected: str,
    taken: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    with ray_session(address):
        assert taken == [expected]


def test_with_pretended_resources_one_starts_here(
    taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with ray_session(None, num_cpus=4):
        assert taken == ["local"]


def test_a_line_says_where_and_what_is_free(
    taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("cluster.warm_pools.warm_actors", list)
    for address in ("10.0.0.1:6379", None):
        with ray_session(address, lines.append):
            pass
    one = {"gpus": 0.9, "cpus": 1.0}
    monkeypatch.setattr("cluster.warm_pools.warm_actors", lambda: [one, {**one, "gpus": 0.1}])
    with ray_session("10.0.0.1:6379", lines.append):
        pass
    monkeypatch.setattr(Resources, "of_ray", lambda: Resources(cpus=2.0, gpus=0.0))
    with ray_session(None, lines.append):
        pass
    assert lines == [
        "Ray: attached to 10.0.0.1:6379, 8 GPUs (6 free)",
        "Ray: started here, 8 GPUs (6 free)",
        "Ray: attached to 10.0.0.1:6379, 8 GPUs (6 free, 1 with warm actors, which give way)",
        "Ray: started here, 2 cores",
    ]


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://10.0.0.1:10001"])
def test_the_address_of_a_dashboard_or_a_client_is_refused_with_the_right_one(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(ClusterError, match=r"no address of a Ray to attach to.*host:port"),
        ray_session(),
    ):
        pass


def test_too_few_open_files_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 64))
    with pytest.raises(ClusterError, match=r"may have 64 open files here.*ulimit -n 8192"):
        session._check_open_files()
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 1 << 20))
    session._check_open_files()
