"""Request headers, read so that nobody can slip in a second one that says who pays."""

from collections.abc import Mapping
from typing import cast

from starlette.types import Scope

from spendgate.domain.scope import WILDCARD, Dimension, ScopeError, checked_value
from spendgate.web.body import BodyError

_OURS = frozenset({"authorization", "idempotency-key"})
_PREFIX = "x-spend-"
_KNOWN = frozenset({*(f"{_PREFIX}{one.value}" for one in Dimension), f"{_PREFIX}token"})
_ANSWERED = ("request-id", "decision", "cost-usd", "remaining-usd")
_TAKEN = _KNOWN | {_PREFIX + name for name in _ANSWERED}
"""With the headers of our answers, which a client may send on."""

_PLACES = {
    "idempotency-key": "custom_inputs.idempotency_key",
    f"{_PREFIX}token": "custom_inputs.spend_token",
    **{f"{_PREFIX}{one.value}": f"custom_inputs.{one.value}" for one in Dimension},
}


def single_headers(scope: Scope, platform_header: str | None = None) -> dict[str, str]:
    """Return the headers by their lower-case names.

    A proxy and a client that both send a header would otherwise leave open whose counts. Text that
    isn't ASCII has no one encoding in a header; it may travel in the body.

    Raises:
        BodyError: 400 for a header of ours that stands twice, isn't ASCII, or that there isn't.
    """
    found: dict[str, str] = {}
    for raw_name, raw in cast("list[tuple[bytes, bytes]]", scope["headers"]):
        name = raw_name.decode("latin-1").lower()
        if name in _OURS or name == platform_header or name.startswith(_PREFIX):
            if name in found:
                raise BodyError(400, f"the header {name[:60]} stands twice; send it once", name)
            if not raw.isascii():
                message = f"the header {name[:60]} isn't ASCII; send other text in custom_inputs"
                raise BodyError(400, message, name)
            if name.startswith(_PREFIX) and name not in _TAKEN:
                raise BodyError(400, _unknown_message(name), name)
        found.setdefault(name, raw.decode("latin-1"))
    return found


def refuse_unread(scope: Scope) -> None:
    """Refuse headers of ours where nobody reads them: Model Serving hands none to a model.

    A call would be charged to somebody else, or a second time.

    Raises:
        BodyError: 400 with the place in the body that is read.
    """
    for raw_name, _ in cast("list[tuple[bytes, bytes]]", scope["headers"]):
        name = raw_name.decode("latin-1").lower()
        field = _PLACES.get(name)
        if field is not None:
            message = f"the header {name} isn't read here, as on Model Serving; send {field}"
            raise BodyError(400, message, name)


def _unknown_message(name: str) -> str:
    known = ", ".join(sorted(_KNOWN))
    return f"there is no header {name[:60]}; known are {known}, and tags go in custom_inputs.tags"


def forwarded_user(
    headers: Mapping[str, str], platform_header: str | None
) -> dict[str, str] | None:
    """Return the caller that the platform's proxy names; nothing if it names none that can be used.

    None where no such header is believed. A comma means that two values were joined.
    """
    if platform_header is None:
        return None
    value = headers.get(platform_header, "").strip()
    try:
        checked_value("the forwarded user", value)
    except ScopeError:
        return {}
    is_one_name = value != WILDCARD and not any(mark in value for mark in ", ")
    return {Dimension.USER.value: value} if is_one_name else {}
