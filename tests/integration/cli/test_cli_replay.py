"""`spendgate replay` over a home's real tables."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Run

from spendgate.adapters import past_spend as past_spend_module
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.past_spend import past_spend
from spendgate.domain.event import CallFacts, Charge, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.usage import TokenUsage
from spendgate.gateway.past_call import PastCall, PastRefusal
from spendgate.gateway.ports import EventBatch

START = datetime(2026, 3, 10, 12, tzinfo=UTC)
MODEL = "databricks-claude-haiku-4-5"
SMALL = "budgets: [{id: each, scope: {agent: '*'}, limit_usd: 2.5, window: day, fit: false}]"


def event(number: int, minutes: int, usd: int, kind: EventKind = EventKind.SETTLED) -> SpendEvent:
    at = START + timedelta(minutes=minutes)
    facts = CallFacts(1, at, {"agent": "bot"}, MODEL, MODEL, "s", "global", "v", "allow", ("each",))
    charge = Charge(TokenUsage(input_tokens=10, output_tokens=10))
    hold, nano = f"h{number}#1", usd * 10**9
    reserved = 10**9 if kind is EventKind.SETTLED else 0
    return SpendEvent(f"{hold}:{kind}", hold, kind, at, facts, charge, reserved, nano)


@pytest.fixture
def tables(home: Path) -> Path:
    """Four calls of a dollar, a minute each; one is corrected; one was refused before them."""
    events = [event(number, number, 1) for number in range(4)]
    events.append(event(1, 1, -1, EventKind.CORRECTED))
    refusal = DecisionRecord(
        "d1", START - timedelta(minutes=1), {"agent": "bot"}, MODEL, "refuse", "budget_exhausted",
        "each", 1, 1, 0, 10**9, None,
    )  # fmt: skip
    other = DecisionRecord("d2", START, {"agent": "bot"}, MODEL, "refuse", "scope_paused")
    step = DecisionRecord("d3", START, {"agent": "bot"}, MODEL, "downgrade", None, "each")
    sink = DeltaSink(home / "delta")
    sink.append("l", EventBatch(1, (*events[2:], *events[:2]), (step, other, refusal)))
    return home / "delta"


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "try.yml").write_text(text)
        return str(tmp_path / "try.yml")

    return write


@pytest.mark.usefixtures("tables")
def test_a_policy_is_tried_on_past_spend_and_nothing_changes(
    run: Run, policy: Callable[[str], str], home: Path
) -> None:
    before = sorted(path.name for path in home.rglob("*"))

    report = run("replay", "--policy", policy(SMALL), "--json").json

    # The refused call goes first now, and then there is room for one more.
    assert report["calls"] == 5
    assert report["past"] == {
        "allow": 4, "fit": 0, "downgrade": 0, "refuse": 1, "usd": "3.000000000",
    }  # fmt: skip
    assert report["replayed"] == {
        "allow": 2, "fit": 0, "downgrade": 0, "refuse": 3, "usd": "2.000000000",
    }  # fmt: skip
    assert report["newly_admitted"] == {"calls": 1, "usd_at_most": "1.000000000"}
    assert report["not_replayed"] == {"scope_paused": 1}
    (each,) = report["budgets"]
    assert each["first_refused"] == "agent:bot"
    assert sorted(path.name for path in home.rglob("*")) == before
    shown = run("replay", "--policy", policy(SMALL))
    assert "calls are decided the same" in shown.out
    assert "a refused agent might have stopped" in shown.err


def test_the_loop_guard_is_named_among_what_isnt_replayed(
    run: Run, policy: Callable[[str], str], tables: Path
) -> None:
    refused = DecisionRecord("d4", START, {"agent": "bot"}, MODEL, "refuse", "loop_detected")
    DeltaSink(tables).append("l", EventBatch(2, (), (refused,)))
    guarded = f"defaults: {{loop_guard: {{repeats: 1, minutes: 9}}}}\n{SMALL}"

    replayed = run("replay", "--policy", policy(guarded), "--json").json
    told = run("replay", "--policy", policy(guarded)).err

    assert replayed["not_replayed"] == {"scope_paused": 1, "loop_detected": 1}
    assert "loop_detected" not in replayed["refusals"]
    assert "loop guards aren't replayed, because requests aren't kept" in told


@pytest.mark.usefixtures("tables")
def test_a_part_of_the_past_begins_with_what_its_windows_had_spent(
    run: Run, policy: Callable[[str], str]
) -> None:
    arguments = ("replay", "--policy", policy(SMALL), "--json")

    part = run(*arguments, "--since", "2026-03-10T12:03:00Z", "--until", "2026-03-10T12:04").json

    # Two dollars were spent before; the fourth call doesn't fit the half that is left.
    assert (part["calls"], part["replayed"]["refuse"]) == (1, 1)
    assert part["refusals"] == {"budget_exhausted": 1}


def test_rows_are_read_in_order_however_few_at_once(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_spend_module, "ROWS_AT_ONCE", 1)

    found = list(past_spend(tables, None, None))

    assert [one.at for one in found] == sorted(one.at for one in found)
    calls = [one for one in found if isinstance(one, PastCall)]
    assert [one.cost_nano // 10**9 for one in calls] == [1, 0, 1, 1]
    refused = [one.record.code for one in found if isinstance(one, PastRefusal)]
    assert refused == ["budget_exhausted", "scope_paused"]


def test_wrong_use_is_named(run: Run, policy: Callable[[str], str]) -> None:
    file = policy(SMALL)

    assert "there is no table spend_events" in run("replay", "--policy", file, code=1).err
    wrong = ("replay", "--policy", file, "--since", "2026-02-01", "--until", "2026-01-01")
    assert "--since must be before --until" in run(*wrong, code=2).err
    assert (
        "limit_usd: -1" in run("replay", "--policy", policy(SMALL.replace("2.5", "-1")), code=1).err
    )
