"""The figures of a ledger's health, read from both stores."""

from datetime import timedelta

from tests.integration.ledger.conftest import NOON, Till

from spendgate.adapters.stored_exposure import Exposure


def test_a_ledger_tells_what_it_holds_and_what_nobody_ended(till: Till) -> None:
    till.budget("each", "user:*", 1_000)
    till.budget("all", "all", 10_000, "lifetime")
    till.reserve("ended", 10)
    till.settle("ended", 7)
    till.reserve("late", 20, ttl_seconds=60)
    till.reserve("in-flight", 30, ttl_seconds=600)

    found = till.ledger.exposure(NOON + timedelta(seconds=90))

    assert found == Exposure(
        held_nano=50,  # once per hold, though each is on two balances
        open_holds=2,
        overdue_holds=1,
        overdue_since=NOON + timedelta(seconds=60),
        journal_rows=1,
        balances=2,
        schema_version=found.schema_version,
    )
    assert found.schema_version >= 3


def test_after_the_sweep_nothing_is_overdue(till: Till) -> None:
    till.budget("each", "user:*", 1_000)
    till.reserve("late", 20, ttl_seconds=60)
    later = NOON + timedelta(seconds=90)
    till.ledger.sweep(later)

    found = till.ledger.exposure(later)

    assert (found.held_nano, found.open_holds, found.overdue_holds) == (0, 0, 0)
    assert found.overdue_since is None
