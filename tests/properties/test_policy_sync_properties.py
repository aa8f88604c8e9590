"""Whatever is edited where, one sync makes table and ledger agree, and a second finds no work."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from spendgate.adapters.budget_table import name_of, row_name, row_of_rule, rule_of_row
from spendgate.adapters.policy_sync_plan import SyncPlan, plan_sync
from spendgate.domain.budget import Budget, Policy, Raise, parse_window
from spendgate.domain.policy_tables import BUDGETS
from spendgate.domain.price import PriceBook
from spendgate.domain.scope import Scope

AT = datetime(2026, 3, 10, tzinfo=UTC)
BOOK = PriceBook(())
Row = dict[str, object]


def row(**given: object) -> Row:
    """Return a row as somebody writes it in SQL."""
    return {**dict.fromkeys(BUDGETS.column_names), **given}


def budget(name: str, usd: int, source: str = "people") -> Budget:
    scope = Scope.parse(f"agent:{name}")
    return Budget(name, scope, usd * 10**9, parse_window("month"), source=source)


NAMES = st.sampled_from("abc")
USD = st.integers(1, 3)
ROWS = st.lists(
    st.one_of(
        st.builds(lambda n, usd: row_of_rule(budget(n, usd), AT), NAMES, USD),
        st.builds(
            lambda n, usd: row(
                budget_id=n, raise_id=f"r-{n}", raise_usd=Decimal(usd), reason="why"
            ),
            NAMES,
            USD,
        ),
        st.builds(lambda n: row(budget_id=n, scope="agent:a", limit_usd=Decimal(-1)), NAMES),
    ),
    max_size=5,
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a policy whose raises all have a budget."""
    limits = draw(st.dictionaries(NAMES, USD, max_size=3))
    sources = st.sampled_from(["people", "file"])
    budgets = tuple(budget(name, usd, draw(sources)) for name, usd in limits.items())
    raised = draw(st.sets(st.sampled_from(sorted(limits)))) if limits else set[str]()
    raises = tuple(
        Raise(f"r-{name}", name, draw(USD) * 10**9, "why", source="people") for name in raised
    )
    return Policy(budgets, raises)


def applied(plan: SyncPlan, rows: list[Row], policy: Policy) -> tuple[list[Row], Policy]:
    """Do what a plan says, as the job does."""
    put = {name_of(rule): row_of_rule(rule, AT) for rule in plan.table_put}
    kept = [
        one for one in rows if row_name(one) not in put and row_name(one) not in plan.table_removed
    ]
    rules: dict[str, Budget | Raise] = {
        name_of(rule): rule for rule in (*policy.budgets, *policy.raises)
    }
    for rule in plan.edit.removed:
        rules = {
            name: one
            for name, one in rules.items()
            if name != name_of(rule)
            and (isinstance(rule, Raise) or one.budget_id != rule.budget_id)
        }
    rules |= {name_of(rule): rule for rule in plan.edit.put}
    return [*kept, *put.values()], replace(
        policy,
        budgets=tuple(one for one in rules.values() if isinstance(one, Budget)),
        raises=tuple(one for one in rules.values() if isinstance(one, Raise)),
    )


def synced(
    rows: list[Row], policy: Policy, base: dict[str, str]
) -> tuple[SyncPlan, list[Row], Policy]:
    plan = plan_sync(rows, policy, base, file=Policy(), book=BOOK, at=AT)
    return plan, *applied(plan, rows, policy)


@given(ROWS, policies(), ROWS, policies())
def test_one_sync_makes_both_sides_agree_and_a_second_finds_no_work(
    rows: list[Row], policy: Policy, rows_then: list[Row], policy_then: Policy
) -> None:
    first, _, _ = synced(rows, policy, {})
    plan, table, ledger = synced(rows_then, policy_then, dict(first.base))

    again, _, _ = synced(table, ledger, dict(plan.base))

    assert again.edit.put == again.edit.removed == again.table_put == again.table_removed == ()
    assert again.base == plan.base
    assert again.problems == plan.problems
    wrong = {text.split(": ")[1] for text in plan.problems}
    good = {name: rule_of_row(one) for one in table if (name := row_name(one)) not in wrong}
    owned = {
        name_of(one): replace(one, source="people") for one in (*ledger.budgets, *ledger.raises)
    }
    assert good == {name: rule for name, rule in owned.items() if name not in wrong}
    assert {one.budget_id for one in ledger.raises} <= {one.budget_id for one in ledger.budgets}


@given(ROWS, policies())
def test_a_run_killed_between_table_and_ledger_is_completed_by_the_next(
    rows: list[Row], policy: Policy
) -> None:
    plan, table, ledger = synced(rows, policy, {})

    late, _, late_ledger = synced(table, policy, {})

    assert late.table_put == late.table_removed == ()
    assert late_ledger == ledger
    assert late.base == plan.base
