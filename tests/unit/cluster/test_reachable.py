"""A wrong address of a Ray is a sentence within seconds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from actors.errors import ClusterError
from cluster.reachable import check_reachable


@contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """Answers the first connection with these bytes; with None it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(ConnectionError):
                connection.recv(33)  # all that is sent: what is left unread would be a reset
                if answer is None:
                    connection.recv(64)
                elif answer:
                    connection.sendall(answer)
                    connection.recv(64)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def refusal(address: str) -> str:
    with pytest.raises(ClusterError) as caught:
        check_reachable(address, seconds=0.2)
    assert "`--address local` starts one here." in str(caught.value)
    return str(caught.value)


def test_what_speaks_grpc_may_be_a_ray() -> None:
    with server(b"\0\0\6\4\0\0\0\0\0") as address:
        check_reachable(address)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"", b"-ERR"])
def test_what_speaks_something_else_is_none(answer: bytes) -> None:
    """As the dashboard's port, or that of a Redis."""
    with server(answer) as address:
        assert "what answers there is no Ray" in refusal(address)


def test_what_says_nothing_is_none() -> None:
    with server(None) as address:
        assert "nothing answers there for 0.2 s" in refusal(address)


def test_what_is_not_there_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    assert "connection refused" in refusal(address)
    assert "no machine is called" in refusal("nobody.invalid:6379")
    for wrong in ("head", "head:port", ":6379"):
        assert "an address is host:port" in refusal(wrong)
