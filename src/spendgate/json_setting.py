"""Settings that are lists or mappings: JSON in the environment, read here and not by
pydantic-settings, whose error names neither the variable nor what to write.
"""

import json
from typing import Annotated, cast

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

LIST_FORM = 'must be a JSON list of texts such as ["a", "b"]'
MAPPING_FORM = 'must be a JSON object of texts such as {"a": "b"}'


def _read_texts(value: object) -> object:
    read = _decoded(value)
    if not isinstance(read, list | tuple):
        raise ValueError(LIST_FORM)
    items = cast(list[object] | tuple[object, ...], read)
    if not all(isinstance(one, str) for one in items):
        raise ValueError(LIST_FORM)
    return tuple(items)


def _read_text_by_name(value: object) -> object:
    read = _decoded(value)
    if not isinstance(read, dict):
        raise ValueError(MAPPING_FORM)
    items = cast(dict[object, object], read)
    if not all(isinstance(one, str) for one in items.values()):
        raise ValueError(MAPPING_FORM)
    return items


def _decoded(value: object) -> object:
    """Return what a variable's text says; None if that is no JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (json.JSONDecodeError, RecursionError):
        return None


JsonTexts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_read_texts)]
"""A setting of several texts: JSON in the environment, a tuple or list in code."""
JsonMapping = Annotated[dict[str, str], NoDecode, BeforeValidator(_read_text_by_name)]
"""A setting of texts by name: JSON in the environment, a dict in code."""
