"""Who pays: dimensions, an identity's values, and the scope of a budget.

A scope is written `agent:triage-bot`, `org:acme,team:support`, `user:*` or `all`. A comma or
percent sign inside a value is percent-encoded, so that the text can be read back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

WILDCARD = "*"
EVERYTHING = "all"
TAG_PREFIX = "tag."
VALUE_BYTES_MAX = 256


class Dimension(StrEnum):
    """The six dimensions of an identity, widest first; free tags come on top."""

    ORG = "org"
    TEAM = "team"
    AGENT = "agent"
    USER = "user"
    SESSION = "session"
    TASK = "task"


PRINCIPAL = (Dimension.ORG, Dimension.TEAM, Dimension.AGENT, Dimension.USER)
"""The dimensions that say who somebody is; session and task say what they are at."""

_ORDER = {dimension.value: rank for rank, dimension in enumerate(Dimension)}


class ScopeError(ValueError):
    """A scope or a scope's value can't be used; the message names it and the allowed form."""


def checked_value(name: str, value: object) -> str:
    """Return a scope value if it is usable text: 1 to 256 bytes of UTF-8, nothing unprintable.

    Raises:
        ScopeError: if the value isn't such text; the value itself is not repeated.
    """
    if not isinstance(value, str):
        raise ScopeError(f"{name} must be a string, not {type(value).__name__}")
    if not value.strip():
        raise ScopeError(f"{name} is empty; leave it out or give it a value")
    if not value.isprintable():
        raise ScopeError(f"{name} holds control or unprintable characters")
    if len(value.encode("utf-8")) > VALUE_BYTES_MAX:
        raise ScopeError(f"{name} is longer than {VALUE_BYTES_MAX} bytes")
    return value


def checked_dimension(name: object) -> str:
    """Return the name of a dimension, `org` … `task` or `tag.<name>`.

    Raises:
        ScopeError: if there is no such dimension.
    """
    if isinstance(name, str):
        if name in _ORDER:
            return name
        if name.startswith(TAG_PREFIX) and ":" not in name and "," not in name:
            checked_value(name, name.removeprefix(TAG_PREFIX))
            return name
    known = ", ".join(_ORDER)
    raise ScopeError(f"unknown scope {str(name)[:40]!r}; known are {known} and tag.<name>")


def checked_wildcards(scope: "Scope") -> "Scope":
    """Return the scope of a rule if a `*` in it is a whole value.

    `agent:bot-*` looks like a pattern, and would mean the one agent of just this name.

    Raises:
        ScopeError: if a value holds `*` and more.
    """
    for name, value in scope.parts:
        if WILDCARD in value and value != WILDCARD:
            raise ScopeError(
                f"{name} {value[:40]!r}: a * within a value stands for nothing; name one value, or "
                "write * alone for all"
            )
    return scope


@dataclass(frozen=True, slots=True)
class Identity:
    """Who pays for one call: a value per dimension, free tags, and which values are trusted."""

    values: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    trusted: frozenset[str] = frozenset()

    def value(self, dimension: str) -> str | None:
        """Return the value of a dimension or of a `tag.<name>`, or None."""
        if dimension.startswith(TAG_PREFIX):
            return self.tags.get(dimension.removeprefix(TAG_PREFIX))
        return self.values.get(dimension)


@dataclass(frozen=True)
class Scope:
    """What a budget covers: dimensions with a value or `*`; no part means everything.

    Its texts are written once: every answer repeats them.
    """

    parts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, parts: Mapping[str, object]) -> "Scope":
        """Build a scope from `{dimension: value}`, checked and in the canonical order."""
        checked = [
            (checked_dimension(name), checked_value(f"scope.{name}", value))
            for name, value in parts.items()
        ]
        return cls(tuple(sorted(checked, key=lambda part: (_ORDER.get(part[0], 9), part[0]))))

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """Read `agent:triage-bot`, `org:acme,team:*` or `all`.

        Raises:
            ScopeError: if the text has another form.
        """
        if text == EVERYTHING:
            return cls()
        parts: dict[str, object] = {}
        for part in text.split(","):
            name, colon, value = part.partition(":")
            if not colon:
                raise ScopeError(f"{text[:60]!r} is no scope; write it like agent:triage-bot")
            if name in parts:
                raise ScopeError(f"{name} is named twice in {text[:60]!r}")
            parts[name] = _decoded(value)
        return cls.of(parts)

    @cached_property
    def text(self) -> str:
        """The scope as people write it."""
        return ",".join(f"{name}:{_encoded(value)}" for name, value in self.parts) or EVERYTHING

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions, in canonical order."""
        return tuple(name for name, _ in self.parts)

    @property
    def kind(self) -> str:
        """The dimensions joined by commas, or `all`: the `scope` column of the Delta tables."""
        return ",".join(self.dimensions) or EVERYTHING

    @property
    def wildcards(self) -> frozenset[str]:
        """The dimensions that stand for any value."""
        return frozenset(name for name, value in self.parts if value == WILDCARD)

    def match(self, identity: Identity) -> "Scope | None":
        """Return this scope with the identity's own values, or None if it doesn't cover it."""
        bound: list[tuple[str, str]] = []
        for name, wanted in self.parts:
            value = identity.value(name)
            if value is None or wanted not in (WILDCARD, value):
                return None
            bound.append((name, value))
        return Scope(tuple(bound))

    def lacking(self, identity: Identity) -> tuple[str, ...] | None:
        """Return what an identity would have to name besides; None if it is somebody else."""
        said = {name: identity.value(name) for name, _ in self.parts}
        if any(
            said[name] not in (None, wanted) and wanted != WILDCARD for name, wanted in self.parts
        ):
            return None
        return tuple(name for name, value in said.items() if value is None)

    def respelt(self, identity: Identity) -> tuple[tuple[str, str], ...]:
        """Return the parts that an identity names in other case, if nothing else keeps it out."""
        found: list[tuple[str, str]] = []
        for name, wanted in self.parts:
            value = identity.value(name)
            if value is None or (wanted != WILDCARD and value.casefold() != wanted.casefold()):
                return ()
            if wanted not in (WILDCARD, value):
                found.append((name, wanted))
        return tuple(found)

    @property
    def identity(self) -> Identity:
        """Who a scope without wildcards names: exactly its own values and tags."""
        values = {name: value for name, value in self.parts if not name.startswith(TAG_PREFIX)}
        tags = {
            name.removeprefix(TAG_PREFIX): value
            for name, value in self.parts
            if name.startswith(TAG_PREFIX)
        }
        return Identity(values, tags)

    @cached_property
    def value_text(self) -> str:
        """The values joined by commas: the `scope_value` column of the Delta tables."""
        return ",".join(_encoded(value) for _, value in self.parts) or WILDCARD


def _encoded(value: str) -> str:
    return value.replace("%", "%25").replace(",", "%2C")


def _decoded(text: str) -> str:
    return text.replace("%2C", ",").replace("%25", "%")
