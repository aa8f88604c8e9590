"""Answers for whatever the gateway doesn't answer itself, in the gateway's own shape."""

import json
from collections.abc import Mapping

from starlette.types import Send

from spendgate.gateway.reply import Reply, error_reply

INTERNAL_MESSAGE = "the gate failed on this call; its log names the kind of error"
_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    503: "unavailable",
    504: "timeout",
}


def failure(status: int, message: str, field: str | None = None) -> Reply:
    """Return the error for a status; `message` and `field` must quote nothing of a body."""
    code = _CODES.get(status, "invalid_request" if status < 500 else "internal_error")
    return error_reply(status, code, message, param=field, retryable=status == 503)


def encode_body(body: Mapping[str, object]) -> bytes:
    """Return a body as JSON bytes.

    ASCII only: an answer may hold half of a surrogate pair, which UTF-8 can't carry.
    """
    return json.dumps(body, separators=(",", ":")).encode("ascii")


async def send_answer(send: Send, status: int, body: bytes) -> None:
    """Send one whole JSON answer."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
