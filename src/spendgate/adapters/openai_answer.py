"""What both clients of a model server share: headers, and how an answer is read."""

import json
import math
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import cast

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""No answer to one call is larger; a server that never ends must not fill the memory."""


REQUEST_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    # A compressed stream comes late: the server waits until a block is full.
    "accept-encoding": "identity",
}


def is_event_stream(status: int, content_type: str) -> bool:
    """Say whether an answer comes in pieces: every 2xx that doesn't say that it is JSON."""
    return 200 <= status < 300 and "json" not in content_type.lower()


def parsed_answer(answer: bytes) -> Mapping[str, object] | None:
    """Return an answer's JSON object; None for anything else."""
    try:
        text = answer.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass")
        parsed: object = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", parsed) if isinstance(parsed, dict) else None


def retry_after_seconds(header: str) -> float | None:
    """Return the seconds of a Retry-After header; its date form is rare and ignored."""
    try:
        seconds = float(header)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 3600 else None


def _finite(text: str) -> float | None:
    value = float(text)  # 1e999 becomes Infinity
    return value if math.isfinite(value) else None


def _nothing(_constant: str) -> None:
    return None


_DECODER = json.JSONDecoder(parse_constant=_nothing, parse_float=_finite)
"""NaN and Infinity are no JSON, and what can't be sent on as JSON must not get further.

One for the process: `json.loads` makes a new one for each text."""
