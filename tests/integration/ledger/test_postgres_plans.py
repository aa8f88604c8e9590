"""How Postgres runs the ledger's statements when its tables have grown since it planned them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from spendgate.adapters.statements import statements

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

    from spendgate.adapters.postgres_pool import PostgresSession

pytestmark = pytest.mark.parametrize("place", ["postgres"], indirect=True)
ROWS_MAX = 10
VERBS = statements("postgres/verbs.sql")
MORE_BALANCES = """
INSERT INTO balance (bal_id, budget_id, scope_value, period, touched_at)
SELECT n, 'day', 'u' || n, '2026-03-14', 0 FROM generate_series(1000, 4000) AS n
"""
MORE_HOLDS = """
INSERT INTO hold (origin, hold_id, fp, state, amount, bals, facts, expires_at)
SELECT '', 'h' || n, '', 'held', 0, ARRAY[n], '{}', 0 FROM generate_series(1000, 4000) AS n
"""
WRITES = ("reserve", "end_all", "move_balances", "end_holds")
KEYS = "'{day,day,day}', '{u1007,u3999,ann}', '{2026-03-14,2026-03-14,2026-03-14}'"

RESERVE = (
    KEYS.replace("ann", "new")
    + ", '{1,1,1}', '{1,1,1}'"
    + ", '{9,9,9}', '{9,9,9}', '{0,0,0}', 2, '{n1,n2}', '', '{n1,n2}', '{a,b}', '{0,0}'"
    + """, '{"{1,2}","{3}"}', E'f\\nf', '{0,0}'"""
)


def rows_touched(node: dict[str, Any]) -> Iterator[float]:
    """Each node's rows, those that it looked at in vain included, however often it ran."""
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
    yield (node["Actual Rows"] + removed) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from rows_touched(child)


def written(node: dict[str, Any]) -> Iterator[float]:
    """How many rows each change of the statement was given."""
    if node["Node Type"] == "ModifyTable":
        yield node["Plans"][0]["Actual Rows"]
    for child in node.get("Plans", ()):
        yield from written(child)


def run_locked(session: "PostgresSession", sql: str) -> list[tuple[Any, ...]]:
    """Run a statement whose rows are all locked by its transaction; nothing of it stays."""
    session.execute("BEGIN")
    session.execute("SELECT 1 FROM hold FOR UPDATE")
    session.execute("SELECT 1 FROM balance FOR UPDATE")
    cursor = session.execute(sql)
    rows = cursor.fetchall() if cursor.description else []
    session.round_trip(("ROLLBACK", ()))
    return rows


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("lock_balances", KEYS),
        ("lock_known_balances", KEYS),
        ("read_balances", KEYS),
        ("reserve_head", "'{h1007,h3999}'"),
        ("reserve", RESERVE),
        ("move_balances", "'{1007,3999}', '{0,0}', '{0,0}', '{0,0}', '{0,0}'"),
        ("lock_holds", "'{h1007,h3999}'"),
        ("lock_ends", "'{h1007,h3999}'"),
        ("lock_balances_by_id", "'{1007,3999}'"),
        ("end_all", "'{h1007,h3999}', '{voided,voided}', '{0,0}', E'c\\nc', '{0,0}'"),
        ("end_holds", "'{h1007,h3999}', '{held,held}', '{0,0}', '{0,0}'"),
        ("unended_holds", "'{h1007,h3999}'"),
    ],
)
def test_a_statement_looks_at_its_own_rows_alone(till: "Till", statement: str, values: str) -> None:
    till.budget("day", "user:ann", 1000)
    till.reserve("first", 10)
    till.tamper("ANALYZE")
    parts = VERBS[statement].split("%s")
    numbered = "".join(f"${n}{part}" if n else part for n, part in enumerate(parts))

    with till.server.pools.others.session() as session:
        session.execute(f"PREPARE looked AS {numbered}")
        run_locked(session, f"EXECUTE looked ({values})")
        till.tamper(MORE_BALANCES)
        till.tamper(MORE_HOLDS)
        rows = run_locked(session, f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE looked ({values})")

    plan = rows[0][0][0]["Plan"]
    assert max(rows_touched(plan)) <= ROWS_MAX
    if statement in WRITES:
        assert min(written(plan)) > 0
