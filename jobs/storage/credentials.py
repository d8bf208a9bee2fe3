"""How to reach an object store: endpoint, certificates and credentials, from the environment.

obstore reads the usual variables and roles of each cloud by itself; this adds what it leaves out:
AWS's profiles and single sign-on (by boto3, where that is installed), an endpoint's scheme, a CA
bundle. Everything here is read in the process that uses it, and is neither kept nor passed on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.errors import StorageError
from jobs.storage.urls import HUB, scheme_of

HUB_ENDPOINT = "https://s3.hf.co"
"""Of Hugging Face's buckets; the organisation is the first step of the path."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The arguments for obstore: the URL in its words, options, and who gives the credentials."""

    url: str
    config: dict[str, str] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    use_boto3: bool = False


def connection_of(
    url: str, environment: Mapping[str, str] = os.environ, home: Path | None = None
) -> Connection:
    """How to reach the storage at `url`. Raises StorageError where credentials cannot be read."""
    client: dict[str, Any] = {}
    bundle = environment.get("AWS_CA_BUNDLE")
    if bundle:
        try:
            client["root_certificate"] = Path(bundle).read_bytes()
        except OSError as error:
            raise StorageError(
                f"AWS_CA_BUNDLE={bundle}", f"cannot be read ({error.strerror}). Mend it"
            ) from error
    scheme = scheme_of(url)
    if scheme == HUB:
        organisation, name, *below = url.partition("://")[2].split("/")[1:]
        endpoint = f"{environment.get('HF_S3_ENDPOINT', HUB_ENDPOINT)}/{organisation}"
        config = {"endpoint": endpoint, "region": "us-east-1"}
        client["allow_http"] = endpoint.startswith("http://")
        return Connection("/".join([f"s3://{name}", *below]), config, client)
    if scheme == "s3":
        return _s3(url, environment, home or Path.home(), client)
    if scheme in ("az", "abfss"):
        endpoint = environment.get("AZURE_STORAGE_ENDPOINT", "")
        emulator = environment.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true")
        client["allow_http"] = emulator or endpoint.startswith("http://")
        return Connection(url, {}, client)
    return Connection(url, {}, client)


def _s3(url: str, environment: Mapping[str, str], home: Path, client: dict[str, Any]) -> Connection:
    config: dict[str, str] = {}
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if endpoint:
        config["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    return Connection(url, config, client, _needs_profile(url, environment, home))


def _needs_profile(url: str, environment: Mapping[str, str], home: Path) -> bool:
    """Whether the credentials are in AWS's files, which obstore does not read."""
    by_itself = (
        *("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    )
    profile = environment.get("AWS_PROFILE")
    if not profile and any(environment.get(name) for name in by_itself):
        return False
    files = [
        Path(environment.get("AWS_SHARED_CREDENTIALS_FILE", home / ".aws" / "credentials")),
        Path(environment.get("AWS_CONFIG_FILE", home / ".aws" / "config")),
    ]
    there = [str(file) for file in files if file.is_file()]
    if not profile and not there:
        return False
    if find_spec("boto3") is None:
        source = f"AWS_PROFILE={profile}" if profile else there[0]
        raise StorageError(
            url,
            f"is to be opened with {source}, which boto3 reads, and that is not installed. Install "
            "it (pip install 'bottega[aws]'), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    return True
