"""Predicts the money from what was asked and answered; shares no code with any ledger.

It sees each verb of the ledger after its commit, in order, and the provider's invoice. From that it
knows what every hold, every balance and the invoice must be, and says so as soon as one is not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.simulation.plan import BudgetPlan
from tests.simulation.provider import BillRow

Key = tuple[str, str, str]


class MoneyError(AssertionError):
    """The money is wrong."""


@dataclass
class Hold:
    """What the auditor knows of one hold."""

    amount: int
    fingerprint: str
    keys: list[Key]
    expires_at: datetime
    state: str = "held"
    charged: int = 0
    is_blind: bool = False
    """Settled without a usage: charged in full, whatever the bill says."""

    @property
    def exposure(self) -> int:
        """What may be, or will be, billed for it."""
        return self.charged if self.state in {"settled", "voided"} else self.amount


@dataclass
class Auditor:
    """One set of books, kept beside the ledger."""

    budgets: list[BudgetPlan]
    holds: dict[str, Hold] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    raises: list[tuple[str, int, datetime]] = field(default_factory=list)
    paused: set[tuple[str, str]] = field(default_factory=set)
    used: dict[Key, int] = field(default_factory=dict)
    admitted_under: dict[Key, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limits = {one.budget_id: one.limit_nano for one in self.budgets}

    def reserved(self, request: Any, verdict: Any) -> None:
        """Check one verdict of a reserve."""
        name = type(verdict).__name__
        self._count(name)
        known = self.holds.get(request.hold_id)
        if known is not None:
            is_same = known.fingerprint == request.fingerprint
            self._demand(
                name == ("AlreadyReserved" if is_same else "FingerprintConflict"),
                f"{request.hold_id} exists, but the ledger says {name}",
            )
            if is_same:
                said = (verdict.state.value, verdict.amount_nano, verdict.charged_nano)
                truth = (known.state, known.amount, known.charged)
                self._demand(said == truth, f"{request.hold_id} is {truth}, not {said}")
        elif name == "Granted":
            self._granted(request, verdict.amount_nano)
        elif name == "Refused":
            self._refused(request, verdict.needed_nano)
        else:
            self._demand(name == "StalePolicy", f"{request.hold_id} is new, but {name}")

    def ended(self, verb: str, hold_id: str, cost: int | None, said: Any) -> None:
        """Check the answer to a settle, void or expire."""
        hold = self.holds.get(hold_id)
        if hold is None:
            self._demand(said.state is None, f"{hold_id} doesn't exist, but {said}")
            return
        moved = self._end(hold, verb, cost)
        self._count(f"{verb} {'moved' if moved else 'repeated'}")
        self._demand(
            (said.state.value, said.charged_nano, said.moved) == (hold.state, hold.charged, moved),
            f"{hold_id} is {hold.state}, charged {hold.charged}, moved {moved}; not {said}",
        )

    def swept(self, at: datetime, said: int) -> None:
        """Check a sweep."""
        due = [one for one in self.holds.values() if one.state == "held" and one.expires_at <= at]
        for hold in due:
            self._end(hold, "expire", None)
        self._count("swept", len(due))
        self._demand(said == len(due), f"{len(due)} holds were due, {said} were swept")

    def replied(self, hold_id: str, reply: Mapping[str, Any], invoice: Iterable[BillRow]) -> None:
        """Check the cost that a client is told of a call whose usage was reported."""
        self._count("answered")
        spend = reply["spend"]
        if spend["usage_source"] != "reported":
            return
        billed = sum(row.nano for row in invoice if row.hold_id == hold_id)
        told = int(spend["cost_usd"].replace(".", ""))
        self._demand(told == billed, f"{hold_id} was billed {billed}, the client was told {told}")

    def check_ledger(self, ledger: Any) -> None:
        """Check every balance and the journal."""
        balances = {
            (row.budget_id, row.scope_value, row.period): row.spent_nano + row.held_nano
            for row in ledger.balances()
        }
        truth = {key: nano for key, nano in self.used.items() if nano}
        kept = {key: nano for key, nano in balances.items() if nano}
        self._demand(kept == truth, f"balances are {kept}, must be {truth}")
        held = sum(row.held_nano for row in ledger.balances())
        held_truth = sum(one.amount * len(one.keys) for one in self._open())
        self._demand(held == held_truth, f"held is {held}, must be {held_truth}")
        report = ledger.audit()
        self._demand(not report.problems, f"the ledger's own audit: {report.problems}")
        charged = sum(one.charged for one in self.holds.values())
        self._demand(
            report.spent_nano == charged, f"the journal is {report.spent_nano}, not {charged}"
        )

    def check_sink(self, events: Iterable[Any]) -> None:
        """Check that the drained sink has each event once and adds up to the ledger."""
        delivered = dict.fromkeys(self.holds, 0)
        seen: set[str] = set()
        for event in events:
            self._demand(event.event_id not in seen, f"{event.event_id} was delivered twice")
            self._demand(event.hold_id in delivered, f"{event.hold_id} was never held")
            seen.add(event.event_id)
            delivered[event.hold_id] += event.cost_nano
        truth = {name: one.charged for name, one in self.holds.items()}
        self._demand(delivered == truth, f"delivered {delivered}, must be {truth}")

    def check_limits(self, invoice: Iterable[BillRow]) -> None:
        """Check Σ bill of each balance against the largest limit that admitted something to it."""
        billed: dict[Key, int] = {}
        for row in invoice:
            for key in self.holds[row.hold_id].keys if row.hold_id in self.holds else ():
                billed[key] = billed.get(key, 0) + row.nano
        for key, nano in billed.items():
            limit = self.admitted_under.get(key, nano)
            if nano > limit:
                raise MoneyError(f"{key}: the provider billed {nano}, the limit was {limit}")

    def check_invoice(self, invoice: Iterable[BillRow]) -> None:
        """Check Σ bill ≤ each limit in force at admission, and after corrections bill = charge."""
        self.check_limits(invoice)
        billed: dict[str, int] = {}
        for row in invoice:
            self._demand(row.hold_id not in billed, f"{row.hold_id} was billed twice")
            billed[row.hold_id] = row.nano
        requests: dict[str, str] = {}
        for hold_id in billed:
            request_id = hold_id.rpartition("#")[0]
            self._demand(request_id not in requests, f"{request_id} was billed for two attempts")
            requests[request_id] = hold_id
            self._demand(hold_id in self.holds, f"{hold_id} was billed without a hold")
        for hold_id, hold in self.holds.items():
            nano = billed.get(hold_id, 0)
            self._demand(hold.state != "held", f"{hold_id} never ended")
            self._demand(nano <= hold.amount, f"{hold_id} held {hold.amount}, billed {nano}")
            truth = hold.amount if hold.is_blind else nano
            self._demand(
                hold.charged == truth, f"{hold_id} ({hold.state}): {hold.charged}, not {truth}"
            )

    def _granted(self, request: Any, amount: int) -> None:
        at, scopes = request.facts.occurred_at, request.facts.scopes
        for dimension, value in self.paused:
            self._demand(
                scopes.get(dimension) != value, f"{request.hold_id} was admitted while paused"
            )
        hold = Hold(amount, request.fingerprint, [], request.expires_at)
        for budget in self._covering(scopes):
            hold.keys.append(_key(budget, scopes, at))
            if budget.is_shadow:
                continue
            limit = self._limit(budget, at)
            left = limit - self._used_in_window(budget, scopes, at)
            self._demand(
                amount <= left,
                f"false admission: {budget.budget_id} has {left} left, {amount} was held",
            )
            key = hold.keys[-1]
            self.admitted_under[key] = max(limit, self.admitted_under.get(key, 0))
        self.holds[request.hold_id] = hold
        self._move(hold, amount)

    def _refused(self, request: Any, needed: int) -> None:
        at, scopes = request.facts.occurred_at, request.facts.scopes
        is_short = any(
            needed > self._limit(budget, at) - self._used_in_window(budget, scopes, at)
            for budget in self._covering(scopes)
            if not budget.is_shadow
        )
        self._demand(is_short, f"false refusal: every budget has {needed} for {request.hold_id}")

    def _end(self, hold: Hold, verb: str, cost: int | None) -> bool:
        if hold.state != "held" and not (
            hold.state == "expired" and verb == "settle" and cost is not None
        ):
            return False
        before = hold.exposure
        hold.state = {"settle": "settled", "void": "voided", "expire": "expired"}[verb]
        hold.charged = 0 if verb == "void" else hold.amount if cost is None else cost
        hold.is_blind = verb == "settle" and cost is None
        self._move(hold, hold.exposure - before)
        return True

    def _move(self, hold: Hold, nano: int) -> None:
        for key in hold.keys:
            self.used[key] = self.used.get(key, 0) + nano

    def _covering(self, scopes: Mapping[str, str]) -> list[BudgetPlan]:
        matching = [
            one
            for one in self.budgets
            if (one.value == "*" and one.dimension in scopes)
            or scopes.get(one.dimension) == one.value
        ]
        explicit = {(one.dimension, one.window) for one in matching if one.value != "*"}
        return [
            one
            for one in matching
            if one.value != "*" or (one.dimension, one.window) not in explicit
        ]

    def _limit(self, budget: BudgetPlan, at: datetime) -> int:
        raised = (n for name, n, until in self.raises if name == budget.budget_id and at < until)
        return self.limits[budget.budget_id] + sum(raised)

    def _used_in_window(self, budget: BudgetPlan, scopes: Mapping[str, str], at: datetime) -> int:
        key = _key(budget, scopes, at)
        if budget.window != "rolling:1h":
            return self.used.get(key, 0)
        now = _minute(at)
        return sum(
            self.used.get((key[0], key[1], f"rolling:1h#{minute}"), 0)
            for minute in range(now - 60, now + 1)
        )

    def _open(self) -> list[Hold]:
        return [one for one in self.holds.values() if one.state == "held"]

    def _count(self, name: str, times: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + times

    @staticmethod
    def _demand(is_right: bool, problem: str) -> None:
        if not is_right:
            raise MoneyError(problem)


class InvoiceReader(Auditor):
    """Sees nothing wrong until the invoice comes: what a customer would notice."""

    @staticmethod
    def _demand(is_right: bool, problem: str) -> None:
        pass


def _key(budget: BudgetPlan, scopes: Mapping[str, str], at: datetime) -> Key:
    local = at.astimezone(ZoneInfo(budget.tz))
    period = {
        "lifetime": "*",
        "day": local.date().isoformat(),
        "hour": f"{at.astimezone(UTC):%Y-%m-%dT%H}+0000",
        "rolling:1h": f"rolling:1h#{_minute(at)}",
    }[budget.window]
    return (budget.budget_id, scopes[budget.dimension], period)


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60
