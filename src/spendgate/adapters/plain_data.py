"""Plain data from outside, as JSON and YAML build it, with types that a checker can follow."""

from collections.abc import Mapping
from typing import cast


def as_mapping(value: object) -> dict[str, object] | None:
    """Return a mapping with text keys, or None if the value is no mapping."""
    if not isinstance(value, Mapping):
        return None
    items = cast(Mapping[object, object], value).items()
    return {str(name): part for name, part in items}


def as_list(value: object) -> list[object] | None:
    """Return a list, or None if the value is no list."""
    return list(cast(list[object], value)) if isinstance(value, list) else None
