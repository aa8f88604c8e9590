"""JSON as it crosses the wire, and the error that answers a bad call."""

import json
from collections.abc import Iterable, Mapping
from typing import cast

from starlette.types import Receive, Send

JsonObject = Mapping[str, object]

# One encoder for the process: `json.dumps` with separators builds a new one for each call.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_DATABRICKS_CODES = {
    400: "BAD_REQUEST",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}


class BadCallError(Exception):
    """Raised for a call that the simulator answers with a 4xx of its own, unbilled."""

    def __init__(self, message: str, *, status: int = 400, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.status = status
        self.body: JsonObject = {
            "error_code": databricks_code(status),
            "message": message,
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": code,
            },
        }


def databricks_code(status: int) -> str:
    """Name an error status as Databricks does in `error_code`."""
    fallback = "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST"
    return _DATABRICKS_CODES.get(status, fallback)


def encode(value: JsonObject) -> bytes:
    """Write compact JSON; non-ASCII is escaped, so that lone surrogates pass through."""
    return _ENCODER.encode(value).encode("ascii")


def decode_object(raw: bytes | str, what: str) -> JsonObject:
    """Read a JSON object; raise BadCallError, which names `what`, for anything else."""
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadCallError(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise BadCallError(f"{what} is not a JSON object")
    return object_in(cast("object", value))


def object_in(value: object) -> JsonObject:
    """Give a decoded value if it is a JSON object, else an empty one."""
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def list_in(value: object) -> list[object]:
    """Give a decoded value if it is a JSON array, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def whole(value: object, name: str, least: int, most: int) -> int:
    """Check an integer of the call; raise BadCallError outside `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadCallError(f"{name} must be an integer from {least} to {most}")
    return value


async def read_body(receive: Receive) -> bytes:
    """Read the whole request body."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


async def send_json(
    send: Send, status: int, payload: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with an encoded JSON body."""
    await send_head(send, status, [(b"content-length", b"%d" % len(payload)), *headers])
    await send({"type": "http.response.body", "body": payload})


async def send_head(
    send: Send,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    content_type: bytes = b"application/json",
) -> None:
    """Send status and headers; the body is the caller's."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), *headers],
        }
    )
