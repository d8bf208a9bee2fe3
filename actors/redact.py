"""Takes secrets out of text, before it is shown, logged or written.

A secret is a password, key or signature in a URL; what follows a name such as `token=` or
`"secret_key":`; and the value of an environment variable with such a name, wherever it turns up,
also in base64.
Rather too much is hidden than too little. The input's own columns are the user's data: nothing
here touches them.
"""

from __future__ import annotations

import logging
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

HIDDEN = "***"
SHORTEST_VALUE = 8
"""A shorter value of an environment variable may be a word that stands elsewhere too."""

_NAME = (
    r"(?:token|secret|passw(?:or)?d|pwd|passphrase|signature|credentials?|authorization"
    r"|(?:access|secret|api|account|storage|private|shared|sas)[-_]?key(?:[-_]?id)?"
    r"|conn(?:ection)?[-_]?str(?:ing)?|session[-_]?cookie)"
)
_IN_URLS = (
    # A secret key may hold a slash, which no parser of URLs expects: all up to the last @ counts.
    re.compile(r"(?<=://)[^\s/@:]*:\S{0,4096}(?=@)"),
    # Without a colon it is the user of sftp:// or the container of abfss://; here it is a token.
    re.compile(r"(?i)(?:(?<=http://)|(?<=https://))[^\s/@:]+(?=@)"),
    # A value behind a name of _NAME ends where _NAMED would end it as well, and not before.
    re.compile(
        rf"(?i)(?<=[?&;#])(?:([\w.-]{{0,40}}{_NAME}=)[^\s&'\"]+|((?:sig|key|auth|code)=)[^\s&#'\"<>]+)"
    ),
)
_NAMED = re.compile(
    rf"(?i)({_NAME}['\"]?\s*[=:]\s*)(?:(?:bearer|basic)\s+)?"
    # What is hidden already ends there: `token: 'x'.` and then `token: ***.` keep their full stop.
    r"('[^']*'|\"[^\"]*\"|\*\*\*(?![\w*])|[^\s'\",;&)\]}]+)"
)
_SECRETS_NAME = re.compile(
    # The short ones as whole words: not COMPASS, nor a sentence with "pass: 2 of 3" in it.
    rf"(?i)(?:{_NAME}|(?:^|[_.-])(?:pat|pass|auth|bearer|cookie|jwt|otp|sas)|(?:^|[_.-])(?:dsn|webhook)(?:[_-]?ur[il])?)$"
)
_KNOWN = re.compile(
    r"(?<![\w-])(?:hf_[A-Za-z0-9]{30,}|gh[opsur]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|glpat-[\w-]{20,}"
    r"|xox[abeoprs]-[\w-]{10,}|sk-[A-Za-z0-9_-]{32,}|A[KS]IA[0-9A-Z]{16})(?![\w-])"
)
"""Keys that are known by their form: of Hugging Face, GitHub, GitLab, Slack, OpenAI, AWS."""
_REFERENCES = ("env:", "file:")
"""They say where a secret is (actors/secret_references.py); whoever reads them needs to know."""
_NO_SECRETS = {"PWD", "OLDPWD"}
"""Variables of every shell with working folders in them: paths must stay readable."""


def is_secrets_name(name: str) -> bool:
    """Whether a field, an option or an environment variable of this name holds a secret."""
    return bool(_SECRETS_NAME.search(name)) and name not in _NO_SECRETS


def has_known_key(text: str) -> bool:
    """Whether the text holds a key that is known by its form, as Hugging Face's `hf_...`."""
    return bool(_KNOWN.search(text))


def has_secret_url(text: str) -> bool:
    """Whether a URL in the text carries a password, a key or a signature."""
    return any(pattern.search(text) for pattern in _IN_URLS)


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with HIDDEN in place of each secret. Doing it twice changes nothing more."""
    values = _secret_values(environment)
    # Hiding one secret can bring together what makes another, as the blank in
    # `https://token='a b'@host` keeps a URL from being seen. The loop ends: no pass adds a
    # character other than `*`, and runs of `*` that are replaced become HIDDEN, which stays.
    while (clean := _redact_once(text, values)) != text:
        text = clean
    return text


def _redact_once(text: str, values: list[str]) -> str:
    for value in values:
        text = text.replace(value, HIDDEN)
    text = _KNOWN.sub(HIDDEN, text)
    password, token, parameter = _IN_URLS
    text = token.sub(HIDDEN, password.sub(HIDDEN, text))
    return _NAMED.sub(rf"\1{HIDDEN}", parameter.sub(rf"\1\2{HIDDEN}", text))


def redacted(value: Any, environment: Mapping[str, str] = os.environ) -> Any:
    """A JSON-like value with the secrets taken out of every text in it, also by a field's name."""
    match value:
        case str():
            return redact(value, environment)
        case Mapping():
            return {
                redact(str(name), environment): HIDDEN
                if isinstance(below, str)
                and is_secrets_name(str(name))
                and not below.startswith(_REFERENCES)
                else redacted(below, environment)
                for name, below in value.items()
            }
        case list() | tuple():
            return [redacted(below, environment) for below in value]
        case _:
            return value


def _secret_values(environment: Mapping[str, str]) -> list[str]:
    """The longest first: one may be the beginning of another."""
    values = {
        form
        for name, value in environment.items()
        if len(value) >= SHORTEST_VALUE and is_secrets_name(name)
        for form in (value, quote(value, safe=""), *_in_base64(value.encode()))
    }
    return sorted(values, key=lambda value: (-len(value), value))


def _in_base64(value: bytes) -> Iterator[str]:
    """What the value looks like inside of something longer, such as `user:password`, in base64.

    Three bytes make four characters, so there are three forms, by the place where it begins; each
    without the characters at its ends, which hold bits of its neighbours.
    """
    for before in range(3):
        bits = 8 * before, 8 * (before + len(value))
        inside = slice(-(-bits[0] // 6), bits[1] // 6)
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(before) + value).decode()[inside]


class RedactingFilter(logging.Filter):
    """Takes the secrets out of log lines.

    It belongs on a handler: a logger's own filters do not see what its children log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true: the record stays, without its secrets."""
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
