"""Two model servers over real HTTP, one failing: bills agree with the ledger, within budgets."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from spendgate.domain.hold import EventKind

if TYPE_CHECKING:
    from tests.integration.upstreams.conftest import OpenedHost, Simulated

MODEL, CHEAPER = "databricks-meta-llama-3-3-70b-instruct", "databricks-gpt-oss-20b"
WAYS = ["threads", "event loop"]
CALLS = 40


def calls(count: int, model: str = MODEL, **fields: Any) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": f"question {number}"}],
            "max_tokens": 200,
            "custom_inputs": {"user": f"u-{number % 3}"},
            **fields,
        }
        for number in range(count)
    ]


def policy(limit_usd: str, *servers: "Simulated", **fields: Any) -> dict[str, Any]:
    names = ("first", "second")
    return {
        "budgets": [{"id": "all", "scope": {}, "limit_usd": limit_usd, "window": "day"}],
        "upstreams": {
            name: {"url": server.url} for name, server in zip(names, servers, strict=False)
        },
        **fields,
    }


def billed(*servers: "Simulated") -> Counter[str]:
    """Return what all providers bill, by the hold that each call was sent with."""
    found: Counter[str] = Counter()
    for server in servers:
        found.update(server.bill()["by_client_request_id"])
    return found


def requests(*servers: "Simulated") -> int:
    return sum(server.bill()["requests"] for server in servers)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [429, 404])
def test_failing_calls_are_answered_by_the_second_server_and_billed_once(
    open_host: Callable[..., "OpenedHost"], simulator: Any, way: str, status: int
) -> None:
    causes = {"retries": {"causes": ["connect", 429, "5xx", "denied"]}}
    with simulator(simulate={"status": status}) as first, simulator() as second:
        host = open_host(policy("5", first, second, router=causes))

        replies = host.ask(way, calls(CALLS))

        bill, sent = billed(first, second), requests(first, second)
    assert [reply.status for reply in replies] == [200] * CALLS
    events = host.events()
    assert {event.hold_id: event.cost_nano for event in events if event.cost_nano} == bill
    assert host.spent_nano == sum(bill.values())
    assert host.held_nano == 0
    # No call reached a server without a hold of its own.
    assert sent == len({event.hold_id for event in events}) == 2 * CALLS
    assert Counter((event.facts.upstream, event.kind) for event in events) == {
        ("first", EventKind.VOIDED): CALLS,
        ("second", EventKind.SETTLED): CALLS,
    }
    told = sum(round(float(reply.body["spend"]["cost_usd"]) * 10**9) for reply in replies)  # type: ignore[index]
    assert told == host.spent_nano


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bills", [True, False])
def test_retries_of_billed_failures_never_pass_the_budget(
    open_host: Callable[..., "OpenedHost"], simulator: Any, way: str, bills: bool
) -> None:
    failing = {"status": 503, "bill_on_error": bills}
    retries = {"retries": {"attempts_max": 4, "backoff_seconds": 0.001}}
    with simulator(simulate=failing) as first, simulator() as second:
        host = open_host(policy("0.01", first, second, router=retries))

        (alone,) = host.ask(way, calls(1))
        replies = host.ask(way, calls(CALLS))

        bill, sent = billed(first, second), requests(first, second)
    events = host.events()
    by_hold = {event.hold_id: event.cost_nano for event in events}
    assert sent == len(by_hold)
    assert all(bill[hold] <= cost for hold, cost in by_hold.items())
    assert set(bill) <= set(by_hold)
    assert sum(bill.values()) <= host.spent_nano == sum(by_hold.values()) <= 10_000_000
    assert host.held_nano == 0
    assert alone.status == 200
    assert {reply.status for reply in replies} <= {200, 402, 429, 503}
    assert any(reply.status != 200 for reply in replies)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_is_down_is_passed_over_for_nothing(
    open_host: Callable[..., "OpenedHost"], simulator: Any, way: str
) -> None:
    with simulator() as down:
        pass
    with simulator() as second:
        host = open_host(policy("5", down, second))

        replies = host.ask(way, calls(8))

        bill = billed(second)
    assert [reply.status for reply in replies] == [200] * 8
    assert host.spent_nano == sum(bill.values()) > 0
    assert replies[0].body["spend"]["failed_attempts"][0]["cost_usd"] == "0.000000000"  # type: ignore[index]


@pytest.mark.parametrize("way", WAYS)
def test_a_fallback_model_is_billed_at_its_own_price(
    open_host: Callable[..., "OpenedHost"], simulator: Any, way: str
) -> None:
    with simulator(simulate={"status": 429}) as first, simulator() as second:
        described = policy("5", first, second, router={"fallbacks": {MODEL: [CHEAPER]}})
        described["upstreams"]["first"]["models"] = [MODEL]
        described["upstreams"]["second"]["models"] = [CHEAPER]
        host = open_host(described)

        replies = host.ask(way, calls(8))

        assert second.bill()["by_model"].keys() == {CHEAPER}
        assert host.spent_nano == sum(billed(first, second).values()) > 0
    assert {reply.body["spend"]["model_served"] for reply in replies} == {CHEAPER}  # type: ignore[index]


@pytest.mark.parametrize("way", WAYS)
def test_the_cheapest_candidate_serves_routed_calls(
    open_host: Callable[..., "OpenedHost"], simulator: Any, way: str
) -> None:
    router = {"strategy": "cost_optimized", "candidates": [MODEL, CHEAPER]}
    with simulator() as only:
        host = open_host(policy("5", only, router=router))

        host.ask(way, calls(8, "auto"))

        assert only.bill()["by_model"].keys() == {CHEAPER}
        assert host.spent_nano == sum(billed(only).values()) > 0


def test_a_server_is_sent_its_own_name_and_key(
    open_host: Callable[..., "OpenedHost"], simulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "k-1")
    with simulator() as only:
        described = policy("5")
        described["upstreams"] = {
            "mine": {"url": only.url, "key": "env:MY_KEY", "aliases": {MODEL: CHEAPER}}
        }
        host = open_host(described)

        (reply,) = host.ask("threads", calls(1))

        assert only.bill()["by_model"].keys() == {CHEAPER}
    assert reply.status == 200


def test_a_key_that_is_missing_sends_nothing_and_costs_nothing(
    open_host: Callable[..., "OpenedHost"], simulator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with simulator() as only:
        described = policy("5")
        described["upstreams"] = {"mine": {"url": only.url, "key": "env:NOBODY_HAS_SET_THIS"}}
        host = open_host(described)

        replies = [host.ask(way, calls(1))[0] for way in WAYS]

        assert requests(only) == 0
    assert [reply.status for reply in replies] == [502, 502]
    assert host.spent_nano == 0
    assert "the key of upstream 'mine'" in caplog.text
    assert "NOBODY" not in caplog.text


def test_a_policy_that_moves_a_server_moves_the_next_call(
    open_host: Callable[..., "OpenedHost"], simulator: Any
) -> None:
    with simulator() as first, simulator() as second:
        host = open_host(policy("5", first))
        host.ask("threads", calls(1))

        moved = open_host(policy("5", second))
        moved.ledger.close()
        host.ask("threads", calls(1))

        assert (requests(first), requests(second)) == (1, 1)
