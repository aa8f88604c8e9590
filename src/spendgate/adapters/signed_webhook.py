"""Events to and from programs of somebody else's: one POST each, signed as Standard Webhooks do.

The signature is an HMAC-SHA256 of `id.timestamp.body`, so that neither another body nor an old one
passes for it; the id stays the same however often an event is sent.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import httpx
from pydantic import SecretStr

KEY_PREFIX = "whsec_"
KEY_BYTES_MIN = 16
TIMEOUT_SECONDS = 10.0
TOLERANCE_SECONDS = 300
"""How far a sender's clock may be from ours; a request older than that is somebody's copy."""
SIGNATURES_MAX = 10
"""Signatures read of one request: a sender that changes its key sends two."""
ID, TIMESTAMP, SIGNATURE = HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_LATER = frozenset({401, 403, 404, 408, 410, 429})
"""What a place answers whatever the event; another 4xx is about this one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event didn't arrive, without the address; `is_down` if others wouldn't either."""

    said: str
    is_down: bool


def signature(key: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def key_bytes(key: SecretStr) -> bytes:
    """Return the bytes of a key: `whsec_` and base64, or any other text as it is.

    Raises:
        ValueError: if it is no key; says nothing of it.
    """
    text = key.get_secret_value()
    if text.startswith(KEY_PREFIX):
        try:
            found = base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError("a key that begins with whsec_ goes on in base64") from None
    else:
        found = text.encode()
    if len(found) < KEY_BYTES_MIN:
        raise ValueError(f"a key has at least {KEY_BYTES_MIN} bytes")
    return found


def signature_fault(
    key: bytes, headers: Mapping[str, str], body: bytes, at: datetime
) -> tuple[str, str] | None:
    """Say which header of a request is wrong and why; None if its sender has the key.

    A signature that is nearly right takes as long as any other that isn't.
    """
    event_id, timestamp, sent = (headers.get(name, "") for name in HEADERS)
    for name, value in zip(HEADERS, (event_id, timestamp, sent), strict=True):
        if not value or (name == TIMESTAMP and not _TIMESTAMP.fullmatch(value)):
            return name, f"{name} is missing or has another form; sign as Standard Webhooks do"
    expected = signature(key, event_id, int(timestamp), body).encode()
    given = [one.encode("utf-8", "replace") for one in sent.split()[:SIGNATURES_MAX]]
    if not any(hmac.compare_digest(one, expected) for one in given):
        return SIGNATURE, "no signature is one of our key over these bytes; sign id.timestamp.body"
    if abs(at.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        text = f"the request is more than {TOLERANCE_SECONDS} s from our time; sign it when sent"
        return TIMESTAMP, text
    return None


def post_signed(
    client: httpx.Client,
    url: SecretStr,
    key: bytes,
    event_id: str,
    body: bytes,
    at: datetime,
    headers: Mapping[str, str],
) -> Failure | None:
    """Send one event; return None, or why it didn't arrive.

    A redirect isn't followed: it would lead to where nobody has said that events go.
    """
    timestamp = int(at.timestamp())
    signed = {
        ID: event_id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: signature(key, event_id, timestamp, body),
    }
    try:
        with client.stream(
            "POST", url.get_secret_value(), content=body, headers={**headers, **signed}
        ) as answer:
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
        return Failure(f"can't be reached: {type(error).__name__}", is_down=True)
    if 200 <= status < 300:
        return None
    return Failure(f"answers {status}", is_down=status >= 500 or status in _LATER)


def new_client() -> httpx.Client:
    """Return a client for webhooks."""
    return httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)
