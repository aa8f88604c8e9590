"""How Postgres runs the ledger's statements once its tables have grown: by look-ups, no walks."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from spendgate.adapters.statements import statements

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

pytestmark = pytest.mark.parametrize("place", ["postgres"], indirect=True)
ROWS = 3000
VERBS = statements("postgres/verbs.sql")


def rows_touched(node: dict[str, Any]) -> Iterator[float]:
    """Each node's rows, those that it looked at in vain included, however often it ran."""
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
    yield (node["Actual Rows"] + removed) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from rows_touched(child)


def most_rows(till: "Till", statement: str, values: str) -> float:
    """Run a statement as the ledger's sessions prepare it; return its largest node's rows."""
    parts = VERBS[statement].split("%s")
    numbered = "".join(f"${n}{part}" if n else part for n, part in enumerate(parts))
    with till.server.pools.others.session() as session:
        session.execute("BEGIN")
        session.execute(f"PREPARE looked AS {numbered}")
        ((plan,),) = session.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE looked ({values})"
        ).fetchall()
    return max(rows_touched(plan[0]["Plan"]))


@pytest.fixture
def grown(till: "Till") -> "Till":
    """A ledger of many users, whose tables nobody has analysed."""
    till.budget("day", "user:*", 1000)
    one = till.request("h", 10)
    claims = [till.claims({"user": f"u{number}"}) for number in range(ROWS)]
    till.ledger.reserve(
        [replace(one, hold_id=f"h{n}", claims=claim) for n, claim in enumerate(claims)]
    )
    return till


KEYS = "'{day,day,day}', '{u7,u2999,u1}', '{2026-03-14,2026-03-14,2026-03-14}'"


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("lock_balances", KEYS),
        ("read_balances", KEYS),
        ("existing_holds", "'{h7,h2999}'"),
        ("move_balances", "'{7,2999}', '{0,0}', '{0,0}', '{0,0}', '{0,0}'"),
        ("lock_holds", "'{h7,h2999}'"),
        ("lock_balances_by_id", "'{7,2999}'"),
        ("end_holds", "'{h7,h2999}', '{held,held}', '{0,0}', '{0,0}'"),
    ],
)
def test_a_statement_looks_at_its_own_rows_alone(
    grown: "Till", statement: str, values: str
) -> None:
    assert most_rows(grown, statement, values) <= 10
