"""Reads a cluster's file, and has Ray's own schema judge it."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

from actors.errors import ClusterError
from cluster.launcher.checks import TOKEN_FILE, Facts
from cluster.launcher.finding import Finding, error
from cluster.launcher.node_types import Cluster, cluster_of
from jobs.spec.strict_yaml import read_mapping


def read_cluster(file: Path) -> tuple[Cluster | None, list[Finding]]:
    """The cluster of a file, or what Ray would refuse it for. Raises SpecError for no YAML."""
    import jsonschema
    from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config

    config: dict[str, Any] = read_mapping(file, what="cluster's file", example="cluster_name: mine")
    try:
        validate_config(prepare_config(fillout_defaults(dict(config))))
    except jsonschema.ValidationError as wrong:
        where = ".".join(map(str, wrong.absolute_path)) or "the file"
        return None, [error("schema", f"{where}: {wrong.message}.")]
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, OSError) as wrong:
        return None, [error("schema", f"Ray refuses it: {wrong}.")]
    return cluster_of(config), []


def facts_of_this_machine(shared: tuple[str, ...] = ()) -> Facts:
    """The token, and the versions of Ray and Python."""
    import ray

    token = Path.home() / TOKEN_FILE
    try:
        mode = stat.S_IMODE(token.stat().st_mode) if token.stat().st_size else None
    except FileNotFoundError:
        mode = None
    except OSError as wrong:
        raise ClusterError(f"cannot look at {str(token)!r}: {wrong.strerror}.") from wrong
    return Facts(
        token_mode=mode,
        ray_version=ray.__version__,
        python=sys.version_info[:2],
        shared=shared,
    )
