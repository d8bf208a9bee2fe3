"""Ray: start one on this machine, or attach to one that runs.

Which one follows Ray's own convention: the address that is given, then RAY_ADDRESS, which Ray also
sets in whatever `ray job submit` starts; without both, one starts here.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from actors.errors import ClusterError
from jobs import Resources

ADDRESS = "RAY_ADDRESS"
LOCAL = "local"
"""The address of a Ray that is to be started on this machine, as in `ray.init`."""

IDLE_WORKER_SECONDS = 60.0
"""A process that encodes and writes files stays for the next file for so long. Ray's own limit is
one second as soon as all cores are promised, as they are to our actors where there is no GPU, and
then nearly each file had a new process. Measured on two cores, with stand-ins and two drivers of 8
parts: 105 core-seconds in all, and 46 with this. Chosen: longer than a batch of a large model takes
on a CPU."""

LEAST_OPEN_FILES = 256
"""Measured on two cores: with 64 Ray waits for ever, with 128 it starts with six actors."""


@contextmanager
def ray_session(
    address: str | None = None, report: Callable[[str], None] | None = None, **pretend: Any
) -> Iterator[Resources]:
    """Attach to the Ray at `address` (or `auto`), or start one here and stop it at the end.

    address: None for RAY_ADDRESS, or for `local` without it; `local` starts one in any case. A Ray
    that starts here has a token of its own and listens on the loopback interface only. report:
    called with a line that says where the Ray is, and what it has. pretend: `num_cpus`, `num_gpus`,
    `object_store_memory` of this machine, where benchmarks and tests give Ray other numbers than
    the real ones; then one starts here. Raises ClusterError.
    """
    # Only the environment reaches the workers, and Ray reads it when it is imported.
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # A failed call is in our log once, in a sentence. Ray would print its traceback for each of its
    # outputs that nobody fetches.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    address = LOCAL if pretend else address or os.environ.get(ADDRESS) or LOCAL
    with _started(pretend) if address == LOCAL else _attached(address):
        have = Resources.of_ray()
        if report:
            report(f"Ray: {_where(address)}, {_devices(have)}")
        yield have


def is_attached(address: str | None) -> bool:
    """Whether `ray_session` attaches to a Ray that runs already, and does not start one here."""
    return (address or os.environ.get(ADDRESS) or LOCAL) != LOCAL


def _where(address: str) -> str:
    import ray

    if address == LOCAL:
        return "started here"
    return f"attached to {ray.get_runtime_context().gcs_address}"


def _devices(have: Resources) -> str:
    """GPUs, or cores where there are none; and how many of them are free, if not all."""
    import ray

    from cluster.warm_pools import warm_actors

    name, what, number = ("GPU", "GPU", have.gpus) if have.gpus else ("CPU", "core", have.cpus)
    # Ray leaves out what is used up.
    free = ray.available_resources().get(name, 0.0)
    warm = 0.0
    if free < number:
        with suppress(ClusterError):
            warm = sum(each["gpus" if have.gpus else "cpus"] for each in warm_actors())
    with_warm = f", {warm:g} with warm actors, which give way" if warm else ""
    some = f" ({free:g} free{with_warm})" if free < number else ""
    return f"{number:g} {what}{'' if number == 1 else 's'}{some}"


@contextmanager
def _started(pretend: Mapping[str, Any]) -> Iterator[None]:
    import ray

    from cluster.private_folder import private_folder
    from cluster.ray_watcher import watched
    from cluster.token import own_token

    _check_open_files()
    with private_folder() as folder, watched(folder), own_token(folder), _on_loopback():
        try:
            with _our_signals():
                ray.init(
                    address="local",
                    job_config=_without_this_folder(),
                    # Ray lets everybody write into its own; nobody gets through the one above.
                    _temp_dir=str(folder / "ray"),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    _system_config={
                        "idle_worker_killing_time_threshold_ms": int(1000 * IDLE_WORKER_SECONDS)
                    },
                    **pretend,
                )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"Ray does not start on this machine: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()


def _check_open_files() -> None:
    """Raise ClusterError where Ray would wait for its own processes, which may open no files."""
    # Ray raises the soft limit itself.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < LEAST_OPEN_FILES:
        raise ClusterError(
            f"a process may have {hard} open files here, and a Ray that starts on this machine "
            f"needs {LEAST_OPEN_FILES} at the least; Ray recommends 8192. Raise the limit "
            "(`ulimit -n 8192`, or LimitNOFILE= of a service), or attach to a Ray that runs with "
            "--address."
        )


@contextmanager
def _attached(address: str) -> Iterator[None]:
    import ray
    from ray._private.services import canonicalize_bootstrap_address
    from ray.exceptions import RpcError

    from cluster.reachable import check_reachable
    from cluster.token import users_token

    if "://" in address:
        raise ClusterError(
            f"{address!r} is no address of a Ray to attach to: that is the head's, host:port, of "
            f"which the port is 6379 unless it was set. Give it with --address or in {ADDRESS}; "
            "`--address local` starts a Ray here."
        )
    with ExitStack() as stack:
        try:
            check_reachable(canonicalize_bootstrap_address(address) or address)
            stack.enter_context(users_token(address))
            with _our_signals():
                ray.init(
                    address=address,
                    job_config=_without_this_folder(),
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
        except (ConnectionError, RuntimeError, ValueError, RpcError) as error:
            raise ClusterError(
                f"no Ray at {address!r}: {str(error).rstrip('.')}. Is the address right, and does "
                "the cluster run? `--address local` starts one here."
            ) from error
        stack.callback(ray.shutdown)
        yield


def _without_this_folder() -> Any:
    """A JobConfig whose workers do not look for modules in the folder that the command starts in.

    Ray puts that folder first on their path, so that a file `PIL.py` in it would run in each of
    them. It has no switch for this; it extends a list, and this one stays as it is.
    """
    from ray.job_config import JobConfig

    class Fixed(list[str]):
        def extend(self, _folders: Iterable[str]) -> None:
            pass

    config = JobConfig()
    config._py_driver_sys_path = Fixed()
    return config


@contextmanager
def _our_signals() -> Iterator[None]:
    """Keep our handlers while Ray starts, and Ray's processes alive when the terminal closes.

    Ray sets two handlers of SIGTERM of its own, which end the process with the codes 15 and 1; a
    process that has none gets them. Its processes are in our group, so a hangup of the terminal
    would end them before we have stopped the job: they start with it ignored, and end with us.
    """
    from ray._private import utils

    theirs = utils.set_sigterm_handler
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
        utils.set_sigterm_handler = lambda _handler: None
    here = threading.current_thread() is threading.main_thread()
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN) if here else None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
        if here:
            signal.signal(signal.SIGHUP, hangup)
            # Ray's C++ has taken the signal, and would abort the process three seconds after it.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Bind Ray's ports to 127.0.0.1, where Ray on Linux would listen on every interface.

    Ray does so itself on macOS and Windows. Its switch is RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, which
    Ray reads when it is imported; by now it has been, so its constant is set instead.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
