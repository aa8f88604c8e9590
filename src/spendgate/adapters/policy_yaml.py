"""YAML as a policy file may use it: plain data, exact numbers, no tricks.

Aliases are refused because a kilobyte of them can unfold into gigabytes; a key that stands twice is
refused because YAML would quietly keep the last one. Only decimals are numbers: to YAML 1.1 `010`
is 8, `0x10` 16 and `1:30` 90, which nobody means by a limit.
"""

import re
from collections.abc import Hashable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import ClassVar, cast

import yaml

from spendgate.errors import PolicyError

FILE_BYTES_MAX = 1_000_000

_INTEGER, _FRACTION = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_DECIMALS = {
    _INTEGER: re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z"),
    _FRACTION: re.compile(r"[-+]?(?:0|[1-9][0-9_]*)?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?\Z"),
}
"""What is a number without quotes; all else is text, which a field reads or refuses by itself."""


def read_yaml_file(path: Path) -> object:
    """Read one YAML document.

    Raises:
        PolicyError: names the file, and the line where that is known.
    """
    return parse_yaml(_read_text(path), where=path.name)


def parse_yaml(text: str, *, where: str) -> object:
    """Read one YAML document from text.

    Raises:
        PolicyError: names `where` and the line.
    """
    try:
        # _PlainLoader is a SafeLoader: it builds plain data only.
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise PolicyError(f"{where}: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise PolicyError(f"{where}: is not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise PolicyError(f"{where}: is nested too deeply") from None


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise PolicyError(f"{path.name}: is larger than {FILE_BYTES_MAX} bytes; split it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PolicyError(f"{path.name}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PolicyError(f"{path.name}: is not UTF-8 text; save it as UTF-8") from None


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader without aliases, duplicate keys, binary fractions and numbers in disguise."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, form) for tag, form in resolvers if tag not in _DECIMALS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = cast(
            yaml.Event | None,
            self.peek_event(),  # pyright: ignore[reportUnknownMemberType] untyped in PyYAML
        )
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not supported; write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be plain text", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value[:40]!r} stands twice; remove one",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _exact_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    text = loader.construct_scalar(node)
    return int(text.replace("_", "")) if _DECIMALS[_INTEGER].match(text) else text


def _exact_fraction(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal | str:
    text = loader.construct_scalar(node)
    try:
        return Decimal(text.replace("_", ""))
    except InvalidOperation:
        return text


for _tag, _form in _DECIMALS.items():
    _PlainLoader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType] untyped in PyYAML
        _tag, _form, list("-+.0123456789")
    )
# An explicit `!!int 0x10` comes here too.
_PlainLoader.add_constructor(_INTEGER, _exact_integer)
_PlainLoader.add_constructor(_FRACTION, _exact_fraction)
