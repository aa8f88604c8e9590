"""Holds that callers end themselves, on either store: reserved by one gate, ended by another."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from spendgate.adapters.budget_codec import parse_budget
from spendgate.adapters.price_book import parse_price_row
from spendgate.domain.budget import Policy
from spendgate.domain.price import PriceBook
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import UpstreamNotSent
from spendgate.gateway.reply import Reply
from spendgate.gateway.wire import CHAT, Host

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

BOOK = PriceBook(
    (
        parse_price_row(
            {
                "model": "big",
                "kind": "chat",
                "effective_from": "2026-01-01T00:00:00Z",
                "usd_per_million": {"input": "3", "output": "15"},
                "caches_implicitly": False,
                "source": "test",
            }
        ),
    )
)
USAGE = {"prompt_tokens": 20, "completion_tokens": 5}
COST_NANO = 20 * 3_000 + 5 * 15_000
BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


class NoModel:
    """Stands where a model server is; callers call theirs themselves."""

    name = "none"

    def call(self, route: str, body: object) -> UpstreamNotSent:
        raise AssertionError("the gate has called a model")

    stream = call


class Caller:
    """A caller with a gate of its own over the shared ledger."""

    def __init__(self, till: "Till", name: str) -> None:
        self.till = till
        self.now = datetime(2026, 3, 10, 12, tzinfo=UTC)
        ids = (f"{name}-{number}" for number in itertools.count(1))
        self.gateway = Gateway(
            till.ledger, NoModel(), lambda: BOOK, clock=lambda: self.now, new_id=lambda: next(ids)
        )

    def reserve(self) -> str:
        own = {"operation": "reserve", "model": "big", "user": "alice"}
        reply = self.gateway.handle(CHAT, {**BODY, "custom_inputs": own}, host=Host.ENDPOINT)
        assert reply.status == 200, reply.body
        return str(reply.body["hold_id"])

    def end(self, operation: str, hold_id: str, **fields: object) -> Reply:
        own = {"operation": operation, "hold_id": hold_id, **fields}
        return self.gateway.handle(CHAT, {"custom_inputs": own}, host=Host.ENDPOINT)

    @property
    def money(self) -> tuple[int, int]:
        rows = self.till.ledger.balances()
        return sum(one.spent_nano for one in rows), sum(one.held_nano for one in rows)


@pytest.fixture
def callers(open_till: Callable[..., "Till"]) -> list[Caller]:
    tills = [open_till(), open_till()]
    row = {"id": "users", "scope": {"user": "*"}, "limit_usd": 10, "window": "day"}
    tills[0].ledger.policies.import_policy(Policy(budgets=(parse_budget(row, where="test"),)))
    return [Caller(till, f"c{number}") for number, till in enumerate(tills)]


def test_another_gate_settles_voids_and_repeats(callers: list[Caller]) -> None:
    here, there = callers
    settled, voided = here.reserve(), here.reserve()

    first = there.end("settle", settled, usage=USAGE)
    again = here.end("settle", settled, usage=USAGE)
    released = there.end("void", voided)

    assert [one.body["changed"] for one in (first, again, released)] == [True, False, True]
    assert here.money == (COST_NANO, 0)
    spend: Any = first.body["spend"]
    assert spend["budgets"][0]["spent_usd"] == "0.000135000"


def test_a_late_settlement_corrects_what_expired(callers: list[Caller]) -> None:
    here, there = callers
    hold = here.reserve()
    there.till.ledger.sweep(here.now + timedelta(hours=2))
    assert here.money[0] > COST_NANO

    late = there.end("settle", hold, usage=USAGE)

    assert (late.body["state"], late.body["changed"]) == ("settled", True)
    assert here.money == (COST_NANO, 0)


def test_of_many_ends_at_once_one_counts(callers: list[Caller]) -> None:
    hold = callers[0].reserve()

    with ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(lambda n: callers[n % 2].end("settle", hold, usage=USAGE), range(16))
        )

    assert [one.status for one in replies] == [200] * 16
    assert sum(one.body["changed"] is True for one in replies) == 1
    assert callers[0].money == (COST_NANO, 0)
