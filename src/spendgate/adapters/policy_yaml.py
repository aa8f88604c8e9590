"""YAML as a policy file may use it: plain data, exact numbers, no tricks.

Aliases are refused because a kilobyte of them can unfold into gigabytes; a key that stands twice is
refused because YAML would quietly keep the last one.
"""

from collections.abc import Hashable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import cast

import yaml

from spendgate.errors import PolicyError

FILE_BYTES_MAX = 1_000_000


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
    """A SafeLoader without aliases, duplicate keys and binary fractions."""

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


def _exact_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal | str:
    text = loader.construct_scalar(node)
    try:
        return Decimal(text.replace("_", ""))
    except InvalidOperation:
        return text


_PlainLoader.add_constructor("tag:yaml.org,2002:float", _exact_number)
