"""What a ledger can answer to a reservation."""

import pytest

from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    Settled,
    StalePolicy,
    Verdict,
)


@pytest.mark.parametrize(
    "answer",
    [AlreadyReserved(HoldState.HELD, 1000, 0, "large"), FingerprintConflict(), StalePolicy(7)],
)
def test_an_answer_other_than_a_decision_is_a_verdict_too(answer: object) -> None:
    assert isinstance(answer, Verdict)


def test_the_end_of_a_hold_is_no_verdict_and_no_overrun_unless_told() -> None:
    settled = Settled("r#1", HoldState.SETTLED, 300, moved=True)

    assert not isinstance(settled, Verdict)
    assert not settled.is_overrun
