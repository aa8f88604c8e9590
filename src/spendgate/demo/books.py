"""What the books say after a run: the provider's bill, the ledger, and the Delta tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

import httpx

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.statements import statements
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.demo.reckoning import Line, nano_of, period_of
from spendgate.errors import HostError
from spendgate.gateway.json_object import JsonObject, json_list, json_object

_DIMENSIONS = ("org", "team", "agent", "user", "session", "task")
_SQL = statements("demo/books.sql")


@dataclass(frozen=True, slots=True)
class Bill:
    """What the model server charged, nano-USD; `by_call` is by our `client_request_id`."""

    total_nano: int
    by_call: Mapping[str, int]
    by_model: Mapping[str, int]
    requests: int = 0
    """Calls that reached the model server, billed or not."""

    def since(self, before: "Bill") -> "Bill":
        """Return what was billed after an earlier look at the same bill."""
        return Bill(
            self.total_nano - before.total_nano,
            _difference(self.by_call, before.by_call),
            _difference(self.by_model, before.by_model),
            self.requests - before.requests,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `spend_events`, as far as the proof needs it."""

    event_id: str
    hold_id: str
    kind: str
    occurred_at: datetime
    cost_nano: int
    budget_ids: tuple[str, ...]
    payer: Mapping[str, str | None]
    """Value by dimension and by `tag.<name>`."""


@dataclass(frozen=True, slots=True)
class Books:
    """Ledger and Delta tables, nano-USD."""

    ledger_lines: Mapping[Line, int]
    held_nano: int
    journal_nano: int
    journal_events: int
    ledger_problems: tuple[str, ...]
    events: tuple[Event, ...]
    hourly_nano: int
    state_lines: Mapping[Line, int]
    refusals: tuple[tuple[str, str], ...]
    """Id and code of each decision that refused."""


def fetch_bill(url: str) -> Bill | None:
    """Ask a model server for its bill; None if it keeps none.

    Raises:
        HostError: if it doesn't answer.
    """
    try:
        answer = httpx.get(f"{url.rstrip('/').removesuffix('/v1')}/bill", trust_env=False)
    except httpx.TransportError as error:
        raise HostError(f"{url} doesn't answer: {type(error).__name__}") from None
    if answer.status_code != HTTPStatus.OK:
        return None
    try:
        return read_bill(json_object(answer.json()))
    except (KeyError, ValueError):
        return None


def read_bill(statement: JsonObject) -> Bill:
    """Read the JSON of `GET /bill`."""
    return Bill(
        total_nano=int(str(statement["total_nano_usd"])),
        by_call=_amounts(statement["by_client_request_id"]),
        by_model=_amounts(statement["by_model"]),
        requests=int(str(statement["requests"])),
    )


def read_books(home: Path) -> Books:
    """Read a home whose events are drained and aggregated."""
    settings = Settings(home=home)
    ledger = open_ledger(settings)
    try:
        balances, audit = ledger.balances(), ledger.audit()
    finally:
        ledger.close()
    delta = settings.delta_folder
    states = {
        Line(
            str(row["budget_id"]),
            str(row["scope_value"]),
            period_of(str(row["window"]), _instant(row["window_start"])),
        ): nano_of(row["spent_usd"])
        for row in query_rows(delta, _SQL["states"])
    }
    return Books(
        ledger_lines={
            Line(one.budget_id, one.scope_value, one.period): one.spent_nano for one in balances
        },
        held_nano=sum(one.held_nano for one in balances),
        journal_nano=audit.spent_nano,
        journal_events=audit.events,
        ledger_problems=audit.problems,
        events=read_events(delta),
        hourly_nano=nano_of(query_rows(delta, _SQL["hourly_total"])[0]["total"]),
        state_lines=states,
        refusals=tuple(
            (str(row["decision_id"]), str(row["code"]))
            for row in query_rows(delta, _SQL["refusals"])
        ),
    )


def read_events(delta: Path) -> tuple[Event, ...]:
    """Read every spend event of a folder of Delta tables."""
    return tuple(_event(row) for row in query_rows(delta, _SQL["events"]))


def _event(row: JsonObject) -> Event:
    tags = {f"tag.{name}": str(value) for name, value in json_object(row["tags"]).items()}
    occurred_at = _instant(row["occurred_at"])
    assert occurred_at is not None  # noqa: S101 - a required column; this tells the types
    return Event(
        event_id=str(row["event_id"]),
        hold_id=str(row["hold_id"]),
        kind=str(row["kind"]),
        occurred_at=occurred_at,
        cost_nano=nano_of(row["cost_usd"]),
        budget_ids=tuple(map(str, json_list(row["budget_ids"]))),
        payer={**{name: _text(row[f"{name}_id"]) for name in _DIMENSIONS}, **tags},
    )


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    changes = {name: nano - before.get(name, 0) for name, nano in after.items()}
    return {name: nano for name, nano in changes.items() if nano}


def _amounts(value: object) -> dict[str, int]:
    return {name: int(str(amount)) for name, amount in json_object(value).items()}


def _instant(value: object) -> datetime | None:
    return None if value is None else datetime.fromisoformat(str(value))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
