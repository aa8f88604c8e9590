"""Webhooks in, over a real ledger: what is booked once, what is refused, nothing half."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from spendgate.adapters.policy_source import load_policy
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.app.webhook_routes import HELICONE, USAGE, WebhookKeys, WebhookRoutes
from spendgate.bootstrap import open_price_book
from spendgate.config import Settings
from spendgate.domain.scope import Scope
from spendgate.errors import HostError, LedgerUnavailableError

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
HELICONE_SECRET, KEY = "helicone's secret of the tests", b"sixteen bytes and more of a key"
KEYS = WebhookKeys(HELICONE_SECRET.encode(), KEY)
BUDGETS = """
budgets:
  - {id: users, scope: {user: "*"}, limit_usd: 10, window: day}
  - {id: all, scope: all, limit_usd: 100, window: month}
  - {id: acme, scope: {org: acme}, limit_usd: 50, window: month}
"""
SPEND: dict[str, Any] = {
    "scopeType": "user",
    "scopeKey": "ann",
    "cost": 0.25,
    "requestId": "req-1",
    "provider": "OPENAI",
    "modelId": "gpt-4o",
    "inputTokens": 100,
    "outputTokens": 20,
}
USED: dict[str, Any] = {"scope": {"org": "acme", "user": "ann"}, "cost_usd": "0.5"}


class Desk:
    """The routes over a ledger, and what the ledger then has."""

    def __init__(self, ledger: SqliteLedger, keys: WebhookKeys = KEYS, now: datetime = NOW) -> None:
        self.ledger = ledger
        routes = WebhookRoutes(keys, lambda: ledger, lambda: now).routes()
        self.client = TestClient(Starlette(routes=routes))

    def helicone(self, content: Any, signature: str | None = None) -> Any:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        signed = hmac.new(HELICONE_SECRET.encode(), raw, hashlib.sha256).hexdigest()
        headers = {"helicone-signature": signed if signature is None else signature}
        return self.client.post(HELICONE, content=raw, headers=headers)

    def usage(self, content: Any, name: str = "msg_1", at: datetime = NOW, **more: str) -> Any:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        timestamp = str(int(at.timestamp()))
        digest = hmac.new(KEY, f"{name}.{timestamp}.".encode() + raw, hashlib.sha256).digest()
        headers = {
            "webhook-id": name,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
            **{one.replace("_", "-"): value for one, value in more.items()},
        }
        return self.client.post(USAGE, content=raw, headers=headers)

    def spent(self, payer: str = "org:acme,user:ann") -> dict[str, int]:
        policy = self.ledger.policies.policy()
        claims = policy.claims(Scope.parse(payer).identity, NOW)
        return {one.claim.budget.budget_id: one.spent_nano for one in self.ledger.positions(claims)}

    def events(self) -> list[Any]:
        return list(self.ledger.outbox.latest_events(100))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(SqliteStore(tmp_path / "ledger.db"))
    file = tmp_path / "budgets.yml"
    file.write_text(BUDGETS)
    made.policies.import_policy(load_policy(file, book=open_price_book(Settings()), at=NOW))
    yield made
    made.close()


@pytest.fixture
def desk(ledger: SqliteLedger) -> Desk:
    return Desk(ledger)


def test_what_helicone_tells_is_charged_once_to_every_budget_that_covers_it(desk: Desk) -> None:
    first = desk.helicone(SPEND)

    assert (first.status_code, first.json()) == (
        200,
        {
            "adjustment_id": "helicone:req-1",
            "changed": True,
            "amount_usd": "0.250000000",
            "budgets": ["all", "users"],
        },
    )
    # The same, though written another way.
    again = desk.helicone(json.dumps(SPEND, indent=2).replace("0.25", '"0.250"').encode())
    assert (again.status_code, again.json()) == (200, {**first.json(), "changed": False})
    other = desk.helicone({**SPEND, "cost": 0.26})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "already_exists")
    assert desk.spent() == {"users": 250_000_000, "all": 250_000_000, "acme": 0}
    (event,) = desk.events()
    assert (event.kind, event.cost_nano, event.facts.model) == ("external", 250_000_000, "gpt-4o")
    assert (event.facts.upstream, event.facts.scopes) == ("OPENAI", {"user": "ann"})
    assert (event.charge.usage.input_tokens, event.charge.usage.output_tokens) == (100, 20)
    assert (event.charge.note.actor, event.charge.usage_source) == ("webhook:helicone", "external")
    assert desk.ledger.audit().problems == ()


def test_a_cost_finer_than_a_nano_dollar_is_rounded_up(desk: Desk) -> None:
    told = desk.helicone(json.dumps(SPEND).replace("0.25", "1.23456789012e-4").encode())
    used = desk.usage({**USED, "cost_usd": "0.0000000001"})

    assert told.json()["amount_usd"] == "0.000123457"
    assert used.json()["amount_usd"] == "0.000000001"


def test_any_meter_may_say_when_and_for_whom_money_was_spent(desk: Desk) -> None:
    yesterday = (NOW - timedelta(days=1)).isoformat()
    used = {**USED, "occurred_at": yesterday, "model": "whisper", "reason": "transcripts"}

    told = desk.usage(used).json()
    again = desk.usage(used, at=NOW + timedelta(seconds=299)).json()

    assert told["budgets"] == ["acme", "all", "users"]
    assert (told["changed"], again["changed"]) == (True, False)
    # Yesterday's day is another window than today's; the month is the same.
    assert desk.spent() == {"users": 0, "all": 500_000_000, "acme": 500_000_000}
    (event,) = desk.events()
    assert event.facts.occurred_at == NOW - timedelta(days=1)
    assert (event.charge.note.reason, event.charge.usage) == ("transcripts", None)
    assert desk.usage({**used, "reason": "other"}).status_code == 409
    assert desk.usage(used, "msg_2").json()["changed"]


def test_what_another_clock_says_is_to_come_is_spent_now(ledger: SqliteLedger) -> None:
    late = NOW.replace(hour=23, minute=58)
    tomorrow = late + timedelta(minutes=4)
    desk = Desk(ledger, now=late)

    told = desk.usage({**USED, "occurred_at": tomorrow.isoformat()}, at=late).json()

    assert told["changed"]
    # The window of today, not of tomorrow.
    assert desk.spent() == {"users": 500_000_000, "all": 500_000_000, "acme": 500_000_000}
    (event,) = desk.events()
    assert event.facts.occurred_at == late


@pytest.mark.parametrize(
    "change",
    [
        {"input_tokens": 11},
        {"output_tokens": 3},
        {"input_tokens": 2, "output_tokens": 10},
        {"model": "other"},
        {"provider": "other"},
        {"cost_usd": "0.6"},
        {"scope": {"org": "acme"}},
        {"occurred_at": NOW.isoformat()},
    ],
)
def test_a_name_that_was_used_for_another_spend_is_a_conflict(
    desk: Desk, change: dict[str, Any]
) -> None:
    used = {**USED, "model": "whisper", "provider": "x", "input_tokens": 10, "output_tokens": 2}
    assert desk.usage(used).json()["changed"]

    answer = desk.usage({**used, **change})

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_exists")
    assert not desk.usage(used).json()["changed"]
    assert len(desk.events()) == 1


def test_a_repeat_is_told_what_was_booked_when_its_budgets_are_gone(desk: Desk) -> None:
    first = desk.helicone(SPEND).json()
    desk.ledger.policies.remove_budget("users")
    desk.ledger.policies.remove_budget("all")

    assert desk.helicone(SPEND).json() == {**first, "changed": False}
    refused = desk.helicone({**SPEND, "requestId": "req-2"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "scopeKey")
    assert "no budget covers user:ann" in refused.json()["message"]


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"cost": -0.01}, "cost", "must not be negative"),
        ({"cost": float("nan")}, "cost", "isn't a finite number"),
        ({"cost": "NaN"}, "cost", "not a finite amount"),
        ({"cost": "-0.0000000001"}, "cost", "must not be negative"),
        ({"cost": None}, "cost", "USD as a number or text"),
        ({"cost": True}, "cost", "USD as a number or text"),
        ({"cost": 9_200_000_001}, "cost", "more than a ledger holds"),
        ({"cost": "lots"}, "cost", "not a money amount"),
        ({"scopeType": "users"}, "scopeType", "must be one of org, team"),
        ({"scopeType": ["user"]}, "scopeType", "must be one of"),
        ({"scopeKey": "*"}, "scopeKey", "name who pays"),
        ({"scopeKey": 7}, "scopeKey", "must be a string"),
        ({"requestId": ""}, "requestId", "1 to 100"),
        ({"requestId": "a#1"}, "requestId", "1 to 100"),
        ({"inputTokens": -1}, "inputTokens", "from 0"),
        ({"outputTokens": 1.5}, "outputTokens", "whole number"),
        ({"modelId": 4}, "modelId", "must be a string"),
        ({"provider": " "}, "provider", "is empty"),
        ({"scopeType": "agent", "scopeKey": "x\u0000"}, "scopeKey", "control"),
    ],
)
def test_helicone_is_told_which_field_is_wrong_and_nothing_is_booked(
    desk: Desk, change: dict[str, Any], field: str, problem: str
) -> None:
    answer = desk.helicone({**SPEND, **change})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert problem in answer.json()["message"]
    assert desk.events() == []


def test_no_digit_of_a_cost_is_lost_unseen(desk: Desk) -> None:
    # As a float this would be 1.0.
    raw = json.dumps(SPEND).replace("0.25", "1.00000000000000000001").encode()

    assert desk.helicone(raw).json()["amount_usd"] == "1.000000001"


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"cost_usd": "-1"}, "cost_usd", "must not be negative"),
        ({"scope": "user:*"}, "scope", "name who pays"),
        ({"scope": "all"}, "scope", "name who pays"),
        ({"scope": {"users": "ann"}}, "scope", "unknown scope"),
        ({"scope": None}, "scope", "must say who pays"),
        ({"scope": {"org": "other"}, "cost": 1}, "cost", "there is no field"),
        ({"occurred_at": "2026-03-14T12:00:00"}, "occurred_at", "with its zone"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at", "with its zone"),
        ({"occurred_at": 1}, "occurred_at", "with its zone"),
        ({"occurred_at": "2026-03-14T12:06:00Z"}, "occurred_at", "yet to come"),
        ({"occurred_at": "2024-03-14T12:06:00Z"}, "occurred_at", "days ago"),
        ({"reason": "a\nb"}, "reason", "printable"),
        ({"reason": 1}, "reason", "printable"),
        ({"reason": "x" * 501}, "reason", "1 to 500"),
    ],
)
def test_another_meter_is_told_which_field_is_wrong_and_nothing_is_booked(
    desk: Desk, change: dict[str, Any], field: str, problem: str
) -> None:
    answer = desk.usage({**USED, **change})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert problem in answer.json()["message"]
    assert desk.events() == []


def test_a_forged_signature_is_refused_before_anything_is_parsed(desk: Desk) -> None:
    signed = hmac.new(HELICONE_SECRET.encode(), b"{}", hashlib.sha256).hexdigest()
    for body, signature in ((SPEND, signed), (SPEND, ""), (b"no JSON", "é"), (b"[", "00")):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers: Any = {"helicone-signature": signature.encode("latin-1")}
        answer = desk.client.post(HELICONE, content=raw, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_signature")
    assert desk.client.post(HELICONE, json=SPEND).status_code == 401
    assert desk.events() == []


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"webhook_signature": "v1,AAAA"}, "webhook-signature"),
        ({"webhook_signature": ""}, "webhook-signature"),
        ({"webhook_id": "msg_2"}, "webhook-signature"),
        ({"webhook_id": ""}, "webhook-id"),
        ({"webhook_timestamp": "soon"}, "webhook-timestamp"),
        ({"webhook_timestamp": str(int(NOW.timestamp()) + 1)}, "webhook-signature"),
    ],
)
def test_another_meter_without_our_key_is_refused(
    desk: Desk, more: dict[str, str], field: str
) -> None:
    answer = desk.usage(USED, "msg_1", NOW, **more)

    assert (answer.status_code, answer.json()["error"]["param"]) == (401, field)
    assert desk.events() == []


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_request_from_another_time_is_refused(desk: Desk, seconds: int) -> None:
    answer = desk.usage(USED, at=NOW + timedelta(seconds=seconds))

    assert (answer.status_code, answer.json()["error"]["param"]) == (401, "webhook-timestamp")
    assert desk.events() == []


def test_one_of_several_signatures_is_enough_while_a_key_is_replaced(desk: Desk) -> None:
    raw, timestamp = json.dumps(USED).encode(), str(int(NOW.timestamp()))
    digest = hmac.new(KEY, f"m.{timestamp}.".encode() + raw, hashlib.sha256).digest()
    good = f"v1,{base64.b64encode(digest).decode()}"

    assert desk.usage(raw, "m", webhook_signature=f"v1,b2xk {good}").json()["changed"]


def test_a_body_that_can_t_be_read_is_told_so(desk: Desk) -> None:
    large = json.dumps({**SPEND, "more": "x" * 70_000}).encode()
    posts: tuple[Callable[[bytes], Any], ...] = (desk.helicone, desk.usage)
    for post in posts:
        statuses = [post(raw).status_code for raw in (b"{", b"[]", b"\xff", b"", large)]
        assert statuses == [400, 400, 400, 400, 413]
    headers = {"content-type": "text/plain"}
    assert desk.client.post(HELICONE, content=b"{}", headers=headers).status_code == 415
    assert desk.client.get(HELICONE).status_code == 405
    assert desk.events() == []


def test_without_a_secret_a_webhook_is_off(ledger: SqliteLedger) -> None:
    empty = Settings(helicone_webhook_secret=SecretStr(""), webhook_secret=SecretStr(""))
    for keys in (WebhookKeys(), WebhookKeys.of(empty)):
        desk = Desk(ledger, keys)
        for answer in (desk.helicone(SPEND), desk.usage(USED)):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "webhook_disabled")
    assert Desk(ledger).events() == []


def test_a_secret_that_can_be_guessed_stops_the_start_and_is_not_shown() -> None:
    with pytest.raises(HostError, match="SPENDGATE_WEBHOOK_SECRET: a key has at least 16") as told:
        WebhookKeys.of(Settings(webhook_secret=SecretStr("hunter2")))
    assert "hunter2" not in str(told.value)
    read = WebhookKeys.of(Settings(webhook_secret=SecretStr("whsec_" + "YWJj" * 8)))
    assert (read.usage, "abc" in repr(read)) == (b"abc" * 8, False)


def test_while_the_ledger_is_away_the_sender_is_asked_to_repeat(ledger: SqliteLedger) -> None:
    def away() -> Any:
        raise LedgerUnavailableError("the ledger is away")

    client = TestClient(Starlette(routes=WebhookRoutes(KEYS, away, lambda: NOW).routes()))
    desk = Desk(ledger)
    desk.client = client

    for answer in (desk.helicone(SPEND), desk.usage(USED)):
        assert (answer.status_code, answer.json()["retryable"]) == (503, True)
