"""A replaced ledger file: whole or not at all, and never in the place of one that is in use."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spendgate.adapters.sqlite_replacement import replacement
from spendgate.domain.adjustment import Adjusted, Adjustment, NotAdjusted, PastEvent, Replay
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind, HoldState
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.ledger.conftest import Till

    OpenTill = Callable[..., Till]


def past(till: "Till", hold_id: str, *costs: int, user: str = "ann") -> Adjustment:
    """A hold of 100 that has expired and was corrected since."""
    claims = till.claims({"user": user})
    facts = CallFacts(
        1, till.noon, {"user": user}, "m", "m", "main", "global", "v1", "allow",
        tuple(claim.budget.budget_id for claim in claims),
    )  # fmt: skip
    keys = tuple(claim.keys[0] for claim in claims)
    kinds = [EventKind.EXPIRED] + [EventKind.CORRECTED] * len(costs)
    events = tuple(
        PastEvent(
            SpendEvent(f"{hold_id}:{n}", hold_id, kind, till.noon, facts, Charge(), 100, cost), keys
        )
        for n, (kind, cost) in enumerate(zip(kinds, costs, strict=False), start=1)
    )
    state = HoldState.EXPIRED if len(costs) == 1 else HoldState.SETTLED
    change = Replay(hold_id, state, events)
    return Adjustment(f"restore:{hold_id}", "restored", change, "x", "restored", till.noon)


def test_a_replayed_hold_is_as_it_was_and_isn_t_delivered_again(till: "Till") -> None:
    till.budget("users", "user:*", 1000)

    outcomes = till.ledger.adjust([past(till, "h#1", 100, -60), past(till, "h#2", 100)])

    assert all(isinstance(one, Adjusted) for one in outcomes)
    assert till.totals("users") == (140, 0)
    till.assert_sound()
    assert till.ledger.outbox.claim_batch(10) is None
    assert till.ledger.outbox.state().waiting_events == 0
    settled = till.settle("h#2", 25)  # late evidence finds its hold
    assert (settled.moved, till.totals("users")) == (True, (65, 0))
    batch = till.ledger.outbox.claim_batch(10)
    assert batch is not None
    assert (batch.number, [one.event_id for one in batch.events]) == (1, ["h#2:2"])
    till.assert_sound()


def test_a_replay_is_a_fact_and_happens_once(till: "Till") -> None:
    till.budget("users", "user:*", 1000)

    (first,) = till.ledger.adjust([past(till, "h#1", 0, -60)])
    (again,) = till.ledger.adjust([past(till, "h#1", 100)])

    assert isinstance(first, Adjusted)
    assert isinstance(again, NotAdjusted)
    assert till.totals("users") == (-60, 0)
    till.assert_sound()


def test_the_new_ledger_takes_the_lost_one_s_place(tmp_path: Path, open_till: "OpenTill") -> None:
    path = tmp_path / "own" / "ledger.db"
    lost = open_till(path)
    lost.budget("day", "user:ann", 100)
    lost.reserve("h#1", 60)
    lost_id = lost.ledger.ledger_id
    (tmp_path / "copy").write_bytes(Path(f"{path}-wal").read_bytes())
    lost.ledger.close()
    path.unlink()
    Path(f"{path}-wal").write_bytes((tmp_path / "copy").read_bytes())  # a log without its file

    with replacement(path, "NORMAL", 5) as made:
        made_id = made.ledger_id
        with pytest.raises(LedgerBrokenError, match="audit --restore"):
            open_till(path).store.session()

    found = open_till(path)
    assert found.ledger.ledger_id == made_id != lost_id
    assert found.ledger.balances() == []
    assert sorted(one.name for one in path.parent.glob("*restoring*")) == []
    found.assert_sound()


@pytest.mark.parametrize("was_there", [True, False])
def test_a_replacement_that_breaks_off_leaves_everything_as_it_was(
    tmp_path: Path, open_till: "OpenTill", was_there: bool
) -> None:
    path = tmp_path / "own" / "ledger.db"
    if was_there:
        lost = open_till(path)
        lost.budget("day", "user:ann", 100)
        lost.ledger.close()
        path.unlink()

    with pytest.raises(RuntimeError, match="broke off"), replacement(path, "NORMAL", 5):
        raise RuntimeError("broke off")

    assert not path.exists()
    assert list(path.parent.glob("*restoring*")) == []
    if was_there:
        with pytest.raises(LedgerBrokenError):
            open_till(path).store.session()
    else:
        assert open_till(path).ledger.balances() == []


def test_a_ledger_that_appears_meanwhile_is_left_alone(
    tmp_path: Path, open_till: "OpenTill"
) -> None:
    path = tmp_path / "own" / "ledger.db"

    with (
        pytest.raises(LedgerUnavailableError, match="has appeared"),
        replacement(path, "NORMAL", 5),
    ):
        path.write_bytes(b"somebody else's")

    assert path.read_bytes() == b"somebody else's"
