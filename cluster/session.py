"""Ray: start one on this machine, or attach to one that runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from actors.errors import ClusterError
from jobs import Resources


@contextmanager
def ray_session(address: str | None = None, **pretend: Any) -> Iterator[Resources]:
    """Attach to the Ray at `address` (or `auto`), or start one here and stop it at the end.

    A Ray that starts here has a token of its own and listens on the loopback interface only.
    `pretend`: `num_cpus`, `num_gpus`, `object_store_memory` of this machine, where benchmarks and
    tests give Ray other numbers than the real ones. Raises ClusterError.
    """
    # Only the environment reaches the workers, and Ray reads it when it is imported.
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with _attached(address) if address else _started(pretend):
        yield Resources.of_ray()


@contextmanager
def _started(pretend: Mapping[str, Any]) -> Iterator[None]:
    import ray

    from cluster.token import own_token

    with own_token(), _on_loopback():
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                **pretend,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"Ray does not start on this machine: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _attached(address: str) -> Iterator[None]:
    import ray
    from ray.exceptions import RpcError

    from cluster.token import users_token

    with ExitStack() as stack:
        try:
            stack.enter_context(users_token(address))
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError, RpcError) as error:
            raise ClusterError(
                f"no Ray at {address!r}: {str(error).rstrip('.')}. Is the address right, and does "
                "the cluster run? Without --address one starts here."
            ) from error
        stack.callback(ray.shutdown)
        yield


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
