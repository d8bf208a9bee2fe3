"""Turns the errors of object stores into sentences, without XML, hosts' secrets or debug dumps.

Pure: it looks at an error's type and text. Seen of the servers: a wrong bucket and a wrong key are
both "not found", and a listing's failures are all of one kind, so the code in the answer decides.
"""

from __future__ import annotations

import re

from actors.errors import MissingError, StorageError

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_EMPTY_STEP = re.compile(r'Path "(.{1,200})" contained empty path segment')

_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_WRONG_KEY = {
    *("SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed", "InvalidToken"),
    *("ExpiredToken", "TokenRefreshRequired", "NoAuthenticationInformation"),
}
_WRONG_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraint"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "EntityTooLarge", "InsufficientCapacity"}
_BUSY_STATUSES = {408, 409, 425, 429}
_METADATA_SERVICES = ("/latest/api/token", "/latest/meta-data", "169.254.169.254",
                      "metadata.google.internal")  # fmt: skip


def explained(error: BaseException, where: str) -> StorageError:
    """The error of an object store as one of ours. where: the URL that was asked for."""
    # The debug dump below the message names every header.
    whole, name = str(error), type(error).__name__
    text = whole.partition("Debug source")[0]
    code = found[1] if (found := _CODE.search(whole)) else ""
    status = int(found[1]) if (found := _STATUS.search(text)) else 0

    if code in _NO_BUCKET:
        return StorageError(
            where, f"is in a bucket that does not exist ({code}). Create it, or mend its name"
        )
    if code in _WRONG_KEY:
        return StorageError(
            where,
            f"does not accept the credentials that it was given ({code}). Set the right ones in "
            "the environment of every node",
        )
    if code == "RequestTimeTooSkewed":
        return StorageError(
            where,
            f"says that our clock is wrong ({code}). Set this machine's by a time server",
        )
    if code in _WRONG_REGION or status == 301:
        return StorageError(
            where, f"is in another region ({code or status}). Set AWS_REGION to the bucket's"
        )
    if code in _FULL or status == 507:
        return StorageError(
            where, f"has no room left ({code or status}). Make room there", passing=True
        )
    if any(service in whole for service in _METADATA_SERVICES):
        return StorageError(
            where,
            "needs credentials, and there are none in the environment, and no role of this "
            "machine. Set them (docs/storage.md)",
        )
    if status in (401, 403) or name in ("PermissionDeniedError", "UnauthenticatedError"):
        return StorageError(
            where,
            f"may not be used with these credentials ({code or status or name}). Give them the "
            "right to list, read, write and delete there",
        )
    if isinstance(error, FileNotFoundError) or name == "NotFoundError" or status == 404:
        return MissingError(where, "is not there")
    if found := _EMPTY_STEP.search(text):
        return StorageError(
            where,
            f"holds an object whose name has an empty step ({found[1]!r}). Rename or remove it",
        )
    if "ertificate" in whole and ("nvalidCertificate" in whole or "UnknownIssuer" in whole):
        return StorageError(
            where,
            "has a certificate that is not trusted here. Set AWS_CA_BUNDLE or SSL_CERT_FILE to "
            "that of its authority",
        )
    if "invalid dnsname" in whole.lower() or "dns error" in whole.lower():
        return StorageError(
            where,
            "is at an address that no name server knows. Check the endpoint's name and the network",
            passing=True,
        )
    if status >= 500 or status in _BUSY_STATUSES:
        return StorageError(
            where, f"does not answer as it should ({code or status}). Look after it", passing=True
        )
    if "HTTP error" in text or "error sending request" in whole or "timed out" in whole:
        return StorageError(
            where, "does not answer. Look after the network, the endpoint or the server",
            passing=True,
        )  # fmt: skip
    first = next(iter(text.strip().splitlines()), "")[:160].rstrip(".")
    return StorageError(where, f"cannot be used ({name}: {_without_xml(first)})")


def _without_xml(text: str) -> str:
    return re.sub(r"<[^>]*>", " ", text).strip()
