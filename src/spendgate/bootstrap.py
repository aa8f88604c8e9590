"""The one place that wires settings to adapters and the gate.

HTTP, JWT, Postgres and Delta are imported where they are wired: together they take half a second,
and a command that only looks at an embedded ledger needs none of them.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import uuid_utils

from spendgate.adapters.budget_admin import BudgetAdmin
from spendgate.adapters.policy_import import NOTHING_IMPORTED, PolicyImport, import_policy
from spendgate.adapters.policy_notes import policy_notes
from spendgate.adapters.policy_source import default_budget, load_policy, names_default_budget
from spendgate.adapters.price_book import load_price_book, parse_price_row
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.stored_policy import Author, DefaultBudget
from spendgate.adapters.tokenizer_file import counters_of
from spendgate.adapters.unheld_folder import UnheldFolder
from spendgate.config import SQLITE_SCHEME, Settings
from spendgate.domain.price import PriceBook
from spendgate.domain.table import SPEND_EVENTS
from spendgate.domain.upstream import UpstreamKind
from spendgate.errors import HostError, LedgerBrokenError, PriceError
from spendgate.gateway.drain import FlushReport, flush_outbox
from spendgate.gateway.terms import Terms

if TYPE_CHECKING:
    from spendgate.adapters.async_openai_upstream import AsyncOpenAIUpstream
    from spendgate.adapters.delta_sink import DeltaSink
    from spendgate.adapters.model_server import ModelServer
    from spendgate.adapters.openai_upstream import OpenAIUpstream
    from spendgate.adapters.upstream_pools import AsyncUpstreamPools, UpstreamPools
    from spendgate.gateway.gateway import Gateway
    from spendgate.gateway.ports import Telemetry, TokenMinter, TokenVerifier, Upstream

_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time; the only clock of a running host."""
    return datetime.now(UTC)


def new_request_id() -> str:
    """Return a time-ordered random id (UUIDv7)."""
    return str(uuid_utils.uuid7())


def open_ledger(settings: Settings) -> StoredLedger:
    """Open the ledger that the settings name, creating its file or tables if there are none.

    Raises:
        HostError: if the URL can't be read, or its store can't keep a budget here.
        LedgerUnavailableError: if the file can't be opened or the server can't be reached.
        LedgerBrokenError: if it is no ledger, or of another version.
    """
    if not settings.is_embedded:
        from spendgate.adapters.shared_ledger import open_shared_ledger  # noqa: PLC0415

        return open_shared_ledger(settings)
    if settings.in_model_serving:
        raise HostError(
            "an embedded ledger can't keep a budget inside Databricks Model Serving: its disk goes "
            "with the container, an update runs two containers, and jobs can't read it; set "
            "SPENDGATE_LEDGER_URL to lakebase://… or postgresql://…"
        )
    store = SqliteStore(
        Path(settings.ledger_location.removeprefix(SQLITE_SCHEME)),
        synchronous=settings.sqlite_synchronous,
        busy_seconds=settings.sqlite_busy_seconds,
    )
    ledger = SqliteLedger(store)
    store.session()  # a file that can't be used is reported now, not at the first call
    return ledger


def refuse_forgetting(settings: Settings, ledger: StoredLedger) -> None:
    """Refuse to serve from a new ledger beside tables that hold the spend of a lost one.

    Raises:
        LedgerBrokenError: naming the ways out.
    """
    if not isinstance(ledger, SqliteLedger) or ledger.was_used():
        return
    if any((settings.delta_folder / SPEND_EVENTS.name).glob("**/*.parquet")):
        raise LedgerBrokenError(
            f"the ledger {settings.ledger_location} is new, and the tables in "
            f"{settings.delta_folder} hold spend that it doesn't know: rebuild it from them with "
            "`spendgate audit --restore`, put a copy of the lost one in its place, or move the "
            "tables away to start from zero"
        )


def has_ledger(settings: Settings) -> bool:
    """Tell whether an embedded ledger's file exists; other ledgers answer when they are opened."""
    file = Path(settings.ledger_location.removeprefix(SQLITE_SCHEME))
    return not settings.is_embedded or file.exists()


def no_ledger(settings: Settings) -> HostError:
    """Return the error of a command or a job that needs a ledger where there is none."""
    return HostError(
        f"there is no ledger at {shown_ledger(settings)}; give --home or --ledger, or start "
        "with `spendgate budget import` or `spendgate serve`"
    )


def shown_ledger(settings: Settings) -> str:
    """Return the ledger's URL without anything that may be secret."""
    if settings.is_embedded:
        return settings.ledger_location
    from spendgate.adapters.postgres_url import shown_url  # noqa: PLC0415

    return shown_url(settings.ledger_location)


def open_price_book(settings: Settings, ledger: StoredLedger | None = None) -> PriceBook:
    """Return the shipped prices, the chosen overlays, and the ledger's own dated rows on top."""
    rows = [] if ledger is None else ledger.policies.prices()
    extra = [parse_price_row(json.loads(row), where="the ledger's prices") for row in rows]
    book = load_price_book(settings.price_overlays, extra)
    geos = {row.geo for row in book.rows}
    if settings.geo not in geos:
        known = ", ".join(sorted(geos))
        raise PriceError(f"SPENDGATE_GEO {settings.geo!r} names no prices; there are: {known}")
    return book


def build_admin(settings: Settings, ledger: StoredLedger) -> BudgetAdmin:
    """Wire the administration of a ledger's budgets."""
    return BudgetAdmin(ledger, lambda: open_price_book(settings, ledger), utc_now)


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """What a start did: what the file changed, or, without one, what became of the default."""

    imported: PolicyImport = NOTHING_IMPORTED
    default: DefaultBudget | None = None


def apply_policy(settings: Settings, ledger: StoredLedger) -> AppliedPolicy:
    """Bring the policy file into the ledger.

    Without a file, a ledger that never had a policy gets the budget of the `BUDGET_*` settings.
    While nobody changed it, a start that sets one of them brings it up to date; one that sets none
    leaves it, or another process on the same ledger would undo what a host was told.
    """
    book = open_price_book(settings, ledger)  # also without a file: wrong prices stop the start
    if settings.budgets_file is not None:
        now = utc_now()
        policy = load_policy(settings.budgets_file, book=book, at=now)
        for said in policy_notes(policy, book, now):
            _log.warning("%s: %s", settings.budgets_file.name, said)
        author = Author("policy file", settings.budgets_file.name)
        return AppliedPolicy(import_policy(ledger, author, policy, now))
    budget, may_change = default_budget(settings), names_default_budget(settings)
    return AppliedPolicy(default=ledger.policies.import_default(budget, may_change=may_change))


def build_gateway(
    settings: Settings,
    ledger: StoredLedger,
    pools: "UpstreamPools | None" = None,
    upstream: "Upstream | None" = None,
    telemetry: "Telemetry | None" = None,
) -> "Gateway":
    """Wire a gate over a ledger; `upstream` is its own model server, None: the settings'.

    Raises:
        HostError: if no upstream is named or a signing key can't be used.
    """
    from spendgate.gateway.gateway import Gateway  # noqa: PLC0415

    upstream = upstream or open_upstream(settings)
    named = ledger.policies.policy().upstreams
    if any(one.kind is UpstreamKind.DATABRICKS and one.key is None for one in named):
        import_module("spendgate.adapters.workspace_key")  # half a second, so not in a call
    if upstream is None and not named:
        raise HostError(
            "no model server: give --upstream URL, set SPENDGATE_UPSTREAM_URL, or name upstreams "
            "in the policy file"
        )
    return Gateway(
        ledger,
        upstream,
        lambda: open_price_book(settings, ledger),
        servers=(pools or open_pools(settings)).of,
        clock=utc_now,
        new_id=new_request_id,
        verifier=build_verifier(settings),
        counters_of=counters_of,
        unheld=UnheldFolder(settings.home),
        telemetry=telemetry,
        terms=Terms(
            geo=settings.geo,
            default_max_tokens=settings.default_max_tokens,
            expected_output_tokens=settings.expected_output_tokens,
            held_wait_seconds=settings.held_wait_seconds,
            hold_seconds=settings.hold_seconds,
            bills_5xx=settings.upstream_bills_5xx,
            answers_kept_max=settings.answers_kept_max,
            answers_bytes_max=settings.answers_bytes_max,
            draining_max=settings.draining_max,
        ),
    )


def open_pools(settings: Settings) -> "UpstreamPools":
    """Return the clients of the policy's servers; each is opened when it is first called."""
    from spendgate.adapters.model_server import limits_of, named_server  # noqa: PLC0415
    from spendgate.adapters.upstream_pools import UpstreamPools  # noqa: PLC0415

    limits = limits_of(settings)
    return UpstreamPools(lambda spec: named_server(spec, limits))


def open_async_pools(settings: Settings) -> "AsyncUpstreamPools":
    """Return the same for an event loop."""
    from spendgate.adapters.model_server import limits_of, named_server  # noqa: PLC0415
    from spendgate.adapters.upstream_pools import AsyncUpstreamPools  # noqa: PLC0415

    limits = limits_of(settings)
    return AsyncUpstreamPools(lambda spec: named_server(spec, limits))


def _own_server(settings: Settings) -> "ModelServer | None":
    from spendgate.adapters.model_server import limits_of, own_server  # noqa: PLC0415

    if settings.upstream_url is None:
        return None
    return own_server(settings.upstream_url, settings.upstream_api_key, limits_of(settings))


def open_upstream(settings: Settings) -> "OpenAIUpstream | None":
    """Open the model server's client for threads.

    Raises:
        HostError: if the URL or the key can't be used.
    """
    from spendgate.adapters.openai_upstream import OpenAIUpstream  # noqa: PLC0415

    own = _own_server(settings)
    return None if own is None else OpenAIUpstream(own)


def open_async_upstream(settings: Settings) -> "AsyncOpenAIUpstream | None":
    """Open the model server's client for an event loop.

    Raises:
        HostError: if the URL or the key can't be used.
    """
    from spendgate.adapters.async_openai_upstream import AsyncOpenAIUpstream  # noqa: PLC0415

    own = _own_server(settings)
    return None if own is None else AsyncOpenAIUpstream(own)


def build_verifier(settings: Settings) -> "TokenVerifier | None":
    """Return what checks spend tokens; None where no key is configured.

    Raises:
        HostError: if a key can't be used.
    """
    from spendgate.adapters.signing_keys import KEY_BYTES_MIN, read_signing_keys  # noqa: PLC0415
    from spendgate.adapters.spend_token import SpendTokenVerifier, TokenNames  # noqa: PLC0415

    keys = read_signing_keys(settings)
    if keys is None:
        return None
    if any(key.is_short for key in keys.keys):
        _log.warning("a signing key has under %d bytes and can be guessed", KEY_BYTES_MIN)
    return SpendTokenVerifier(keys, TokenNames(settings.token_audience, settings.token_issuer))


def build_minter(settings: Settings) -> "TokenMinter | None":
    """Return what signs spend tokens; None where no key is configured, or public ones only.

    Raises:
        HostError: if a key can't be used.
    """
    from spendgate.adapters.signing_keys import read_signing_keys  # noqa: PLC0415
    from spendgate.adapters.spend_token import SpendTokenMinter, TokenNames  # noqa: PLC0415

    keys = read_signing_keys(settings)
    if keys is None or not keys.can_sign:
        return None
    return SpendTokenMinter(keys, TokenNames(settings.token_audience, settings.token_issuer))


def build_caller(settings: Settings) -> Callable[[], Mapping[str, str]] | None:
    """Return what asks Model Serving who calls; None where that isn't switched on.

    Raises:
        HostError: if it can't be asked here.
    """
    if not settings.on_behalf_of_user:
        return None
    if not settings.in_model_serving:
        raise HostError(
            "SPENDGATE_ON_BEHALF_OF_USER works inside Databricks Model Serving only: elsewhere the "
            "SDK would take this host's own credentials for its caller's"
        )
    try:
        from spendgate.adapters.databricks_caller import DatabricksCaller  # noqa: PLC0415
    except ImportError:
        raise HostError(
            "SPENDGATE_ON_BEHALF_OF_USER needs databricks-ai-bridge: install spendgate[databricks]"
        ) from None
    return DatabricksCaller(timeout_seconds=settings.caller_timeout_seconds)


def hosts_deliver(settings: Settings) -> bool:
    """Tell whether hosts deliver the outbox; with a shared ledger a job does."""
    chosen = settings.host_flushes
    return settings.is_embedded if chosen is None else chosen


def drain_outbox(
    ledger: StoredLedger, settings: Settings, sink: "DeltaSink | None" = None
) -> FlushReport | None:
    """Deliver the outbox to the home's Delta tables; None if another process is doing it.

    Who does it again and again keeps the sink, which then knows that its tables are there.

    Raises:
        SinkUnavailableError: if the sink can't take a batch now; nothing is lost.
    """
    sink = sink or open_sink(settings)
    with sink.sole_flusher() as is_sole:
        if not is_sole:
            return None
        sink.create_tables()
        limit = settings.flush_events_max
        return flush_outbox(ledger.outbox, sink, ledger.ledger_id, limit)


def open_sink(settings: Settings) -> "DeltaSink":
    """Return the sink of the home's Delta tables."""
    from spendgate.adapters.delta_sink import DeltaSink  # noqa: PLC0415

    return DeltaSink(settings.delta_folder)
