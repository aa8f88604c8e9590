"""The operations of an OpenAPI document, with what each says of headers and tokens."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    headers: frozenset[str]
    """Names in lower case, without those that a security scheme names."""

    security: tuple[tuple[str, ...], ...]
    """The sets of schemes of which one is enough; an empty one where none is needed."""

    statuses: frozenset[str]

    @property
    def schemes(self) -> set[str]:
        return {name for one in self.security for name in one}

    @property
    def needs_no_token(self) -> bool:
        return not self.security or () in self.security

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations_of(document: Any) -> list[Operation]:
    """Read all operations; each must have a word on security of its own."""
    return [
        _operation(document, method, path, item)
        for path, item in document["paths"].items()
        for method in item.keys() - {"parameters"}
    ]


def _operation(document: Any, method: str, path: str, item: Any) -> Operation:
    operation = item[method]
    given = [*item.get("parameters", []), *operation.get("parameters", [])]
    parameters = [resolved(document, one) for one in given]
    return Operation(
        method.upper(),
        path,
        frozenset(one["name"].lower() for one in parameters if one["in"] == "header"),
        tuple(tuple(one) for one in operation["security"]),
        frozenset(operation["responses"]),
    )


def resolved(document: Any, node: Any) -> Any:
    """Return what a node stands for."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Any = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found
