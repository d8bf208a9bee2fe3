"""A stand-in for the Hugging Face hub's API, on loopback: datasets that are made and filled.

It speaks what `huggingface_hub` asks for to make a repository, list its files, upload large files
(Git LFS, basic transfer) and commit. It knows no rights, no Xet and no limits of the real hub.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandInHub:
    """`repositories`: by name, the files of each. `uploaded`: large files by hash. `commits`:
    messages. `private`: what was asked for. `fail_after`: uploads until each one answers 500."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    num_uploads: int = 0
    fail_after: float = float("inf")
    denies: bool = False


def _handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, content: Any, status: int = 200, **headers: str) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def missing(self) -> None:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

        def do_GET(self) -> None:
            found = re.fullmatch(r"/api/datasets/([^/]+/[^/?]+)(/tree/main)?.*", self.path)
            if not found or found[1] not in hub.repositories:
                return self.missing()
            if not found[2]:
                return self.answer({"id": found[1], "sha": "0" * 40, "siblings": []})
            files = hub.repositories[found[1]]
            return self.answer([_listed(path, files[path]) for path in sorted(files)])

        def do_POST(self) -> None:
            body = self.body()
            if hub.denies and not self.path.startswith("/api/validate"):
                return self.answer({"error": "no rights"}, 403)
            if self.path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            if self.path == "/api/repos/create":
                wanted = json.loads(body)
                name = f"{wanted['organization']}/{wanted['name']}"
                if name in hub.repositories:
                    return self.answer({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
                hub.repositories[name] = {}
                hub.private[name] = wanted.get("private", wanted.get("visibility") == "private")
                return self.answer({"url": f"{hub.url}/datasets/{name}"})
            if found := re.fullmatch(r"/api/datasets/(.+)/preupload/main.*", self.path):
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                return self.answer({"files": files})
            if self.path.endswith("/info/lfs/objects/batch"):
                wanted = json.loads(body)["objects"]
                return self.answer({"transfer": "basic", "objects": [*map(self.lfs, wanted)]})
            if found := re.fullmatch(r"/api/datasets/(.+)/commit/main.*", self.path):
                return self.commit(found[1], [json.loads(line) for line in body.splitlines()])
            return self.missing()

        def lfs(self, wanted: dict[str, Any]) -> dict[str, Any]:
            if wanted["oid"] in hub.uploaded:
                return wanted
            href = f"{hub.url}/upload/{wanted['oid']}"
            return {**wanted, "actions": {"upload": {"href": href}}}

        def do_PUT(self) -> None:
            content = self.body()
            if hub.num_uploads >= hub.fail_after:
                return self.answer({"error": "out of order"}, 400)
            hub.num_uploads += 1
            oid = self.path.rpartition("/")[2]
            assert sha256(content).hexdigest() == oid
            hub.uploaded[oid] = content
            return self.answer({})

        def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
            files = hub.repositories[name]
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    hub.commits.append(value["summary"])
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.uploaded[value["oid"]]
            url = f"{hub.url}/datasets/{name}/commit/1"
            self.answer({"success": True, "commitOid": "1" * 40, "commitUrl": url})

    return Handler


def _listed(path: str, content: bytes) -> dict[str, Any]:
    size = len(content)
    oid = sha1(b"blob %d\0" % size + content, usedforsecurity=False).hexdigest()  # as Git does
    lfs = {"oid": sha256(content).hexdigest(), "size": size, "pointerSize": 134}
    large = {"lfs": lfs} if path.endswith(".parquet") else {}
    return {"type": "file", "oid": oid, "size": size, "path": path, **large}


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    """The hub, at a free port; it ends with the block."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
