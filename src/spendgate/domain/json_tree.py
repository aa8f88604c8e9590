"""JSON as a tree of objects, lists and leaves, walked without recursion or by narrowed types."""

from collections.abc import Iterator, Mapping
from typing import cast


def items(value: object) -> list[object]:
    """Return a list as it is, and an empty one for anything else."""
    return cast(list[object], value) if isinstance(value, list) else []


def fields(value: object) -> dict[str, object]:
    """Return an object as it is, and an empty one for anything else."""
    return cast(dict[str, object], value) if isinstance(value, dict) else {}


def children(node: object) -> list[object]:
    """Return what an object or a list holds; a leaf holds nothing."""
    if isinstance(node, dict):
        return list(cast(dict[str, object], node).values())
    return items(node)


def objects(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Walk every object of a body, the body first."""
    yield body
    stack: list[object] = list(body.values())
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield fields(cast(object, node))
            stack.extend(children(cast(object, node)))
        elif isinstance(node, list):
            stack.extend(items(cast(object, node)))
