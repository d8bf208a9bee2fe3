"""Each kind of refusal is a sentence with the URL and the next step, without XML."""

from __future__ import annotations

import pytest

from actors.errors import MissingError
from jobs.storage.error_sentences import explained

DEBUG = "\n\nDebug source:\nGeneric { uri: http://10.0.0.1/x, authorization: AWS4 SECRET }"


def answer(status: int, code: str = "") -> str:
    xml = f'<?xml version="1.0"?><Error><Code>{code}</Code><HostId>h1</HostId></Error>'
    return (
        "Generic S3 error: Error performing GET http://10.0.0.1/x in 1ms - Server returned non-2xx "
        f"status code: {status} Foo: {xml if code else ''}{DEBUG}"
    )


@pytest.mark.parametrize(
    ("text", "said", "passing"),
    [
        (answer(404, "NoSuchBucket"), "is in a bucket that does not exist", False),
        (answer(403, "SignatureDoesNotMatch"), "does not accept the credentials", False),
        (answer(403, "InvalidAccessKeyId"), "does not accept the credentials", False),
        (answer(400, "ExpiredToken"), "does not accept the credentials", False),
        (answer(403, "AccessDenied"), "may not be used with these credentials (Acc", False),
        (answer(403), "may not be used with these credentials (403)", False),
        (answer(403, "RequestTimeTooSkewed"), "says that our clock is wrong", False),
        (answer(301, "PermanentRedirect"), "is in another region", False),
        (answer(400, "AuthorizationHeaderMalformed"), "is in another region", False),
        (answer(403, "QuotaExceeded"), "has no room left", True),
        (answer(503, "SlowDown"), "does not answer as it should (SlowDown)", True),
        (answer(500), "does not answer as it should (500)", True),
        (answer(429), "does not answer as it should (429)", True),
        ("HTTP error: error sending request" + DEBUG, "does not answer.", True),
        (
            "HTTP error: error sending request\n\nDebug source: InvalidCertificate(UnknownIssuer)",
            "has a certificate that is not trusted here. Set AWS_CA_BUNDLE",
            False,
        ),
        (
            "Error performing PUT http://169.254.169.254/latest/api/token in 5s - HTTP error",
            "needs credentials, and there are none",
            False,
        ),
        ('Path "a//b" contained empty path segment', "holds an object whose name has", False),
        ("something <b>else</b>" + DEBUG, "cannot be used (Exception: something", False),
    ],
)  # fmt: skip
def test_a_refusal_is_a_sentence(text: str, said: str, passing: bool) -> None:
    error = explained(Exception(text), "s3://bucket/x")
    assert str(error).startswith(f"s3://bucket/x {said}")
    assert error.passing is passing
    for hidden in ("<", "SECRET", "10.0.0.1", "h1", "Debug", "\n"):
        assert hidden not in str(error)


def test_a_missing_object_is_no_missing_bucket() -> None:
    assert isinstance(explained(FileNotFoundError(answer(404, "NoSuchKey")), "x"), MissingError)
    assert not isinstance(
        explained(FileNotFoundError(answer(404, "NoSuchBucket")), "x"), MissingError
    )
