"""What a policy would have done to past spend: the same decision, over what happened, in order.

Balances are kept as a ledger keeps them: a call holds its worst case from its reservation to its
end. What the replay can't know it says: an agent that is refused may stop or change course, one
that gets a smaller answer may ask again, another model may write more or less.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from spendgate.domain.budget import BalanceKey, Claim, Policy
from spendgate.domain.decision import Balance, Candidate, Granted, Refused, decide
from spendgate.domain.money import format_usd
from spendgate.domain.retention import LIFETIME_PERIOD, kept_until
from spendgate.gateway.past_call import PastCall, PastRefusal, Pricing

REFUSED = "refuse"
NO_BUDGET = "no_budget"
PURGED_EVERY = 10_000
"""Calls after which balances of windows long over are dropped."""
DECISIONS = ("allow", "fit", "downgrade", REFUSED)
NOTES = (
    "a refused agent might have stopped, waited or changed course; its later calls are replayed",
    "another model is taken to use as many tokens as the one that served the call",
    "the soft cap looks at a call's expected cost, which isn't kept and is estimated here",
    (
        "a call that was refused then is offered no cheaper model now, and one that is admitted is "
        "charged the least that it would have held"
    ),
    (
        "loop guards aren't replayed, because requests aren't kept: no call is refused as a "
        "repetition, and those that one refused then are left out"
    ),
    "tags, pauses and tokens of refused calls aren't kept, so they are not replayed",
)


@dataclass(slots=True)
class BudgetTally:
    """What a budget would have done."""

    calls: int = 0
    spent_nano: int = 0
    refused: int = 0
    would_refuse: int = 0
    first_refusal_at: datetime | None = None
    first_refused: str | None = None
    first_window: str | None = None

    def refuse(self, claim: Claim, at: datetime) -> None:
        """Count a refusal."""
        self.refused += 1
        if self.first_refusal_at is None:
            self.first_refusal_at, self.first_refused = at, claim.scope.text
            self.first_window = claim.window.key


@dataclass(slots=True)
class Tally:
    """What happened, what would have, and where they differ."""

    past: Counter[str] = field(default_factory=Counter[str])
    replayed: Counter[str] = field(default_factory=Counter[str])
    codes: Counter[str] = field(default_factory=Counter[str])
    budgets: dict[str, BudgetTally] = field(default_factory=dict[str, BudgetTally])
    past_nano: int = 0
    replayed_nano: int = 0
    same: int = 0
    newly_refused: int = 0
    newly_refused_nano: int = 0
    newly_admitted: int = 0
    newly_admitted_nano: int = 0
    outside: Counter[str] = field(default_factory=Counter[str])
    """Refusals that were not about money, or whose cost isn't known, by their code."""
    elsewhere_nano: int = 0
    """Bookings, which no policy stops."""


class Replay:
    """One policy over one history; memory grows with open windows, not with calls."""

    def __init__(self, policy: Policy, pricing: Pricing, since: datetime | None) -> None:
        self._policy, self._pricing, self._since = policy, pricing, since
        self._balances: dict[BalanceKey, Balance] = {}
        self._open: list[tuple[datetime, int, tuple[BalanceKey, ...], int, int]] = []
        self._seen = 0
        self.tally = Tally(budgets={one.budget_id: BudgetTally() for one in policy.budgets})

    def run(self, history: Iterable[PastCall | PastRefusal]) -> Tally:
        """Replay a history in its order; what is before `since` only fills the windows."""
        for one in history:
            self._seen += 1
            if self._seen % PURGED_EVERY == 0:
                self._purge(one.at)
            self._end_until(one.at)
            claims = self._policy.claims(one.identity, one.at)
            if self._since is not None and one.at < self._since:
                if isinstance(one, PastCall):
                    self._charge(claims, one.cost_nano)
            elif isinstance(one, PastRefusal):
                self._refused_then(one, claims)
            elif one.is_booking:
                self._book(one, claims)
            else:
                self._admitted_then(one, claims)
        return self.tally

    def _admitted_then(self, call: PastCall, claims: tuple[Claim, ...]) -> None:
        tally = self.tally
        tally.past[call.decision] += 1
        tally.past_nano += call.cost_nano
        candidates = self._pricing.candidates(call, claims)
        verdict = self._verdict(claims, candidates, self._pricing.asked_for(call))
        now = REFUSED
        if isinstance(verdict, Granted):
            now = verdict.decision.value
            cost = self._pricing.cost(call, verdict)
            self._hold(claims, verdict.amount_nano, cost, call.ended_at)
            self._count(claims, cost)
            self._shadowed(verdict)
        else:
            self._count_refusal(verdict, call.at)
            tally.newly_refused += 1
            tally.newly_refused_nano += call.cost_nano
        tally.replayed[now] += 1
        tally.same += now == call.decision

    def _refused_then(self, refusal: PastRefusal, claims: tuple[Claim, ...]) -> None:
        tally, record = self.tally, refusal.record
        is_uncovered = record.code == NO_BUDGET and self._covers_none(claims)
        if record.needed_nano is None and not is_uncovered:
            tally.outside[record.code or "unknown"] += 1
            return
        tally.past[REFUSED] += 1
        candidate = refusal.candidate
        verdict = self._verdict(claims, {candidate.model: candidate}, candidate.model)
        if isinstance(verdict, Granted):
            # What it would have cost isn't known; it couldn't have been more than its hold.
            self._charge(claims, verdict.amount_nano)
            self._count(claims, verdict.amount_nano)
            self._shadowed(verdict)
            tally.newly_admitted += 1
            tally.newly_admitted_nano += verdict.amount_nano
            tally.replayed[verdict.decision.value] += 1
            return
        self._count_refusal(verdict, refusal.at)
        tally.replayed[REFUSED] += 1
        tally.same += 1

    def _book(self, call: PastCall, claims: tuple[Claim, ...]) -> None:
        self._charge(claims, call.cost_nano)
        self.tally.elsewhere_nano += call.cost_nano
        for claim in claims:
            self.tally.budgets[claim.budget.budget_id].spent_nano += call.cost_nano

    def _covers_none(self, claims: tuple[Claim, ...]) -> bool:
        return not claims and self._policy.defaults.unmatched == REFUSED

    def _verdict(
        self, claims: tuple[Claim, ...], candidates: dict[str, Candidate], model: str
    ) -> Granted | Refused | None:
        """Decide; None where no budget covers the call and the policy refuses that."""
        if self._covers_none(claims):
            return None
        return decide(claims, candidates, model, self._balances)

    def _count_refusal(self, verdict: Refused | None, at: datetime) -> None:
        if verdict is None:
            self.tally.codes[NO_BUDGET] += 1
            return
        self.tally.codes[verdict.code.value] += 1
        claim = verdict.binding.claim
        self.tally.budgets[claim.budget.budget_id].refuse(claim, at)

    def _shadowed(self, granted: Granted) -> None:
        if granted.shadow is not None:
            budget = granted.shadow.binding.claim.budget
            self.tally.budgets[budget.budget_id].would_refuse += 1

    def _count(self, claims: tuple[Claim, ...], cost_nano: int) -> None:
        self.tally.replayed_nano += cost_nano
        for claim in claims:
            one = self.tally.budgets[claim.budget.budget_id]
            one.calls += 1
            one.spent_nano += cost_nano

    def _hold(
        self, claims: tuple[Claim, ...], amount_nano: int, cost_nano: int, ends_at: datetime
    ) -> None:
        keys = tuple(claim.keys[0] for claim in claims)
        for key in keys:
            self._move(key, held_nano=amount_nano)
        heapq.heappush(self._open, (ends_at, self._seen, keys, amount_nano, cost_nano))

    def _end_until(self, at: datetime) -> None:
        while self._open and self._open[0][0] <= at:
            _, _, keys, amount_nano, cost_nano = heapq.heappop(self._open)
            for key in keys:
                self._move(key, held_nano=-amount_nano, spent_nano=cost_nano)

    def _charge(self, claims: tuple[Claim, ...], cost_nano: int) -> None:
        for claim in claims:
            self._move(claim.keys[0], spent_nano=cost_nano)

    def _move(self, key: BalanceKey, *, held_nano: int = 0, spent_nano: int = 0) -> None:
        now = self._balances.get(key, Balance())
        self._balances[key] = Balance(now.spent_nano + spent_nano, now.held_nano + held_nano)

    def _purge(self, at: datetime) -> None:
        for key in list(self._balances):
            if key.period != LIFETIME_PERIOD:
                until = kept_until(key.period)
                if until is not None and until <= at:
                    del self._balances[key]


def replay_report(tally: Tally, policy: Policy) -> dict[str, object]:
    """Return a tally as JSON; money as decimal text."""
    calls = sum(tally.past.values())
    return {
        "calls": calls,
        "past": _side(tally.past, tally.past_nano),
        "replayed": _side(tally.replayed, tally.replayed_nano),
        "same_decision": tally.same,
        "newly_refused": {
            "calls": tally.newly_refused,
            "usd": format_usd(tally.newly_refused_nano),
        },
        "newly_admitted": {
            "calls": tally.newly_admitted,
            "usd_at_most": format_usd(tally.newly_admitted_nano),
        },
        "refusals": dict(sorted(tally.codes.items())),
        "not_replayed": dict(sorted(tally.outside.items())),
        "spent_elsewhere_usd": format_usd(tally.elsewhere_nano),
        "budgets": [
            {
                "budget_id": one.budget_id,
                "mode": one.mode.value,
                **_of_budget(tally.budgets[one.budget_id]),
            }
            for one in policy.budgets
        ],
        "notes": list(NOTES),
    }


def _side(counts: Counter[str], nano: int) -> dict[str, object]:
    return {**{name: counts[name] for name in DECISIONS}, "usd": format_usd(nano)}


def _of_budget(tally: BudgetTally) -> dict[str, object]:
    first = tally.first_refusal_at
    return {
        "calls": tally.calls,
        "spent_usd": format_usd(tally.spent_nano),
        "refused": tally.refused,
        "would_refuse": tally.would_refuse,
        "first_refusal_at": None if first is None else first.isoformat().replace("+00:00", "Z"),
        "first_refused": tally.first_refused,
        "first_window": tally.first_window,
    }
