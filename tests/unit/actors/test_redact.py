"""Secrets stay out of what is shown and written: each test would see a leak."""

from __future__ import annotations

import logging
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.errors import BottegaError, ModelError, SpecError
from actors.redact import (
    HIDDEN,
    RedactingFilter,
    has_known_key,
    has_secret_url,
    redact,
    redacted,
)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
"""The form of an AWS secret key: with a slash and a plus."""

URLS = [
    f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/prompts.parquet",
    f"https://user:{SECRET}@host.example/prompts.csv",
    f"https://{SECRET.replace('/', '')}@host.example/prompts.csv",
    f"https://user:a'quote@and{SECRET}@host.example/x",
    f"https://host.example/p.csv?token={SECRET}",
    f"https://host.example/p.csv?a=1&X-Amz-Signature={SECRET}&b=2",
    f"https://host.example/p.csv?X-Amz-Security-Token={SECRET}",
    f"https://host.example/p.csv?X-Goog-Credential={SECRET}",
    f"https://account.blob.core.windows.net/c/p.csv?sv=2024&sig={SECRET}",
    f"https://host.example/p.csv#access_token={SECRET}",
    f"s3://bucket/p?secret_key={SECRET}&scheme=http",
]
TEXTS = [
    *(f"cannot open {url!r}: no such file" for url in URLS),
    f"{{'key': 'AKIA', 'secret': '{SECRET}', 'client_kwargs': {{'a': 1}}}}",
    f'{{"aws_secret_access_key": "{SECRET}"}}',
    f"aws_session_token = {SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"DefaultEndpointsProtocol=https;AccountKey={SECRET};EndpointSuffix=core",
    f"PGPASSWORD={SECRET} psql",
]
HARMLESS = [
    "s3://bucket/prompts/*.parquet",
    "abfss://container@account.dfs.core.windows.net/prompts",
    "sftp://user@host/prompts.csv",
    "https://host.example/p.csv?version=2&page=3",
    "gs://bucket/a@b.csv",
    "prompts/user@host.csv",
    "/data/keys/token/secret.parquet",
    "C:/prompts.csv",
]
WORDS = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=/%", min_size=8)


@pytest.mark.parametrize("text", TEXTS)
def test_no_form_of_a_secret_stays(text: str) -> None:
    clean = redact(text, {})
    assert HIDDEN in clean
    assert SECRET[-12:] not in clean
    assert SECRET[:8] not in clean


@pytest.mark.parametrize("url", URLS)
def test_a_url_with_a_key_is_known(url: str) -> None:
    assert has_secret_url(url)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert not has_secret_url(text)
    assert redact(text, {}) == text


def test_what_helps_to_find_the_mistake_stays() -> None:
    clean = redact(f"s3://AKIA:{SECRET}@bucket/p.csv is not there", {})
    assert clean == f"s3://{HIDDEN}@bucket/p.csv is not there"
    clean = redact(f"https://h.example/p?page=2&token={SECRET}&size=3", {})
    assert clean == f"https://h.example/p?page=2&token={HIDDEN}&size=3"


@given(
    scheme=st.sampled_from(["s3", "https", "http", "gs", "postgresql"]),
    user=st.text(string.ascii_letters + string.digits, max_size=20),
    password=WORDS,
)
def test_no_password_of_a_url_stays(scheme: str, user: str, password: str) -> None:
    url = f"{scheme}://{user}:{password}@h/p"
    assert has_secret_url(url)
    assert redact(f"see {url}", {}) == f"see {scheme}://{HIDDEN}@h/p"


PIECES = [
    *("token", "secret_key", "AccountKey", "Authorization", "sig", "code", "bearer ", "basic "),
    *("s3://", "http://", "https://", "://", "@", "/", "abc", "x7", "-", "***"),
    *("=", ":", " ", "\n", "'", '"', "#", "?", "&", ";", ",", ".", "(", ")", "]", "}", "<", ">"),
]
"""Names that the patterns look for, and characters that end a value in one of them."""


@given(st.text(), st.sampled_from(TEXTS))
@example(text="#)", secret=TEXTS[-2])
def test_redacting_twice_changes_nothing_more(text: str, secret: str) -> None:
    environment = {"HF_TOKEN": SECRET}
    once = redact(text + secret + text, environment)
    assert redact(once, environment) == once


@settings(max_examples=1000)
@given(
    text=st.lists(st.sampled_from(PIECES), max_size=16).map("".join),
    value=st.lists(st.sampled_from(PIECES), min_size=4, max_size=8).map("".join),
)
@example(text="?token=a#)", value="-" * 8)
@example(text="token='a'b", value="-" * 8)
@example(text="token='a'.", value="-" * 8)
@example(text="?token='a'.b", value="-" * 8)
@example(text="https://token='a b'@host", value="-" * 8)
@example(text="token=abc", value="token=***")
def test_redacting_twice_changes_nothing_more_wherever_the_patterns_meet(
    text: str, value: str
) -> None:
    environment = {"HF_TOKEN": value}
    once = redact(text, environment)
    assert redact(once, environment) == once


@pytest.mark.parametrize(
    "key",
    [
        "hf_" + "aB3" * 11,
        "ghp_" + "aB3" * 12,
        "github_pat_" + "aB3_" * 12,
        "glpat-" + "aB3-" * 6,
        "xoxb-123456789012-abc",
        "sk-proj-" + "aB3_" * 10,
        "AKIA" + "ABCD2345" * 2,
    ],
)
def test_a_key_is_known_by_its_form(key: str) -> None:
    """Wherever it stands, and whatever it is called."""
    assert redact(f"label {key}, and {key}x", {}).startswith("label ***, and ")
    assert redacted({"note": f"({key})"}, {}) == {"note": "(***)"}
    assert has_known_key(f"see {key}.")


@pytest.mark.parametrize("text", ["hf_hub", "sk-learn", "AKIA", "a ghp_ of", "whisk-" + "a" * 40])
def test_a_word_like_it_is_none(text: str) -> None:
    assert redact(text, {}) == text
    assert not has_known_key(text)


def test_the_rest_of_a_sentence_stays() -> None:
    assert redact("unknown token: 'x'. Choose another", {}) == "unknown token: ***. Choose another"


@given(st.text(string.ascii_letters + string.digits + " .,-_/()'\n", max_size=200))
def test_text_without_a_sign_of_a_value_is_untouched(text: str) -> None:
    assert redact(text, {}) == text


@given(
    name=st.sampled_from(["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "PGPASSWORD"]),
    value=st.text(string.ascii_letters + string.digits + "/+=", min_size=12),
    around=st.text(" .,:", max_size=3),
)
def test_a_secret_of_the_environment_is_hidden_wherever_it_stands(
    name: str, value: str, around: str
) -> None:
    assert value not in redact(f"x{around}{value}{around}y", {name: value})


def test_a_secret_of_the_environment_is_hidden_as_a_url_writes_it() -> None:
    environment = {"AWS_SECRET_ACCESS_KEY": SECRET}
    assert redact("at wJalrXUtnFEMI%2FK7MDENG%2BbPxRfiCYEXAMPLEKEY", environment) == "at ***"


def test_other_variables_and_short_values_are_no_secrets() -> None:
    environment = {"HOME": "/home/somebody", "HF_TOKEN": "none", "HF_TOKEN_PATH": "/home/token"}
    text = "none of /home/somebody and /home/token"
    assert redact(text, environment) == text


def test_the_environment_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    assert redact("401 for hf_abcdefghijkl") == "401 for ***"


def test_a_structure_is_cleaned_to_its_last_leaf() -> None:
    value: dict[str, Any] = {
        "a": [URLS[0], {"b": (URLS[4], 1, None, 2.5, True)}],
        "storage_options": {"secret": SECRET, "account_key": SECRET, "anon": False},
        f"x?token={SECRET}": "name",
    }
    assert SECRET not in str(redacted(value, {}))
    assert redacted(value, {})["storage_options"]["anon"] is False
    assert redacted({"n": 1, "prompt_column": "prompt"}, {}) == {"n": 1, "prompt_column": "prompt"}


@pytest.mark.parametrize("kind", [BottegaError, ModelError, SpecError])
def test_no_error_of_ours_carries_a_secret(kind: type[BottegaError]) -> None:
    error = kind(f"cannot open {URLS[0]}: is the key right?")
    assert SECRET not in str(error) + repr(error) + str(error.args)


def test_no_log_line_carries_a_secret() -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    parent, log = logging.getLogger("redacting"), logging.getLogger("redacting.child")
    parent.addHandler(handler)
    try:
        log.warning("part %d: %s", 3, URLS[0])
        try:
            raise ValueError(URLS[1])
        except ValueError:
            log.exception("it failed at %s", Path("p.csv"))
    finally:
        parent.removeHandler(handler)
    assert SECRET not in stream.getvalue()
    assert f"part 3: s3://{HIDDEN}@bucket" in stream.getvalue()
    assert "ValueError" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 100_000, "://:" * 5_000, "token" * 20_000, "?a=" * 30_000),
        *("?token=a" + "#)" * 30_000, "token='" * 10_000, "token=''x" * 10_000),
    ],
)
def test_long_text_takes_no_longer_than_it_must(text: str) -> None:
    started = perf_counter()
    redact(text, {})
    assert perf_counter() - started < 10


def test_the_working_folder_is_no_secret() -> None:
    where = {"PWD": "/home/me/project", "OLDPWD": "/home/me/other", "DB_PWD": "correct-horse"}
    assert redact("/home/me/project/out correct-horse", where) == "/home/me/project/out ***"


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "GITHUB_PAT", "MYSQL_PASS", "PASS"),
        *("SENTRY_DSN", "SLACK_WEBHOOK", "SLACK_WEBHOOK_URL", "db.dsn", "registry-auth"),
    ],
)
def test_the_value_of_a_variable_named_like_a_secret_goes(name: str) -> None:
    assert redact(f"it says {SECRET}.", {name: SECRET}) == f"it says {HIDDEN}."


@pytest.mark.parametrize("name", ["PATH", "COMPASS", "BYPASS", "PATTERN", "AUTHOR", "PWD", "DSNS"])
def test_the_value_of_another_variable_stays(name: str) -> None:
    assert redact("it says /usr/local/bin.", {name: "/usr/local/bin"}) == "it says /usr/local/bin."


@given(
    secret=st.binary(min_size=8, max_size=40).map(lambda raw: raw.hex()),
    before=st.text(string.ascii_letters, max_size=7),
    after=st.text(string.ascii_letters, max_size=7),
    encode=st.sampled_from([b64encode, urlsafe_b64encode]),
)
def test_a_known_secret_goes_in_base64_too(
    secret: str, before: str, after: str, encode: Callable[[bytes], bytes]
) -> None:
    """Also behind a user's name, as in a header of HTTP."""
    shown = encode(f"{before}:{secret}:{after}".encode()).decode()
    clean = redact(f"sent {shown} away", {"HF_TOKEN": secret})
    assert HIDDEN in clean
    # What is left are the neighbours, and a few bits of the secret's first and last byte.
    assert len(clean) <= len("sent  away") + len(HIDDEN) + 4 * (len(before) + len(after) + 8) // 3


def test_the_place_of_a_secret_is_none() -> None:
    options = {"token": "env:LABELS", "password": "file:/run/secrets/db", "api_key": SECRET}
    assert redacted(options, {}) == {**options, "api_key": HIDDEN}
