"""An agent's process whose standard library gevent has patched, as under gunicorn's gevent workers.

Takes a policy, a home and maybe a ledger's URL; prints what its greenlets did.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 - the patch comes first
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from spendgate import Budgets  # noqa: E402
from spendgate.config import Settings  # noqa: E402

GREENLETS, STEPS = 40, 10
CALL: dict[str, Any] = {
    "model": "databricks-claude-sonnet-4-5",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 100,
}
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


def main(policy: str, home: str, ledger_url: str | None = None) -> None:
    inside = inside_max = 0
    spent: list[float] = []

    def agent(number: int) -> None:
        nonlocal inside, inside_max
        for _ in range(STEPS):
            with budgets.step(agent=f"a{number % 4}", **CALL) as step:
                inside += 1
                inside_max = max(inside, inside_max)
                gevent.sleep(0.001)
                step.report({"usage": USAGE})
                inside -= 1
            assert isinstance(step.spend, dict)
            spent.append(float(str(step.spend["cost_usd"])))

    settings = Settings() if ledger_url is None else Settings(ledger_url=ledger_url)
    with Budgets(Path(policy), home=Path(home), settings=settings) as budgets:
        gevent.joinall([gevent.spawn(agent, n) for n in range(GREENLETS)], raise_error=True)
        ledger = budgets._host.ledger
        audit, rows = ledger.audit(), ledger.balances()
        said = {
            "steps": len(spent),
            "inside_max": inside_max,
            "costs": sorted(set(spent)),
            "problems": list(audit.problems),
            "spent_nano": sum(row.spent_nano for row in rows),
            "held_nano": sum(row.held_nano for row in rows),
        }
        sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
