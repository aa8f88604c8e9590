"""What `doctor` says of alerts that wait, and of those that never reached anybody."""

from collections.abc import Callable
from typing import Any

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.bootstrap import utc_now
from spendgate.domain.alert import Alert, AlertKind

Run = Callable[..., Any]


def test_the_doctor_shows_alerts_that_wait_and_dead_letters(run: Run, ledger: SqliteLedger) -> None:
    def alerts() -> Any:
        return {one["check"]: one for one in run("doctor", "--json").json}.get("alerts")

    assert alerts() is None
    now = utc_now()
    stop = Alert("a1", AlertKind.HARD_STOP, now, 10**6, "b")
    ledger.deliveries.add([(stop, ("chat", "bills"))], now)
    waiting = alerts()
    assert (waiting["status"], waiting["figures"]) == (
        "ok", {"waiting_alerts": 2, "dead_alerts": 0}
    )  # fmt: skip

    ledger.deliveries.end("a1@bills", now, "answers 503")

    dead = alerts()
    assert dead["status"] == "warn"
    assert dead["detail"] == (
        "1 on their way, 1 never reached their notifier: a1@bills: answers 503"
    )
    assert dead["figures"] == {"waiting_alerts": 1, "dead_alerts": 1}
    assert run("job", "maintain", "--json").json["deliveries_removed"] == 0
