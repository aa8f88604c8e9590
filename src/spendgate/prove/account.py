"""The reckoning: limit, bill, ledger, Delta and admission per budget, from the provider's bill.

A call is charged to the budgets that its client's request names, worked out from the policy file;
neither the ledger nor the gate is asked which.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.demo.books import Bill, Event
from spendgate.demo.proof import Check, alike, equal
from spendgate.demo.reckoning import Limit, Line, lines_of, nano_of, period_of
from spendgate.demo.traffic import CallRecord
from spendgate.domain.money import format_usd
from spendgate.prove.evidence import open_ended
from spendgate.prove.traffic import RefusedBy

ADMITTED_RATIO_MIN = 0.95


@dataclass(frozen=True, slots=True)
class Accounts:
    """Ledger and Delta at one moment, nothing in flight."""

    ledger_lines: Mapping[Line, int]
    held_nano: int
    journal_nano: int
    journal_events: int
    holds_open: int
    problems: tuple[str, ...]
    events: tuple[Event, ...]

    @property
    def charged(self) -> Counter[str]:
        """What Delta says each hold cost."""
        sums: Counter[str] = Counter()
        for event in self.events:
            sums[event.hold_id] += event.cost_nano
        return sums


@dataclass(frozen=True, slots=True)
class LineAccount:
    """One budget, value and window in all books, nano-USD."""

    limit: Limit
    line: Line
    bill_nano: int
    ledger_nano: int
    delta_nano: int
    admitted: int
    is_last: bool
    """Whether it is the budget that ended some client's last round."""

    @property
    def affordable(self) -> int:
        """How many calls the whole limit pays for at the mean cost of those admitted."""
        return self.limit.limit_nano * self.admitted // self.bill_nano if self.bill_nano else 0


def read_accounts(ledger: StoredLedger, events: tuple[Event, ...]) -> Accounts:
    """Read the ledger; `events` are Delta's, drained before."""
    balances, audit = ledger.balances(), ledger.audit()
    return Accounts(
        ledger_lines={
            Line(one.budget_id, one.scope_value, one.period): one.spent_nano for one in balances
        },
        held_nano=sum(one.held_nano for one in balances),
        journal_nano=audit.spent_nano,
        journal_events=audit.events,
        holds_open=audit.holds_open,
        problems=audit.problems,
        events=events,
    )


def line_accounts(
    limits: Sequence[Limit],
    bill: Bill,
    calls: Sequence[CallRecord],
    accounts: Accounts,
    last: Sequence[tuple[RefusedBy, CallRecord]],
) -> list[LineAccount]:
    """Charge every billed call to its budgets, and put the ledger and Delta beside it."""
    payers = {call.request_id: call for call in calls if call.request_id is not None}
    reserved_at = {event.hold_id: event.occurred_at for event in accounts.events}
    billed: Counter[Line] = Counter()
    admitted: Counter[Line] = Counter()
    for hold_id, nano in bill.by_call.items():
        call = payers.get(request_of(hold_id))
        if call is not None:
            at = reserved_at.get(hold_id, call.sent_at)
            for _, line in lines_of(limits, call.scopes, call.tags, at):
                billed[line] += nano
                admitted[line] += 1
    by_id = {limit.budget_id: limit for limit in limits}
    delta: Counter[Line] = Counter()
    charged = accounts.charged
    for hold_id, at in reserved_at.items():
        call = payers.get(request_of(hold_id))
        if call is not None:
            for _, line in lines_of(limits, call.scopes, call.tags, at):
                delta[line] += charged[hold_id]
    ends = {_refusing(by_id, refused, call) for refused, call in last}
    every = sorted({*billed, *delta, *accounts.ledger_lines})
    return [
        LineAccount(
            by_id[line.budget_id],
            line,
            billed[line],
            accounts.ledger_lines.get(line, 0),
            delta[line],
            admitted[line],
            line in ends,
        )
        for line in every
        if line.budget_id in by_id
    ]


def limit_checks(limits: Sequence[Limit], lines: Sequence[LineAccount]) -> list[Check]:
    """Check that no budget's bill is above its limit, and that those that ran out were used."""
    checks: list[Check] = []
    for limit in limits:
        own = [one for one in lines if one.limit is limit]
        if limit.is_enforced:
            checks.append(_within(limit, own))
    ended = [limit for limit in limits if any(one.is_last for one in lines if one.limit is limit)]
    checks += [_admission(limit, lines) for limit in ended]
    names = ", ".join(limit.budget_id for limit in ended) or "none"
    return [*checks, Check("some budgets ran out", bool(ended), f"the last word had: {names}")]


def before_checks(bill: Bill, accounts: Accounts) -> list[Check]:
    """Check the books as the gates left them: only unknown ends may be charged above the bill."""
    charged, unknown = accounts.charged, open_ended(accounts.events)
    ended = [one for one in {*charged, *bill.by_call} if one not in unknown]
    wrong = [one for one in ended if charged[one] != bill.by_call.get(one, 0)]
    below = [one for one, nano in unknown.items() if bill.by_call.get(one, 0) > nano]
    above = sum(nano - bill.by_call.get(one, 0) for one, nano in unknown.items())
    difference = accounts.journal_nano - bill.total_nano
    return [
        Check(
            "before the last corrections: each call that ended, bill = ledger",
            not wrong,
            f"{len(ended)} calls, {len(wrong)} differ",
        ),
        Check(
            "before the last corrections: each unknown end is charged in full, bill ≤ ledger",
            not below and accounts.holds_open == 0,
            f"{len(unknown)} calls, {len(below)} billed above, {accounts.holds_open} holds open",
        ),
        Check(
            "before the last corrections: sum of ledger - sum of bill = what those are above it",
            difference == above,
            f"{format_usd(abs(difference))} and {format_usd(above)}",
        ),
    ]


def sum_checks(
    bill: Bill, calls: Sequence[CallRecord], accounts: Accounts, lines: Sequence[LineAccount]
) -> list[Check]:
    """Check the corrected books: every sum agrees to the nano-dollar."""
    delta_nano = sum(event.cost_nano for event in accounts.events)
    ids = len({event.event_id for event in accounts.events})
    bills = {one.line: one.bill_nano for one in lines}
    problems = "; ".join(accounts.problems[:3]) or "no difference"
    return [
        equal("sum of bill = sum of ledger", bill=bill.total_nano, ledger=accounts.journal_nano),
        equal("sum of ledger = sum of Delta", ledger=accounts.journal_nano, delta=delta_nano),
        alike("each call: bill = Delta", "bill", bill.by_call, "Delta", accounts.charged),
        alike(
            "each budget and value: bill = ledger",
            "bill",
            bills,
            "ledger",
            {one.line: one.ledger_nano for one in lines},
        ),
        alike(
            "each budget and value: bill = Delta",
            "bill",
            bills,
            "Delta",
            {one.line: one.delta_nano for one in lines},
        ),
        Check(
            "each event is in Delta once",
            len(accounts.events) == ids == accounts.journal_events,
            f"{len(accounts.events)} rows, {ids} ids, {accounts.journal_events} in the journal",
        ),
        Check("the ledger's own audit", not accounts.problems and not accounts.held_nano, problems),
        *_client_checks(bill, calls),
    ]


def request_of(hold_id: str) -> str:
    """Return the request that an attempt belongs to."""
    return hold_id.rpartition("#")[0]


def _client_checks(bill: Bill, calls: Sequence[CallRecord]) -> list[Check]:
    known = {call.request_id for call in calls}
    requests = Counter(map(request_of, bill.by_call))
    strange = [one for one in requests if one not in known]
    twice = [one for one, attempts in requests.items() if attempts > 1]
    per_request = {request_of(one): nano for one, nano in bill.by_call.items()}
    told = {str(one.request_id): nano_of(one.cost_usd or 0) for one in calls if one.is_answered}
    wrong = [one for one, nano in told.items() if per_request.get(one, 0) != nano]
    return [
        Check(
            "every billed call is one that a client made",
            not strange,
            f"{len(requests)} billed, {len(strange)} unknown",
        ),
        Check(
            "no call was billed twice, however often it was sent",
            not twice,
            f"{len(requests)} billed, {len(twice)} twice",
        ),
        Check(
            "each answer told its client what was billed",
            not wrong,
            f"{len(told)} answers, {len(wrong)} wrong",
        ),
    ]


def _within(limit: Limit, lines: Sequence[LineAccount]) -> Check:
    name = f"bill within limit: {limit.budget_id}"
    if not lines:
        return Check(name, True, f"nothing spent of {format_usd(limit.limit_nano)}")
    over = [one for one in lines if one.bill_nano > limit.limit_nano]
    shown = max(lines, key=lambda one: one.bill_nano)
    detail = (
        f"{len(lines)} values, {len(over)} over; fullest {shown.line.value}: bill "
        f"{format_usd(shown.bill_nano)} {'>' if over else '≤'} limit "
        f"{format_usd(limit.limit_nano)}"
    )
    return Check(name, not over, detail)


def _admission(limit: Limit, lines: Sequence[LineAccount]) -> Check:
    own = [one for one in lines if one.limit is limit and one.is_last]
    admitted, affordable = admission_of(own)
    ratio = admitted / max(1, affordable)
    return Check(
        f"nobody starved: {limit.budget_id}",
        ratio >= ADMITTED_RATIO_MIN,
        f"{len(own)} values ran out: {admitted} admitted ÷ {affordable} affordable = {ratio:.3f}",
    )


def admission_of(lines: Sequence[LineAccount]) -> tuple[int, int]:
    """Return how many calls were admitted, and how many the limits pay for."""
    return sum(one.admitted for one in lines), sum(one.affordable for one in lines)


def _refusing(by_id: Mapping[str, Limit], refused: RefusedBy, call: CallRecord) -> Line | None:
    limit = by_id.get(refused.budget_id)
    if limit is None:
        return None
    value = refused.scope.partition(":")[2]
    return Line(limit.budget_id, value, period_of(limit.window, call.answered_at))
