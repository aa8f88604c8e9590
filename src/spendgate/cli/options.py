"""Flags that many commands share, and the settings and the ledger they lead to."""

import os
import pwd
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import has_ledger, no_ledger, open_ledger
from spendgate.config import Settings
from spendgate.domain.scope import Scope, ScopeError, checked_wildcards
from spendgate.errors import HostError
from spendgate.web.environment import wrong_settings

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of ledger, tables and model (SPENDGATE_HOME)."),
]
Ledger = Annotated[
    str | None,
    typer.Option("--ledger", help="Ledger URL, where it isn't the home's own file."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="A free tag; repeatable.")
]

DURATION_SECONDS_MAX = 3653 * 86_400

_DURATION = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def settings_from(home: Path | None, ledger: str | None = None, **others: object) -> Settings:
    """Build the settings; a flag that is None leaves them to the environment and the defaults.

    Raises:
        HostError: naming each setting that can't be used, without its value: it may be secret.
    """
    flags = {"home": home, "ledger_url": ledger, **others}
    try:
        return Settings.model_validate(
            {name: value for name, value in flags.items() if value is not None}
        )
    except ValidationError as error:
        raise HostError("\n".join(wrong_settings(error))) from None


@contextmanager
def opened_ledger(settings: Settings, *, may_create: bool = False) -> Generator[StoredLedger]:
    """Open the ledger for one command.

    Raises:
        HostError: if there is none yet and the command has nothing to write to it.
    """
    if not may_create and not has_ledger(settings):
        raise no_ledger(settings)
    ledger = open_ledger(settings)
    try:
        yield ledger
    finally:
        ledger.close()


def parse_scope(text: str, flag: str) -> Scope:
    """Read a scope; a wrong one is wrong usage of the flag."""
    try:
        return Scope.parse(text)
    except ScopeError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None


def parse_rule_scope(text: str, flag: str) -> Scope:
    """Read the scope of a rule: unlike a payer's value, a `*` in it must be a whole value."""
    try:
        return checked_wildcards(Scope.parse(text))
    except ScopeError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None


def parse_instant(text: str, flag: str) -> datetime:
    """Read an ISO date or time; without a zone it is UTC."""
    try:
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is no time; write 2030-01-31T00:00:00Z"
        raise typer.BadParameter(message, param_hint=flag) from None


def parse_duration(text: str, flag: str) -> timedelta:
    """Read a duration such as `90s`, `30m`, `24h`, `7d` or `2w`."""
    match = _DURATION.fullmatch(text)
    seconds = 0 if match is None else int(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= DURATION_SECONDS_MAX:
        message = f"{text!r} is no duration up to ten years; write it like 24h or 7d"
        raise typer.BadParameter(message, param_hint=flag)
    return timedelta(seconds=seconds)


def parse_start(text: str, now: datetime, flag: str) -> datetime:
    """Read when something starts: a date, a time, or how long ago, such as `7d`."""
    is_ago = _DURATION.fullmatch(text) is not None
    return now - parse_duration(text, flag) if is_ago else parse_instant(text, flag)


def system_user() -> str:
    """Return who runs this command, for the records of what was changed."""
    user_id = os.getuid()
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:  # a container's user needs no name
        return f"uid {user_id}"


def parse_pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    """Read repeated `name=value` flags."""
    pairs: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"{text!r}: write it like name=value", param_hint=flag)
        if name in pairs:
            raise typer.BadParameter(f"{name!r} is named twice", param_hint=flag)
        pairs[name] = value
    return pairs
