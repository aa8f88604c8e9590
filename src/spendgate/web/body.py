"""Request bodies, checked before anything parses them: size, nesting, encoding, strict JSON.

Messages name the fault and the place; they never quote the body.
"""

import asyncio
import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

from starlette.types import Receive, Scope

from spendgate.gateway.begun import Begun

BODY_SECONDS = 60.0
"""How long a client may take to send a body, where no setting says otherwise."""

DEPTH_MAX = 64
"""Levels of arrays and objects: a deep tool schema has 20; parsers recurse per level."""

_DIGITS_ALIKE = bytes(
    ord("0") if byte in b"0123456789" else ord("e") if byte in b"eE" else byte
    for byte in range(256)
)
_MAY_OVERFLOW = (b"e000", b"e+000", b"0" * 309)
"""Text such as 1e400 becomes Infinity in a float; a body that may hold one is parsed to see.

Every digit as a zero, so that three searches in C find any of them; one pattern takes fifty times
as long, milliseconds for 64 kB (measured)."""

_PLAIN = json.JSONDecoder()
_CHUNK_BYTES = 65_536
_STRUCTURE = b'[]{}"'
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))
_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class BodyError(Exception):
    """A request body is refused with an HTTP status; `field` names the place."""

    def __init__(self, status: int, message: str, field: str | None = "body") -> None:
        super().__init__(message)
        self.status = status
        self.field = field


@dataclass(frozen=True, slots=True)
class _NotFinite:
    """Stands where a body says NaN or Infinity."""


def check_headers(scope: Scope, bytes_max: int) -> None:
    """Refuse what the headers alone give away, before the body is read.

    A missing Content-Type counts as JSON.

    Raises:
        BodyError: 413 for a body that is too large, 415 for one that isn't plain JSON.
    """
    headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > bytes_max:
            raise _too_large(bytes_max)
        if name == b"content-type":
            _check_content_type(value.decode("latin-1").lower())
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise BodyError(415, "compressed bodies aren't accepted; send plain JSON")


async def read_body(receive: Receive, bytes_max: int) -> bytes | None:
    """Read a whole body, counting while it comes; None if the client went away.

    Raises:
        BodyError: 413 as soon as the body is too large.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunk = cast("bytes", message.get("body", b""))
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def body_in_time(receive: Receive, bytes_max: int, seconds: float) -> bytes | None:
    """Read a whole body from a client that doesn't take for ever; None if it went away.

    Raises:
        BodyError: 413 as soon as the body is too large, 408 where it doesn't come.
    """
    reading = Begun(read_body(receive, bytes_max))
    if reading.is_over:
        return reading.answer  # it came with its headers, as small ones do
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except TimeoutError:
        raise BodyError(408, f"the body didn't come within {seconds:g} s") from None


def checked_object(body: bytes) -> dict[str, object]:
    """Check a body and parse it as one JSON object.

    Raises:
        BodyError: 400 for what `check_body` and `parse_object` refuse.
    """
    if _check_form(body):
        return parse_object(body)
    return _parsed(body, _PLAIN)  # it has no number that isn't one


def check_body(body: bytes) -> None:
    """Refuse bytes that a JSON parser must not see, at the price of a few scans in C.

    Raises:
        BodyError: 400 for nesting, NaN, Infinity, or an encoding other than UTF-8.
    """
    if _check_form(body):
        parse_object(body)


def _check_form(body: bytes) -> bool:
    """Refuse encodings and nesting; say whether NaN or Infinity may be in there."""
    if b"\0" in body:  # no JSON in UTF-8 has one; UTF-16, which json.loads would take, has many
        raise BodyError(400, "the body must be JSON in UTF-8")
    if is_too_deep(body):
        raise BodyError(400, f"the body nests deeper than {DEPTH_MAX} levels")
    return b"NaN" in body or b"Infinity" in body or may_overflow(body)


def may_overflow(body: bytes) -> bool:
    """Say whether a number of a body may become Infinity in a float."""
    alike = body.translate(_DIGITS_ALIKE)
    return any(form in alike for form in _MAY_OVERFLOW)


def is_too_deep(body: bytes) -> bool:
    """Say whether JSON nests deeper than DEPTH_MAX, without parsing or recursion.

    Right up to the first syntax error of a body, which is as far as any parser gets.
    """
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return False
    # Escapes first, so that each quote left begins or ends a string; then all but the structure.
    skeleton = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_STRUCTURE)
    brackets = b"".join(skeleton.split(b'"')[::2])
    depth = 0
    for start in range(0, len(brackets), _CHUNK_BYTES):
        chunk = brackets[start : start + _CHUNK_BYTES]
        levels = list(accumulate(map(_STEPS.__getitem__, chunk), initial=depth))
        if max(levels) > DEPTH_MAX:
            return True
        depth = levels[-1]
    return False


def parse_object(body: bytes) -> dict[str, object]:
    """Parse a checked body as one JSON object.

    Raises:
        BodyError: 400 if it isn't one, or holds NaN or Infinity.
    """
    found_constant = False

    def constant(_: str) -> _NotFinite:
        nonlocal found_constant
        found_constant = True
        return _NotFinite()

    def number(text: str) -> float | _NotFinite:
        value = float(text)
        return value if math.isfinite(value) else constant(text)

    decoder = json.JSONDecoder(parse_constant=constant, parse_float=number)
    document = _parsed(body, decoder)
    if found_constant:
        place = _place_of_constant(document)
        raise BodyError(400, f"{place} isn't a finite number (NaN and Infinity aren't JSON)", place)
    return document


def _parsed(body: bytes, decoder: json.JSONDecoder) -> dict[str, object]:
    try:
        parsed: object = decoder.decode(
            body.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass")
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BodyError(400, f"the body isn't valid JSON: {error.msg} ({place})") from None
    except UnicodeDecodeError:
        raise BodyError(400, "the body must be JSON in UTF-8") from None
    except (ValueError, RecursionError):  # an integer of thousands of digits
        raise BodyError(400, "the body holds a number that is too long") from None
    if not isinstance(parsed, dict):
        raise BodyError(400, f"the body must be a JSON object, not {_kind(parsed)}")
    return cast("dict[str, object]", parsed)


def _too_large(bytes_max: int) -> BodyError:
    return BodyError(413, f"the body is larger than {bytes_max} bytes")


def _check_content_type(content_type: str) -> None:
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip() not in ("", "application/json"):
        raise BodyError(415, "send the body as Content-Type: application/json", "content-type")
    name, _, charset = parameters.strip().partition("=")
    if name.strip() == "charset" and charset.strip(' "') not in ("utf-8", "utf8"):
        raise BodyError(415, "send the body in UTF-8", "content-type")


def _place_of_constant(document: Mapping[str, object]) -> str:
    """Name the path to the first NaN or Infinity; names that aren't plain words are hidden."""
    stack: list[tuple[str, object]] = [("", document)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, _NotFinite):
            return place
        if isinstance(value, dict):
            for name, child in cast("dict[str, object]", value).items():
                shown = name if _PLAIN_NAME.fullmatch(name) else "*"
                stack.append((f"{place}.{shown}" if place else shown, child))
        elif isinstance(value, list):
            for index, child in enumerate(cast("list[object]", value)):
                stack.append((f"{place}[{index}]", child))
    return "body"  # a later duplicate of the key won, so that none is left


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "an array"
    return "null" if value is None else "a number"
