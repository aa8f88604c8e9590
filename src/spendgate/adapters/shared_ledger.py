"""A ledger that many hosts share, opened from its URL."""

import logging
from collections.abc import Callable, Mapping

from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.postgres_store import PostgresStore, PostgresTerms
from spendgate.adapters.postgres_url import POSTGRES_SCHEMES, parse_postgres_url
from spendgate.adapters.secret_reference import read_secret
from spendgate.config import Settings
from spendgate.errors import CredentialsError, HostError, LedgerUnavailableError

LAKEBASE_SCHEME = "lakebase://"
SECRET_SCHEME = "secret:"  # noqa: S105 - a scheme
"""A URL with a password, kept in a secret scope of the workspace."""

_log = logging.getLogger(__name__)


def open_shared_ledger(settings: Settings) -> PostgresLedger:
    """Open the ledger of the settings' URL, making its tables if there are none.

    Raises:
        HostError: if the URL can't be read or has a scheme that this version doesn't know.
        LedgerUnavailableError: if the server can't be reached or lets nobody in.
        LedgerBrokenError: if the tables are of a newer version, or can't be made.
    """
    terms = PostgresTerms(
        pool_max=settings.ledger_pool_max,
        timeout_seconds=settings.ledger_timeout_seconds,
        lifetime_seconds=settings.ledger_connection_seconds,
    )
    store = PostgresStore(_parameters(settings), terms)
    store.open()  # a server that can't be used is reported now, not at the first call
    ledger = PostgresLedger(store)
    _log.info("a durable commit of the ledger takes %.1f ms", ledger.commit_seconds() * 1000)
    return ledger


def _parameters(settings: Settings) -> Callable[[], Mapping[str, str]]:
    url, seconds = settings.ledger_location, settings.ledger_timeout_seconds
    if url.startswith(SECRET_SCHEME):
        try:
            url = read_secret(url, "the ledger's URL").get_secret_value()
        except CredentialsError as error:
            raise LedgerUnavailableError(str(error)) from None
    if url.startswith(POSTGRES_SCHEMES):
        given = parse_postgres_url(url)
        return lambda: given
    if url.startswith(LAKEBASE_SCHEME):
        # The SDK takes a while to load, and only Lakebase needs it.
        from spendgate.adapters.lakebase import (  # noqa: PLC0415
            LakebaseParameters,
            parse_lakebase_url,
        )
        from spendgate.adapters.workspace import workspace_client  # noqa: PLC0415

        return LakebaseParameters(
            parse_lakebase_url(url),
            lambda: workspace_client(seconds),
            timeout_seconds=settings.upstream_token_seconds,
        )
    scheme = url.partition(":")[0] if ":" in url else ""
    raise HostError(
        f"ledger URL scheme {scheme!r} isn't known; use sqlite:///path/ledger.db, "
        "postgresql://…, lakebase://… or secret:SCOPE/KEY"
    )
