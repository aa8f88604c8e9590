"""JSON from outside, narrowed in one place."""

from collections.abc import Mapping
from typing import TypeGuard, cast

JsonObject = Mapping[str, object]
_OBJECTS = (dict, Mapping)  # nearly all are dicts, which are told without asking an abstract class


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Tell whether a value is a JSON object."""
    return isinstance(value, _OBJECTS)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether a value is a JSON list."""
    return isinstance(value, list)


def json_object(value: object) -> JsonObject:
    """Return a JSON object as it is, and an empty one for anything else."""
    return cast("JsonObject", value) if isinstance(value, _OBJECTS) else {}


def json_list(value: object) -> list[object]:
    """Return a JSON list as it is, and an empty one for anything else."""
    return cast("list[object]", value) if isinstance(value, list) else []
