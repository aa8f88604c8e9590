"""Answers for whatever the gateway doesn't answer itself, in the gateway's own shape."""

from collections.abc import Mapping
from http import HTTPStatus

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


def closing(status: int) -> dict[str, str]:
    """Return the header that ends a connection where it is of no further use.

    Who doesn't send the rest of a body holds a place, and can send no other request before.
    """
    return {"Connection": "close"} if status == HTTPStatus.REQUEST_TIMEOUT else {}


async def send_answer(
    send: Send, status: int, body: bytes, more_headers: Mapping[str, str] | None = None
) -> None:
    """Send one whole JSON answer."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
    ]
    for name, value in {**(more_headers or {}), **closing(status)}.items():
        headers.append((name.lower().encode("ascii"), value.encode("latin-1", "replace")))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
