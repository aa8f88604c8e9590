"""The live page's figures on both stores: right, and bounded whatever the ledger holds."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.integration.ledger.conftest import SQLITE, Till

from spendgate.adapters.standing import standing
from spendgate.app.live_figures import (
    BUCKETS,
    EVENTS_MAX,
    NAME_MAX,
    REFUSALS_MAX,
    SERIES_MAX,
    VALUES_MAX,
    budget_rows,
    latest,
)
from spendgate.domain.budget import Claim
from spendgate.domain.decision import Position
from spendgate.domain.event import DecisionRecord

SESSIONS = 100_000


def _multiply_balances(till: Till) -> None:
    """Give 100,000 sessions a balance each, as a crowd would leave them."""
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SESSIONS}) "
        if till.place.startswith(SQLITE)
        else f"WITH n AS (SELECT i FROM generate_series(1, {SESSIONS}) AS g(i)) "
    )
    till.tamper(
        "INSERT INTO balance (bal_id, budget_id, scope_value, period, spent, touched_at) "
        f"{numbers} SELECT 1000000 + i, 'each', 's-' || CAST(i AS text), period, i, touched_at "
        "FROM n, balance WHERE scope_value = 's-0'"
    )


def test_of_many_sessions_the_dearest_are_shown(till: Till) -> None:
    till.budget("each", "session:*", 1_000_000)
    till.budget("whole", "all", 2_000_000)
    till.reserve("h1", 5, scopes={"session": "s-0"})
    _multiply_balances(till)

    rows = budget_rows(till.ledger, till.noon)

    assert len(rows) == VALUES_MAX
    assert rows[0]["scopeKey"] == f"s-{SESSIONS}"
    assert rows[0]["spent"] == pytest.approx(SESSIONS / 10**9)
    ratios = [float(str(row["used_ratio"])) for row in rows]
    assert ratios == sorted(ratios, reverse=True)


def test_the_api_lists_the_dearest_of_many_sessions_and_asks_for_no_other_budget(
    till: Till,
) -> None:
    till.budget("each", "session:*", 1_000_000)
    till.budget("whole", "all", 2_000_000)
    till.reserve("h1", 5, scopes={"session": "s-0"})
    _multiply_balances(till)
    asked: list[int] = []

    class Asked:
        policies = till.ledger.policies
        balances = till.ledger.balances

        def positions(self, claims: Sequence[Claim]) -> Sequence[Position]:
            asked.append(len(claims))
            return till.ledger.positions(claims)

    each = standing(Asked(), till.noon, budget_id="each", values_max=1000)
    whole = standing(Asked(), till.noon, budget_id="whole", values_max=1000)

    assert {row["scope"] for row in each} == {
        f"session:s-{number}" for number in range(SESSIONS - 999, SESSIONS + 1)
    }
    assert [row["scope"] for row in whole] == ["all"]
    assert asked == [1000, 1]


def test_a_budget_over_everything_has_a_star_for_its_key(till: Till) -> None:
    till.budget("whole", "all", 1000)
    till.reserve("h1", 100, scopes={"user": "ann"})
    till.settle("h1", 40)

    (row,) = budget_rows(till.ledger, till.noon)

    assert (row["scopeKey"], row["spent_usd"], row["status"]) == ("*", "0.000000040", "ok")
    assert (row["soft_cap"], row["hard_cap"], row["used_ratio"]) == (0.8, 1.0, 0.04)


def test_a_removed_budget_has_no_row(till: Till) -> None:
    till.budget("each", "user:*", 1000)
    till.reserve("h1", 100, scopes={"user": "ann"})
    till.ledger.policies.remove_budget("each")

    assert budget_rows(till.ledger, till.noon) == []


def test_spend_over_time_names_the_dearest_and_sums_to_all(till: Till) -> None:
    till.budget("each", "user:*", 10**9)
    for number in range(12):
        scopes = {"user": f"u-{number}" if number else "x" * 200}
        till.reserve(f"h{number}", 100, scopes=scopes)
        till.settle(f"h{number}", 10 + number, till.noon + timedelta(seconds=number))

    figures = latest(till.ledger, "user", till.noon + timedelta(minutes=2))

    series = figures["series"]
    assert isinstance(series, list)
    names = [one["name"] for one in series]
    assert names[:SERIES_MAX] == [f"u-{n}" for n in range(11, 11 - SERIES_MAX, -1)]
    assert names[SERIES_MAX:] == ["(others)"]
    assert all(len(one["usd"]) == BUCKETS for one in series)
    total = sum(round(float(usd) * 10**9) for one in series for usd in one["usd"])
    assert total == sum(10 + number for number in range(12))
    assert figures["events"] == 12 <= EVENTS_MAX


def test_the_last_refusals_come_newest_first_with_short_names(till: Till) -> None:
    records = [
        DecisionRecord(
            f"d{n}", till.noon + timedelta(seconds=n), {"agent": "a" * 256}, "m" * 9000, "refuse",
            "budget_exhausted", "each", needed_nano=n,
        )
        for n in range(REFUSALS_MAX + 5)
    ]  # fmt: skip
    till.ledger.record(records)
    till.ledger.record([DecisionRecord("d99", till.noon, {}, "m", "downgrade")])

    refusals = latest(till.ledger, "team", till.noon)["refusals"]

    assert isinstance(refusals, list)
    assert len(refusals) == REFUSALS_MAX
    assert refusals[0]["needed_usd"] == f"0.0000000{REFUSALS_MAX + 4}"
    assert max(len(refusals[0][name]) for name in ("who", "model")) == NAME_MAX


def test_an_empty_ledger_has_empty_figures(till: Till) -> None:
    figures = latest(till.ledger, "model", till.noon)

    assert budget_rows(till.ledger, till.noon) == []
    assert (figures["series"], figures["refusals"], figures["events"]) == ([], [], 0)
