"""`spendgate` with a ledger that ignores holds: `python -m tests.ledgers.broken_gate app …`."""

from collections.abc import Mapping
from typing import Any

from spendgate.adapters import postgres_reserve, sqlite_ledger
from spendgate.cli import main
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Balance, Granted, Refused, decide


def ignoring_holds(
    claims: Any, candidates: Any, model: str, balances: Mapping[BalanceKey, Balance]
) -> Granted | Refused:
    spent = {key: Balance(now.spent_nano, 0) for key, now in balances.items()}
    return decide(claims, candidates, model, spent)


if __name__ == "__main__":
    sqlite_ledger.decide = postgres_reserve.decide = ignoring_holds
    main()
