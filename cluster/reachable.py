"""Whether a Ray answers at an address, in seconds.

Ray's own client tries for most of a minute, and writes warnings of its C++.
"""

from __future__ import annotations

import os
import socket

from actors.errors import ClusterError

ANSWER_SECONDS = 5.0
"""Chosen: a head on another continent that is busy answers within one."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What a client of gRPC says first: HTTP/2, and settings without any (RFC 9113, 3.4 and 6.5)."""

_SETTINGS = 4
"""The type of the frame that a server answers with; it is the fourth byte."""


def check_reachable(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Raises ClusterError unless something at host:port speaks as the head of a Ray does."""
    host, _, port = address.rpartition(":")
    where = f"no Ray at {address!r}"
    here = "`--address local` starts one here."
    if not port.isdecimal() or not host:
        raise ClusterError(
            f"{where}: an address is host:port, of which the port is 6379 unless it was set. {here}"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), seconds) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return  # It speaks after a handshake, which is Ray's own.
            connection.settimeout(seconds)
            connection.sendall(_PREFACE)
            answer = connection.recv(4)
    except socket.gaierror as error:
        raise ClusterError(f"{where}: no machine is called {host!r}. Correct it. {here}") from error
    except (TimeoutError, OverflowError) as error:
        raise ClusterError(
            f"{where}: nothing answers there for {seconds:g} s. Is the address right, and can it "
            f"be reached from here? {here}"
        ) from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ClusterError(
            f"{where}: {why}. Is the address right, and does the cluster run? {here}"
        ) from error
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise ClusterError(
            f"{where}: what answers there is no Ray. The head's port is 6379 unless it was set; "
            f"8265 is its dashboard's, which `bottega submit` takes. {here}"
        )
