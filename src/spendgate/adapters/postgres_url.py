"""Ledger URLs of Postgres: read strictly, and shown without their password."""

import re
from contextlib import suppress

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from spendgate.errors import HostError

_PORTS = re.compile(r"[\d,]*")
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
_FORM = (
    "write postgresql://USER:PASSWORD@HOST:5432/DATABASE, with special characters of the password "
    "percent-encoded; PGPASSWORD or a password file keep it out of the URL"
)


def parse_postgres_url(url: str) -> dict[str, str]:
    """Return the connection parameters of a URL.

    Raises:
        HostError: if it can't be read; nothing of it is repeated, a part may be of the password.
    """
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except ProgrammingError:
        raise HostError(f"the ledger URL can't be read; {_FORM}") from None
    # An unescaped @ or / of a password ends up in the host, the port or the database.
    is_torn = any("@" in found.get(name, "") for name in ("host", "dbname"))
    if is_torn or not _PORTS.fullmatch(found.get("port", "")):
        raise HostError(f"the ledger URL can't be read; {_FORM}")
    return found


def shown_url(url: str) -> str:
    """Return a ledger URL without anything that may be secret."""
    scheme, separator, _ = url.partition("://")
    if scheme == "lakebase" or url.startswith("secret:"):
        return url
    with suppress(HostError):
        if url.startswith(POSTGRES_SCHEMES):
            return f"postgresql://{address(parse_postgres_url(url))}"
    return f"{scheme}://…" if separator else "…"


def address(parameters: dict[str, str]) -> str:
    """Return `host:port/database` of connection parameters, as far as they name it."""
    port = parameters.get("port", "")
    host = parameters.get("host", "") + (f":{port}" if port else "")
    return f"{host}/{parameters.get('dbname', '')}"


def without_secret(text: str, secret: str | None) -> str:
    """Return a message on one line, with the password blotted out should it occur."""
    line = re.sub(r"\s+", " ", text).strip()
    return line.replace(secret, "***") if secret else line
