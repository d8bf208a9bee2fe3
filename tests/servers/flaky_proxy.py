"""A proxy before an object store that answers 503 to one request in ten, and can be away.

Of the requests that it answers so, every second one was carried out before: the client is told that
a put failed, and the object is there.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import urlsplit

EACH = 10


class FlakyProxy(ThreadingHTTPServer):
    """`is_away`: it closes every connection without an answer. `delay_seconds`: of every answer."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(endpoint).netloc
        self.is_away, self.delay_seconds = False, 0.0
        self.failed = 0
        """Requests that were answered with 503."""
        self._numbers, self._lock = itertools.count(1), Lock()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self) -> str:
        """What happens to the next request: "", "refused", "carried out"."""
        with self._lock:
            number = next(self._numbers)
            if number % EACH:
                return ""
            self.failed += 1
            return "carried out" if number % (2 * EACH) else "refused"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed leave broken connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlakyProxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.is_away:
            self.close_connection = True
            return
        # Not as synchronisation: a server that is slow.
        time.sleep(self.server.delay_seconds)
        fault = self.server.next_fault()
        if fault == "refused":
            self._answer(503, {}, b"")
            return
        target = HTTPConnection(self.server.target, timeout=60)
        try:
            # With the Host that the client has signed.
            target.request(self.command, self.path, body, dict(self.headers))
            answer = target.getresponse()
            content = answer.read()
        finally:
            target.close()
        if fault:
            self._answer(503, {}, b"")
        else:
            self._answer(answer.status, dict(answer.getheaders()), content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        # A HEAD's length is that of the object, and it has no body.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def flaky_proxy(endpoint: str) -> Iterator[FlakyProxy]:
    """The proxy, while the block runs."""
    with FlakyProxy(endpoint) as proxy:
        serving = Thread(target=proxy.serve_forever, daemon=True)
        serving.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            serving.join()
