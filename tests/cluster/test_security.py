"""Who may enter a Ray that Bottega started, and where its token is to be found: nowhere else."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SESSION = """
import os, sys
import pyarrow as pa
import ray
from cluster.session import ray_session
from jobs.output.columns import RowResult
from jobs.output.folder import OutputFolder
from jobs.output.writer import write_part

out = OutputFolder(sys.argv[1])
with ray_session(None):
    out.path.mkdir()
    out.write_job({"name": "a job"}, replace=False)
    table = pa.table({"prompt": ["../../etc/x"], "id": ["../../etc/y"]})
    row = RowResult(1, 0.5, None, "student", 4, False, None, (0, 0), None)
    facts = {"seconds": {}}
    files = pa.array([b"PNG"])
    ray.get(ray.remote(write_part).remote(out, 0, 0, table, [row], "png", False, facts, files))
    out.finish({"README.md": "# a card"})
    node = ray._private.worker._global_node
    print("READY", node.gcs_address, os.environ["RAY_AUTH_TOKEN_PATH"], node.get_session_dir_path())
    sys.stdout.flush()
    sys.stdin.read()
"""

STRANGER = """
import sys
import ray

ray.init(address=sys.argv[1], log_to_driver=False)
print("RAN", ray.get(ray.remote(lambda: 6 * 7).remote()))
"""

ATTACHING = """
import sys
import ray
from actors.errors import ClusterError
from cluster.session import ray_session

try:
    with ray_session(sys.argv[1]):
        print("RAN", ray.get(ray.remote(lambda: 6 * 7).remote()))
except ClusterError as error:
    print(f"REFUSED {error}")
"""


@dataclass(frozen=True)
class Session:
    """A Ray that runs in another process, as `bottega run` starts it."""

    process: subprocess.Popen[str]
    address: str
    token_file: Path
    folder: Path
    output: Path

    @property
    def token(self) -> str:
        """What nobody else may see."""
        return self.token_file.read_text()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    output = tmp_path_factory.mktemp("security") / "deep" / "down" / "out"
    output.parent.mkdir(parents=True)
    with subprocess.Popen(
        # As the command does, it leaves the current folder off its own path (-P).
        [sys.executable, "-P", "-c", SESSION, str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_folder_of_a_stranger(output.parent),
        env=_environment(output.parent),
    ) as process:
        assert process.stdout is not None
        ready = next((text for text in process.stdout if text.startswith("READY")), "")
        assert ready, "the session did not start"
        _, address, token_file, folder = ready.split()
        yield Session(process, address, Path(token_file), Path(folder), output)


def _folder_of_a_stranger(place: Path) -> Path:
    """It has files under the names of modules that the driver and the workers import."""
    folder = place / "downloads"
    folder.mkdir()
    for name in ("PIL", "actors", "jobs", "pyarrow", "numpy"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'RAN')!r}, 'a').write({name!r})\n")
    return folder


Clients = dict[str, subprocess.CompletedProcess[str]]


def _environment(home: Path, **variables: str) -> dict[str, str]:
    """Without any token of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **variables}


@pytest.fixture(scope="module")
def clients(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """Every client's end, by name. They run at once: most of their time goes into waiting."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text(session.token)
    nobody = tmp_path_factory.mktemp("nobody")
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(session.token_file)}
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    scripts: dict[str, tuple[str, Path, dict[str, str]]] = {
        "with the token": (STRANGER, nobody, own),
        "without a token": (STRANGER, nobody, {}),
        "with a wrong token": (STRANGER, nobody, wrong),
        "attaching without a token": (ATTACHING, nobody, {}),
        "attaching with a wrong token": (ATTACHING, nobody, {"RAY_AUTH_TOKEN": "wrong" * 12}),
        "attaching with a file": (ATTACHING, home, {}),
    }
    with ThreadPoolExecutor(len(scripts)) as at_once:
        running = {
            name: at_once.submit(_run, script, session, where, **variables)
            for name, (script, where, variables) in scripts.items()
        }
    return {name: client.result() for name, client in running.items()}


def _run(
    script: str, session: Session, home: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    # A client must look for it on loopback and not on the machine's address, and not for long.
    here = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    return subprocess.run(
        [sys.executable, "-c", script, session.address],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=ROOT,
        env=_environment(home, **here, **variables),
    )


def test_with_the_token_work_is_taken(clients: Clients) -> None:
    """The other tests would mean nothing if this one did not pass."""
    end = clients["with the token"]
    assert "RAN 42" in end.stdout, end.stderr


@pytest.mark.parametrize("name", ["without a token", "with a wrong token"])
def test_without_the_token_no_work_is_taken(name: str, clients: Clients) -> None:
    end = clients[name]
    assert end.returncode != 0
    assert "RAN" not in end.stdout
    assert "Unauthenticated" in end.stderr


def test_attaching_without_a_token_is_refused_in_a_sentence(
    session: Session, clients: Clients
) -> None:
    end = clients["attaching without a token"]
    assert f"REFUSED the Ray at '{session.address}' asks for a token" in end.stdout, end.stderr
    assert "~/.ray/auth_token" in end.stdout
    assert "Traceback" not in end.stdout + end.stderr


def test_attaching_with_a_wrong_token_is_refused_without_showing_it(clients: Clients) -> None:
    end = clients["attaching with a wrong token"]
    assert "REFUSED" in end.stdout
    assert "does not take the token" in end.stdout
    assert "wrongwrong" not in end.stdout + end.stderr
    assert "Traceback" not in end.stdout + end.stderr


def test_attaching_takes_the_users_token_from_its_usual_file(clients: Clients) -> None:
    end = clients["attaching with a file"]
    assert "RAN 42" in end.stdout, end.stdout + end.stderr


def test_the_token_is_long_and_for_its_owner_only(session: Session) -> None:
    assert re.fullmatch("[0-9a-f]{64}", session.token)
    assert stat.S_IMODE(session.token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(session.token_file.parent.stat().st_mode) == 0o700


def test_the_token_is_in_no_log_and_on_no_command_line(session: Session) -> None:
    token = session.token.encode()
    logs = [file for file in session.folder.rglob("*") if file.is_file()]
    assert logs
    assert [file for file in logs if token in file.read_bytes()] == []
    assert [line for line in _command_lines() if token in line] == []
    assert any(session.address.encode() in line for line in _command_lines())


def test_the_token_is_not_in_the_output(session: Session) -> None:
    files = [file for file in session.output.rglob("*") if file.is_file()]
    assert {"job.json", "README.md", "part-00000000.parquet", "part-00000000.json"} <= {
        file.name for file in files
    }
    assert [file for file in files if session.token.encode() in file.read_bytes()] == []


def test_every_port_is_on_the_loopback_interface(session: Session) -> None:
    ports = _listening(_processes_of(session))
    assert len(ports) >= 5
    assert [address for address in ports if not address.startswith("127.")] == []


def test_a_file_where_the_command_starts_does_not_run(session: Session) -> None:
    """Neither in the driver nor in the worker that wrote the part."""
    folder = session.output.parent / "downloads"
    assert (folder / "PIL.py").exists()
    assert not (folder / "RAN").exists()


def test_only_its_user_enters_rays_folder(session: Session) -> None:
    private = session.token_file.parent
    assert private in session.folder.parents
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert list(session.folder.glob("sockets/*"))


def test_at_the_end_the_token_is_gone(tmp_path: Path) -> None:
    script = (
        "import os\nfrom cluster.private_folder import private_folder\n"
        "from cluster.token import own_token\n"
        "with private_folder() as folder, own_token(folder):\n"
        "    print(os.environ['RAY_AUTH_TOKEN_PATH'])\n"
        "assert os.environ['RAY_AUTH_TOKEN'] == 'mine' and 'RAY_AUTH_TOKEN_PATH' not in os.environ"
    )
    end = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=200,
        env=_environment(tmp_path, RAY_AUTH_TOKEN="mine"),
    )  # fmt: skip
    assert not Path(end.stdout.strip()).parent.exists()


def _command_lines() -> list[bytes]:
    return [_read(process / "cmdline") for process in Path("/proc").glob("[0-9]*")]


def _processes_of(session: Session) -> list[Path]:
    """The session's own process, and all that it started."""
    ours = {session.process.pid}
    found: list[Path] = []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        status = re.search(rb"PPid:\s+(\d+)", _read(process / "status"))
        if int(process.name) in ours or (status and int(status[1]) in ours):
            ours.add(int(process.name))
            found.append(process)
    return found


def _listening(processes: list[Path]) -> list[str]:
    """The addresses that these processes listen on, from /proc."""
    sockets = {
        os.readlink(file)
        for process in processes
        for file in (process / "fd").iterdir()
        if file.is_symlink()
    }
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return [
        _address(local.split(":")[0])
        for _, local, _, state, *_, in_use in [(*row[:4], row[9]) for row in rows]
        if state == "0A" and f"socket:[{in_use}]" in sockets
    ]


def _address(hexadecimal: str) -> str:
    """IPv4, also as IPv6 carries it; the kernel writes it in the machine's order of bytes."""
    if len(hexadecimal) == 32 and not hexadecimal.startswith("0000000000000000FFFF0000"):
        return hexadecimal
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(hexadecimal[-8:])))


def _read(file: Path) -> bytes:
    """Empty for a process that has just ended."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
