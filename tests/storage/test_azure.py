"""Against Azurite, which checks signatures. What it does as Azure does is Microsoft's word."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from actors.errors import StorageError
from jobs.storage import object_store as room
from jobs.storage.object_store import ObjectStorage
from jobs.storage.storage import Storage
from jobs.storage.storage_at import storage_at
from tests.servers.azure import AzureServer, azure_server
from tests.storage.contract import StorageContract


@pytest.fixture(scope="module")
def azure() -> Iterator[AzureServer]:
    """An Azurite that answers."""
    with azure_server() as server:
        yield server


@pytest.fixture
def in_azure(azure: AzureServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a new container there, with the credentials in the environment of this test."""
    room._store_at.cache_clear()  # obstore's stores read the environment once
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    container = f"test-{uuid4().hex[:12]}"
    azure.create_container(container)
    yield f"az://{container}"
    room._store_at.cache_clear()


class TestAzurite(StorageContract):
    @pytest.fixture
    def storage(self, in_azure: str) -> Storage:
        return storage_at(f"{in_azure}/some folder")


def test_refusals_are_sentences(in_azure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(url: str) -> set[str]:
        room._store_at.cache_clear()
        storage, texts = ObjectStorage(url), []
        for do in (
            lambda: storage.put("f", b"1"),
            lambda: storage.get("f"),
            storage.entries,
            lambda: storage.put_new("f", b"1"),
        ):
            with pytest.raises(StorageError) as caught:
                do()
            texts.append(str(caught.value))
            assert "<" not in texts[-1]
        return {text.partition(" ")[2] for text in texts}

    (text,) = said("az://no-such-container/x")
    assert text.startswith("is in a bucket that does not exist (ContainerNotFound).")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "V1JPTkdLRVk=")
    (text,) = said(in_azure)
    # Azure itself says AuthenticationFailed here, which is "does not accept the credentials".
    assert text.startswith("may not be used with these credentials (AuthorizationFailure)")


def test_a_foreign_change_is_seen_while_a_file_is_read(in_azure: str) -> None:
    storage = ObjectStorage(in_azure)
    storage.put("f", b"one")
    (entry,) = storage.entries()
    storage.put("f", b"two")
    with (
        storage.open(entry) as file,
        pytest.raises(StorageError, match=r"changed while it was read"),
    ):
        file.read()
