"""Settings for child processes, through the environment: arguments show in every process list."""

import json
import os
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from pydantic import AliasChoices, SecretStr, ValidationError

from spendgate.config import Settings

LIKENESS = 0.8
"""From here on (difflib's ratio) a variable looks like a setting's: HELD_WAIT, SIGNINGKEY."""


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which `Settings()` reads these settings again, secrets included."""
    variables: dict[str, str] = {}
    for name in type(settings).model_fields:
        value: object = getattr(settings, name)
        if value is not None:
            variables[_own_name(name)] = _text(value)
    return variables


def misspelt_settings() -> dict[str, str]:
    """Return variables that nobody reads, each with the setting that it looks like.

    Others that begin so may be keys which a policy names.
    """
    known = _setting_names()
    unread = [name for name in os.environ if name.startswith("SPENDGATE_") and name not in known]
    near = {name: get_close_matches(name, known, n=1, cutoff=LIKENESS) for name in sorted(unread)}
    return {name: found[0] for name, found in near.items() if found}


def _setting_names() -> set[str]:
    names = {_own_name(name) for name in Settings.model_fields}
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names.update(map(str, field.validation_alias.choices))
    return names


def variable_of(setting: str) -> str:
    """Name the variable that fills a setting: ours, or the recipe's where only that one is set.

    `setting` is the field's name or its own variable's.
    """
    own = setting.upper() if setting.upper().startswith("SPENDGATE_") else _own_name(setting)
    field = Settings.model_fields.get(own.removeprefix("SPENDGATE_").lower())
    alias = None if field is None else field.validation_alias
    names = map(str, alias.choices) if isinstance(alias, AliasChoices) else ()
    return next((name for name in names if name in os.environ), own)


def wrong_settings(error: ValidationError, given: Collection[str] = ()) -> list[str]:
    """Say what is wrong with each setting by its variable, never its value: it may be secret.

    Those that were `given` by name, and not by a variable, are named so.
    """
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        f"{_place(one['loc'], given)}: {one['msg'].removeprefix('Value error, ')}" for one in found
    ]


def _place(loc: tuple[int | str, ...], given: Collection[str]) -> str:
    if not loc:
        return "a setting"
    name = str(loc[0])
    return name if name in given else variable_of(name)


def without_settings(kept: Collection[str] = ()) -> list[str]:
    """Return the start of a command that doesn't see the caller's settings, but those kept.

    A run has its own; a signing key in the caller's shell would refuse the whole crowd.
    """
    names = sorted(_setting_names())
    return ["env", *(part for name in names if name not in kept for part in ("-u", name))]


def _own_name(field: str) -> str:
    return f"SPENDGATE_{field.upper()}"


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, (tuple, list, dict)):
        return json.dumps(value)
    return str(value)
