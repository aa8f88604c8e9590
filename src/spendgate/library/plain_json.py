"""What an agent gives from Python, where nothing has made sure that it is JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from spendgate.domain.unbounded import NESTING_MAX
from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import is_object, json_object

_SCALARS = (str, int, float, type(None))


def refuse_other_than_json(body: Mapping[str, object]) -> None:
    """Refuse values that no model's server could be sent.

    Raises:
        InvalidRequestError: naming the place and the value's type.
    """
    for name, value in body.items():
        found = _found(value, 0)
        if found is not None:
            place = f"{name}{found[0]}"
            message = f"{place} is no JSON but {found[1]}; send plain values, as model_dump() gives"
            raise InvalidRequestError(message, place)


def given_object(value: object, name: str) -> dict[str, object]:
    """Return an object as a dict of one's own.

    Raises:
        InvalidRequestError: if it is none.
    """
    if not is_object(value):
        raise InvalidRequestError(f"{name} must be an object, not {type(value).__name__}", name)
    return dict(value)


def given_list(value: object, name: str) -> list[object]:
    """Return what can be gone through as a list of one's own.

    Raises:
        InvalidRequestError: if it can't, or is text or an object.
    """
    if isinstance(value, str | bytes) or is_object(value) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"{name} must be a list, not {type(value).__name__}", name)
    return list(cast("Iterable[object]", value))


def _found(value: object, depth: int) -> tuple[str, str] | None:
    """Return the way to the first value that isn't JSON, and what it is.

    What is nested too deep, the gate refuses.
    """
    if isinstance(value, _SCALARS) or depth > NESTING_MAX:
        return None
    inner: Iterable[tuple[str, object]]
    if isinstance(value, dict):
        inner = ((f".{name}", one) for name, one in json_object(cast("object", value)).items())
    elif isinstance(value, list | tuple):
        given = cast("Sequence[object]", value)
        inner = ((f"[{index}]", one) for index, one in enumerate(given))
    else:
        return "", f"the class {value.__name__}" if isinstance(value, type) else type(
            value
        ).__name__
    for step, one in inner:
        if isinstance(one, _SCALARS):
            continue
        found = _found(one, depth + 1)
        if found is not None:
            return f"{step}{found[0]}", found[1]
    return None
