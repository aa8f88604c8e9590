"""Rows of the tables that people edit in SQL: what they mean, and what is wrong with them."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from spendgate.adapters.budget_table import row_of_rule, rule_of_row, rule_text
from spendgate.adapters.policy_sync_plan import plan_sync
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.price_sync_plan import plan_prices
from spendgate.adapters.price_table import rows_of_price
from spendgate.adapters.statements import statements
from spendgate.domain.budget import Budget, Policy, Raise, parse_window
from spendgate.domain.policy_tables import BUDGETS, PRICES
from spendgate.domain.scope import Scope
from spendgate.errors import PolicyError

AT = datetime(2026, 3, 10, tzinfo=UTC)
BOOK = load_price_book()
Row = dict[str, object]


def row(**given: object) -> Row:
    return {**dict.fromkeys(BUDGETS.column_names), **given}


def price_row(**given: object) -> Row:
    needed = {"effective_from": AT, "usd_per_million": Decimal("1.5"), "model": "new"}
    return {**dict.fromkeys(PRICES.column_names), **needed, **given}


def budget(name: str, **more: object) -> Budget:
    given = {"scope": Scope.parse("user:*"), "limit_nano": 10**9, "source": "people", **more}
    return Budget(budget_id=name, window=parse_window("month"), **given)  # type: ignore[arg-type]  # any field


def test_a_row_that_names_the_least_has_the_defaults_of_the_policy_file() -> None:
    found = rule_of_row(row(budget_id="each", scope="user:*", limit_usd=Decimal(1)))

    assert found == budget("each")


def test_every_column_comes_back_as_it_was_written() -> None:
    full = row(
        budget_id="full", scope="org:acme,task:*", limit_usd=Decimal("5.5"), window="day",
        tz="Europe/Berlin", rollover_max_usd=Decimal(2), soft_cap=0.7, hard_cap=0.9,
        auto_downgrade='[{"from": ["big"], "to": "small"}]', disable_tools=["web_search"],
        alerts=[0.5, 1.0], routes=["ops"], mode="shadow", bound="counted", fit=False,
        min_output_tokens=64, trust={"task": "asserted"}, refusal="in_band",
        on_client_abort="close", on_store_error="allow", expires_at=AT,
        loop_guard='{"repeats": 5, "minutes": 10}',
    )  # fmt: skip
    raised = row(budget_id="full", raise_id="r", raise_usd=Decimal(3), reason="why", expires_at=AT)
    idle = row(
        budget_id="i", scope="session:*", limit_usd=Decimal(1), window="lifetime", idle_ttl="3d"
    )

    for given in (full, raised, idle):
        rule = rule_of_row(given)
        written = row_of_rule(rule, AT)
        assert rule_of_row(written) == rule
        named = {name: value for name, value in given.items() if value is not None}
        assert {name: written[name] for name in named} == named
        assert (written["owner"], written["synced_at"]) == ("people", AT)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"scope": "user:*"}, "table budgets: budget x: limit_usd: is required"),
        (
            {"scope": "users:*", "limit_usd": Decimal(1), "window": "fortnight"},
            "table budgets: budget x: window:",
        ),
        (
            {"scope": "all", "limit_usd": Decimal(1), "loop_guard": "5"},
            "budget x: loop_guard:",
        ),
        (
            {"scope": "all", "limit_usd": Decimal(1), "auto_downgrade": "{"},
            "budget x: auto_downgrade: is not JSON",
        ),
        (
            {"scope": "all", "limit_usd": Decimal(1), "reason": "why"},
            "budget x: reason: is a raise's column",
        ),
        ({"raise_usd": Decimal(1), "reason": "why"}, "raise_id: is required"),
        ({"raise_id": "r", "reason": "why"}, "raise r: amount_usd: is required"),
        (
            {"raise_id": "r", "raise_usd": Decimal(1), "reason": "why", "limit_usd": Decimal(1)},
            "raise r: limit_usd: is a budget's column",
        ),
    ],
)
def test_a_wrong_row_is_named_by_budget_and_field(given: Row, problem: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(problem)):
        rule_of_row(row(budget_id="x", **given))


def test_what_is_wrong_beside_the_others_is_named_and_the_rest_goes_on() -> None:
    twice = row(budget_id="twice", scope="user:*", limit_usd=Decimal(1))
    step = '[{"from": ["databricks-claude-sonnet-4-5"], "to": "nonesuch"}]'
    dear = row(budget_id="dear", scope="user:*", limit_usd=Decimal(1), auto_downgrade=step)
    orphan = row(budget_id="god", raise_id="r1", raise_usd=Decimal(1), reason="why")
    huge = row(budget_id="good", raise_id="r2", raise_usd=Decimal("9.2e9"), reason="why")
    good = row(budget_id="good", scope="user:*", limit_usd=Decimal(1))

    plan = plan_sync(
        [twice, twice, dear, orphan, huge, good], Policy(), {}, file=Policy(), book=BOOK, at=AT
    )

    assert plan.edit.put == (budget("good"),)
    texts = "\n".join(sorted(plan.problems))
    assert "budget twice: stands 2 times" in texts
    assert "'nonesuch' has no price" in texts
    assert "raise r1: budget_id: there is no such budget; did you mean good?" in texts
    assert "more than a ledger can hold" in texts
    assert len(plan.problems) == 4


def test_the_files_row_takes_the_place_of_a_persons_that_was_deleted() -> None:
    mine, files = budget("b", limit_nano=5 * 10**9), budget("b", source="file")
    before = plan_sync([], Policy((mine,)), {}, file=Policy(), book=BOOK, at=AT)

    plan = plan_sync([], Policy((mine,)), before.base, file=Policy((files,)), book=BOOK, at=AT)

    assert plan.edit.put == plan.table_put == (files,)


def test_a_cut_of_a_restored_ledger_never_reaches_the_table() -> None:
    cut = Raise("cut", "b", -5, "unseen", source="cut")

    plan = plan_sync([], Policy((budget("b"),), (cut,)), {}, file=Policy(), book=BOOK, at=AT)

    assert plan.table_put == (budget("b"),)
    assert plan.edit.put == plan.edit.removed == ()


def test_the_text_of_a_rule_says_nothing_of_its_owner() -> None:
    assert rule_text(budget("b")) == rule_text(budget("b", source="file"))


def test_the_shipped_prices_come_back_from_the_table_as_they_are() -> None:
    rows = [one for price in BOOK.rows for one in rows_of_price(price)]

    plan = plan_prices(rows, BOOK)

    assert (plan.to_ledger, plan.filled_in, plan.table_rows, plan.problems) == ((), (), (), ())


def test_new_prices_reach_the_book_and_changed_ones_are_refused() -> None:
    old = rows_of_price(BOOK.rows[0])
    changed = [{**one, "usd_per_million": Decimal(9)} for one in old]
    new = [price_row(token_class="input"), price_row(token_class="output")]
    half = [price_row(model="half", token_class="input")]
    double = [price_row(model="double", token_class="input")] * 2

    plan = plan_prices([*changed, *new, *half, *double], BOOK)

    assert plan.book.has("new", AT)
    assert [one["model"] for one in plan.filled_in] == ["new", "new"]
    assert {one["price_version"] for one in plan.filled_in} == {plan.book.rows[-1].version}
    texts = sorted(plan.problems)
    assert "token_class input stands twice" in texts[1]
    assert "append-only" in texts[0]
    assert "usd_pico has no output rate" in texts[2]
    assert len(texts) == 3


def test_the_statements_name_every_column() -> None:
    sql = statements("delta/sync_policies.sql")

    for table, name in ((BUDGETS, "merge_budgets"), (PRICES, "fill_in_prices")):
        (listed,) = re.findall(r"STRUCT\((.*?)\)\)", sql[name], re.DOTALL)
        assert re.findall(r"t\.(\w+)", listed) == list(table.column_names)
