"""Settings for child processes, through the environment: arguments show in every process list."""

import json
from pathlib import Path

from pydantic import SecretStr

from spendgate.config import Settings


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which `Settings()` reads these settings again, secrets included."""
    variables: dict[str, str] = {}
    for name in type(settings).model_fields:
        value: object = getattr(settings, name)
        if value is not None:
            variables[f"SPENDGATE_{name.upper()}"] = _text(value)
    return variables


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, (tuple, list, dict)):
        return json.dumps(value)
    return str(value)
