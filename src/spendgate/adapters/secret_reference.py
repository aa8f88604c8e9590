"""Secrets that a policy refers to: an environment variable, a file, a secret of the workspace."""

import base64
from pathlib import Path

from pydantic import SecretStr

from spendgate.config import secret_named
from spendgate.errors import CredentialsError

SECRET_BYTES_MAX = 16_384
WORKSPACE_SECONDS = 10.0


def read_secret(reference: str, what: str) -> SecretStr:
    """Return what `env:NAME`, `file:PATH` or `secret:SCOPE/KEY` holds, without white space around.

    Raises:
        CredentialsError: names `what` and what is wrong, never the place or what it holds: who
            wrote the secret itself there would find it in a log.
    """
    scheme, _, place = reference.partition(":")
    read = {"env": _from_environment, "file": _from_file, "secret": _from_workspace}[scheme]
    text = read(place, what).strip()
    if not text or not text.isprintable():
        raise CredentialsError(f"{what}: is empty or no single line of text")
    return SecretStr(text)


def _from_environment(name: str, what: str) -> str:
    secret = secret_named(name)
    if secret is None:
        raise CredentialsError(f"{what}: its environment variable isn't set")
    return secret.get_secret_value()


def _from_file(path: str, what: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(SECRET_BYTES_MAX)
    except OSError as error:
        raise CredentialsError(f"{what}: its file can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CredentialsError(f"{what}: its file isn't text") from None


def _from_workspace(place: str, what: str) -> str:
    scope, _, key = place.partition("/")
    # Half a second to load, so only where needed.
    from spendgate.adapters.workspace import SDK_ERRORS, workspace_client  # noqa: PLC0415

    try:
        value = workspace_client(WORKSPACE_SECONDS).secrets.get_secret(scope, key).value or ""
        return base64.b64decode(value, validate=True).decode()
    except SDK_ERRORS as error:
        # Their messages may name hosts and tokens.
        raise CredentialsError(
            f"{what}: the workspace doesn't give its secret: {type(error).__name__}"
        ) from None
