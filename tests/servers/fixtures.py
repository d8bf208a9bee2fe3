"""The fixtures of the real servers; a conftest.py that needs one imports it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.servers.object_store import ObjectStoreServer, object_store_of_session


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> ObjectStoreServer:
    """A radosgw that answers."""
    shared = tmp_path_factory.getbasetemp()
    return object_store_of_session(shared if worker_id == "master" else shared.parent)


@pytest.fixture
def in_object_store(object_store: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket there, with the credentials in the environment of this test."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"test-{uuid4().hex[:12]}"
    object_store.client().create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
    return f"s3://{bucket}"
