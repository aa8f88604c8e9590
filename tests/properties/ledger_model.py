"""A ledger's rules written as naively as possible, sharing no code with any ledger.

The model keeps a list of holds and adds them up anew for every question.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from spendgate.domain.budget import Budget, parse_window
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import Settled
from spendgate.domain.scope import Scope

NEW_YORK = ZoneInfo("America/New_York")
EVENING = datetime(2026, 3, 8, 4, 30, tzinfo=UTC)
"""Half an hour before midnight in New York, in the night in which its clocks skip an hour."""

CARRY_MAX = 50
"""What a day of a session takes over at most of what the day before left."""

BUDGETS = {
    name: Budget(
        name,
        Scope.parse(scope),
        limit,
        parse_window(window),
        tz=tz,
        fit=False,
        rollover_max_nano=carry_max,
    )
    for name, scope, limit, window, tz, carry_max in (
        ("org", "org:acme", 300, "lifetime", "UTC", 0),
        ("each-user", "user:*", 120, "day", "America/New_York", 0),
        ("each-session", "session:*", 80, "day", "UTC", CARRY_MAX),
        ("hour", "org:acme", 70, "rolling:1h", "UTC", 0),
    )
}
Key = tuple[str, str, str]
Told = str | tuple[str, int, bool]
"""Why nothing was adjusted, or the hold, the amount and whether it moved."""


@dataclass
class ModelHold:
    """What the model knows of one hold."""

    fingerprint: str
    amount: int
    keys: list[Key]
    expires_at: datetime
    at: datetime
    payer: tuple[str, str | None]
    state: str = "held"
    charged: int = 0
    is_adjusted: bool = False

    @property
    def exposure(self) -> int:
        """What the call may have cost in the real world, whatever the ledger thinks."""
        if self.state == "voided":
            return 0
        # An adjustment is as good as a bill: what it says is what the call has cost.
        is_known = self.state == "settled" or self.is_adjusted
        return self.charged if is_known else self.amount


class Model:
    """All holds, the limits in force, and under which limits something was admitted."""

    def __init__(self) -> None:
        self.holds: dict[str, ModelHold] = {}
        self.limits = {name: budget.limit_nano for name, budget in BUDGETS.items()}
        self.admitted_under: dict[Key, int] = {}
        self.touched: set[Key] = set()
        self.adjustments: dict[str, tuple[object, str, int]] = {}
        self.added: dict[Key, int] = {}
        self.forgotten: dict[str, ModelHold] = {}
        self.dropped: set[Key] = set()

    @property
    def everything(self) -> dict[str, ModelHold]:
        """All holds, those that were collected among them."""
        return self.holds | self.forgotten

    def allowed(self, key: Key) -> int:
        """Return the limit in force at an admission, and what was added without one."""
        return self.admitted_under.get(key, 0) + self.added.get(key, 0)

    @property
    def charged(self) -> dict[str, int]:
        return {name: hold.charged for name, hold in self.everything.items()}

    def keys(self, at: datetime, user: str, session: str | None) -> list[Key]:
        day = at.astimezone(NEW_YORK).date().isoformat()
        keys = [("org", "acme", "*"), ("each-user", user, day)]
        if session is not None:
            keys.append(("each-session", session, at.date().isoformat()))
        return [*keys, ("hour", "acme", f"rolling:1h#{minute_of(at)}")]

    def used(self, key: Key, at: datetime) -> int:
        """Add up what is spent and held; for the rolling hour in the last 60 minutes as well."""
        periods = {key[2]}
        if key[0] == "hour":
            periods = {f"rolling:1h#{minute_of(at) - ago}" for ago in range(61)}
        sums = self.sums()
        return sum(sum(sums.get((key[0], key[1], period), (0, 0))) for period in periods)

    def limit(self, key: Key) -> int:
        """Return a balance's limit; a session's day has a part of what the day before left."""
        name, value, period = key
        limit = self.limits[name]
        if name != "each-session":
            return limit
        before, after = day_before(period), day_before(period, days=-1)
        sums = self.sums()
        taken = sum(sums.get((name, value, after), (0, 0))) - limit
        if taken > 0:
            return limit - min(taken, CARRY_MAX)
        if (name, value, before) not in sums:
            return limit
        return limit + min(CARRY_MAX, max(0, limit - sum(sums[name, value, before])))

    def sums(self) -> dict[Key, tuple[int, int]]:
        """Return spent and held of every balance that anything ever moved."""
        sums: dict[Key, tuple[int, int]] = dict.fromkeys(self.touched, (0, 0))
        for hold in self.everything.values():
            held = hold.amount if hold.state == "held" else 0
            for key in hold.keys:
                spent_before, held_before = sums.get(key, (0, 0))
                sums[key] = (spent_before + hold.charged, held_before + held)
        return sums

    def exposures(self) -> dict[Key, int]:
        """Return what may have been billed, per balance."""
        sums: dict[Key, int] = {}
        for hold in self.everything.values():
            for key in hold.keys:
                sums[key] = sums.get(key, 0) + hold.exposure
        return sums

    def reserve(
        self,
        hold_id: str,
        fingerprint: str,
        amount: int,
        payer: tuple[str, str | None],
        at: datetime,
        ttl: int,
    ) -> str:
        keys = self.keys(at, *payer)
        hold = self.holds.get(hold_id)
        if hold is not None:
            return hold.state if hold.fingerprint == fingerprint else "conflict"
        limits = {key: self.limit(key) for key in keys}
        if any(self.used(key, at) + amount > limits[key] for key in keys):
            return "refused"
        expires_at = at + timedelta(seconds=ttl)
        self.holds[hold_id] = ModelHold(fingerprint, amount, keys, expires_at, at, payer)
        self.touched.update(keys)
        for key, limit in limits.items():
            self.admitted_under[key] = max(limit, self.admitted_under.get(key, 0))
        return "granted"

    def end(self, hold_id: str, state: str, cost: int | None = None) -> Settled:
        hold = self.holds.get(hold_id)
        if hold is None:
            return Settled(hold_id, None, 0, moved=False)
        is_correction = hold.state == "expired" and state == "settled" and cost is not None
        moved = hold.state == "held" or is_correction
        is_overrun = False
        if moved:
            charged = 0 if state == "voided" else hold.amount if cost is None else cost
            is_overrun = charged > (hold.amount if hold.state == "held" else hold.charged)
            hold.state, hold.charged = state, charged
        return Settled(hold_id, HoldState(hold.state), hold.charged, moved, is_overrun)

    def book(
        self, name: str, asked: object, amount: int, payer: tuple[str, str | None], at: datetime
    ) -> Told:
        """Book an amount without a call."""
        if name in self.adjustments:
            return self.known(name, asked)
        keys = self.keys(at, *payer)
        if any(self.spent(key) + amount < 0 and amount < 0 for key in keys):
            return "below_zero"
        self.holds[name] = ModelHold(
            str(asked), 0, keys, at, at, payer, "settled", amount, is_adjusted=True
        )
        return self.adjusted(name, asked, name, amount, dict.fromkeys(keys, amount))

    def reprice(self, name: str, asked: object, hold_id: str, cost: int) -> Told:
        """Give a call another cost."""
        if name in self.adjustments:
            return self.known(name, asked)
        if (problem := self.unready(hold_id)) is not None:
            return problem
        hold = self.holds[hold_id]
        delta = cost - hold.charged
        if delta == 0:
            return "unchanged"
        if delta < 0 and any(self.spent(key) + delta < 0 for key in hold.keys):
            return "below_zero"
        hold.charged, hold.is_adjusted = cost, True
        hold.state = "settled" if hold.state == "voided" else hold.state
        self.expect_evidence(hold)
        return self.adjusted(name, asked, hold_id, delta, dict.fromkeys(hold.keys, delta))

    def transfer(
        self, name: str, asked: object, hold_id: str, user: str, session: str | None
    ) -> Told:
        """Let somebody else pay for a call."""
        if name in self.adjustments:
            return self.known(name, asked)
        if (problem := self.unready(hold_id)) is not None:
            return problem
        hold = self.holds[hold_id]
        payer = (user, session or hold.payer[1])
        if hold.charged == 0 or payer == hold.payer:
            return "unchanged"
        keys = self.keys(hold.at, *payer)
        deltas = dict.fromkeys(hold.keys, -hold.charged)
        for key in keys:
            deltas[key] = deltas.get(key, 0) + hold.charged
        if any(delta < 0 and self.spent(key) + delta < 0 for key, delta in deltas.items()):
            return "below_zero"
        hold.keys, hold.payer = keys, payer
        self.expect_evidence(hold)
        return self.adjusted(name, asked, hold_id, hold.charged, deltas)

    def expect_evidence(self, hold: ModelHold) -> None:
        """What an operator freed of an expired hold, late evidence may claim back unasked."""
        if hold.state == "expired":
            for key in hold.keys:
                freed = max(hold.amount - hold.charged, 0)
                self.added[key] = self.added.get(key, 0) + freed

    def adjusted(
        self, name: str, asked: object, hold_id: str, amount: int, deltas: dict[Key, int]
    ) -> Told:
        self.adjustments[name] = (asked, hold_id, amount)
        self.touched.update(deltas)
        for key, delta in deltas.items():
            self.added[key] = self.added.get(key, 0) + max(delta, 0)
        return (hold_id, amount, True)

    def known(self, name: str, asked: object) -> Told:
        first, hold_id, amount = self.adjustments[name]
        return (hold_id, amount, False) if asked == first else "conflict"

    def unready(self, hold_id: str) -> str | None:
        hold = self.holds.get(hold_id)
        if hold is None:
            return "unknown_hold"
        return "hold_in_flight" if hold.state == "held" else None

    def forget(self, names: set[str]) -> None:
        """Collect holds: what they were charged stays in the balances."""
        self.forgotten |= {name: self.holds.pop(name) for name in names}
        self.adjustments = {
            name: made for name, made in self.adjustments.items() if made[1] not in names
        }

    def drop(self, keys: set[Key]) -> None:
        """Collect balances that no hold names any more."""
        self.touched -= keys
        self.dropped |= keys
        for hold in self.forgotten.values():
            hold.keys = [key for key in hold.keys if key not in keys]
        for key in keys:
            self.admitted_under.pop(key, None)
            self.added.pop(key, None)

    def spent(self, key: Key) -> int:
        return self.sums().get(key, (0, 0))[0]

    def sweep(self, at: datetime) -> int:
        due = [
            name
            for name, hold in self.holds.items()
            if hold.state == "held" and hold.expires_at <= at
        ]
        for name in due:
            self.end(name, "expired")
        return len(due)


def minute_of(at: datetime) -> int:
    return int(at.timestamp()) // 60


def day_before(period: str, days: int = 1) -> str:
    return (date.fromisoformat(period) - timedelta(days=days)).isoformat()
