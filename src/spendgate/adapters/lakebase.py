"""Lakebase Autoscaling as the ledger's Postgres: its host looked up, a token minted per connection.

A token is asked for at each connect, because it is checked only there and lives for an hour;
connections are renewed well before that (`ledger_connection_seconds`). The SDK asks for its own
OAuth token without a time-out (0.156: `oauth.retrieve_token`), so its work is waited for only so
long. Facts: reference/databricks.md §5.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from databricks.sdk import WorkspaceClient

from spendgate.adapters.bounded_wait import BoundedWait
from spendgate.adapters.per_process import PerProcess
from spendgate.adapters.workspace import SDK_ERRORS, sdk_reason
from spendgate.errors import HostError, LedgerUnavailableError

DATABASE = "databricks_postgres"
_ENDPOINT = re.compile(r"projects/[\w-]+/branches/[\w-]+/endpoints/[\w-]+")
_FORM = "write lakebase://projects/P/branches/B/endpoints/E?database=databricks_postgres&user=ROLE"
_PORT = "5432"
_HOST_SECONDS = 300.0
"""How long a host that was looked up is used."""


@dataclass(frozen=True, slots=True)
class LakebaseAddress:
    """What a Lakebase URL names."""

    endpoint: str
    database: str = DATABASE
    user: str | None = None


def parse_lakebase_url(url: str) -> LakebaseAddress:
    """Read a Lakebase URL.

    Raises:
        HostError: if it has another form.
    """
    parts = urlsplit(url)
    endpoint = f"{parts.netloc}{parts.path}".rstrip("/")
    if not _ENDPOINT.fullmatch(endpoint):
        raise HostError(f"the ledger URL names no Lakebase endpoint; {_FORM}")
    options = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - {"database", "user"})
    if unknown:
        raise HostError(f"the ledger URL's {unknown[0]!r} isn't known; {_FORM}")
    return LakebaseAddress(endpoint, options.get("database", DATABASE), options.get("user"))


class LakebaseParameters:
    """Connection parameters of an endpoint, with a new token each time they are asked for."""

    def __init__(
        self,
        address: LakebaseAddress,
        make_client: Callable[[], WorkspaceClient],
        *,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._address = address
        self._client = PerProcess(make_client)
        self._waits = PerProcess(lambda: BoundedWait(timeout_seconds))
        self._host = ""
        self._host_until = 0.0

    def __call__(self) -> dict[str, str]:
        """Return host, user and token.

        Raises:
            LedgerUnavailableError: if the workspace doesn't answer or refuses.
        """
        endpoint = self._address.endpoint
        try:
            host, token, client_id = self._waits.get()(self._look)
        except SDK_ERRORS as error:
            if isinstance(error, TimeoutError):
                self._client.take()  # it may hang with a lock of its own; the next is a new one
            raise LedgerUnavailableError(
                f"no token for Lakebase {endpoint}: {sdk_reason(error)}; check DATABRICKS_HOST, "
                "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, and that the service principal "
                "may use the project"
            ) from None
        user = self._address.user or client_id
        if not user or not token:
            raise LedgerUnavailableError(
                f"Lakebase {endpoint} has no user to connect as; add &user=ROLE to the ledger URL"
            )
        return {
            "host": host,
            "port": _PORT,
            "dbname": self._address.database,
            "user": user,
            "password": token,
            "sslmode": "require",
        }

    def _look(self) -> tuple[str, str | None, str | None]:
        """Return the endpoint's host, a new token, and whose it is."""
        client = self._client.get()
        host = self._known_host(client)
        endpoint = self._address.endpoint
        token = client.postgres.generate_database_credential(endpoint=endpoint).token
        return host, token, client.config.client_id

    def _known_host(self, client: WorkspaceClient) -> str:
        if time.monotonic() >= self._host_until:
            status = client.postgres.get_endpoint(self._address.endpoint).status
            host = status.hosts.host if status is not None and status.hosts is not None else None
            if not host:
                raise ValueError("the endpoint has no host; is it disabled?")
            self._host, self._host_until = host, time.monotonic() + _HOST_SECONDS
        return self._host
