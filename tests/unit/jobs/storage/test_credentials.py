"""What is passed to obstore, by the environment; keys are never among it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import StorageError
from jobs.storage import credentials
from jobs.storage.credentials import connection_of

KEYS = {"AWS_ACCESS_KEY_ID": "AKIASOMEKEY", "AWS_SECRET_ACCESS_KEY": "SOMESECRET"}


def test_keys_stay_in_the_environment(tmp_path: Path) -> None:
    environment = {**KEYS, "AWS_ENDPOINT_URL": "http://host:9000"}
    found = connection_of("s3://bucket/a", environment, tmp_path)
    assert found.url == "s3://bucket/a"
    assert found.config == {"endpoint": "http://host:9000"}
    assert found.client == {"allow_http": True}
    assert not found.use_boto3
    assert "SOME" not in repr(found)


def test_the_endpoint_of_s3_counts_before_that_of_all_services(tmp_path: Path) -> None:
    environment = {**KEYS, "AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "https://b"}
    found = connection_of("s3://bucket", environment, tmp_path)
    assert (found.config["endpoint"], found.client["allow_http"]) == ("https://b", False)


def test_profiles_are_read_by_boto3_or_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(environment: dict[str, str]) -> bool:
        return connection_of("s3://bucket", environment, tmp_path).use_boto3

    assert not connect({})
    assert connect({**KEYS, "AWS_PROFILE": "work"})
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").touch()
    assert connect({})
    assert not connect(KEYS)
    assert not connect({"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token"})
    monkeypatch.setattr(credentials, "find_spec", lambda _: None)
    with pytest.raises(StorageError, match=r"AWS_PROFILE=work, which boto3 reads.*bottega\[aws\]"):
        connect({"AWS_PROFILE": "work"})
    with pytest.raises(StorageError, match=r"\.aws/config, which boto3 reads"):
        connect({})


def test_a_hub_bucket_is_s3_at_the_hub(tmp_path: Path) -> None:
    found = connection_of("hf://buckets/org/name/a/b", KEYS, tmp_path)
    assert found.url == "s3://name/a/b"
    assert found.config == {"endpoint": "https://s3.hf.co/org", "region": "us-east-1"}


def test_the_bundle_of_certificates_is_passed_on(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    with pytest.raises(StorageError, match=r"AWS_CA_BUNDLE=.*ca.pem cannot be read"):
        connection_of("gs://bucket", {"AWS_CA_BUNDLE": str(bundle)}, tmp_path)
    bundle.write_bytes(b"PEM")
    found = connection_of("s3://bucket", {**KEYS, "AWS_CA_BUNDLE": str(bundle)}, tmp_path)
    assert found.client["root_certificate"] == b"PEM"
