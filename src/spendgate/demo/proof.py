"""The proof: no budget was overspent, and bill, ledger and Delta agree to the nano-dollar.

It starts from the provider's bill and from what clients sent and were answered. The ledger and the
tables are only compared with what follows from those.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from spendgate.demo.books import Bill, Books, Event, read_books
from spendgate.demo.reckoning import (
    Limit,
    Line,
    lines_of,
    nano_of,
    period_of,
    read_limits,
    value_of,
)
from spendgate.demo.traffic import CallRecord
from spendgate.domain.money import format_usd

POLICY_FILE = "budgets.yml"
BUDGET_CODES = ("budget_exhausted", "budget_held")

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of the proof, with the figures it rests on."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ProvenLine:
    """One budget, value and window in all books, nano-USD."""

    limit: Limit
    line: Line
    bill_nano: int
    ledger_nano: int
    delta_nano: int
    state_nano: int

    @property
    def agrees(self) -> bool:
        """Whether all books say the same."""
        return self.bill_nano == self.ledger_nano == self.delta_nano == self.state_nano

    @property
    def is_within(self) -> bool:
        """Whether the bill is within the limit; a shadow budget limits nothing."""
        return not self.limit.is_enforced or self.bill_nano <= self.limit.limit_nano


@dataclass(frozen=True, slots=True)
class Proof:
    """All checks, and all lines of all budgets."""

    checks: tuple[Check, ...]
    lines: tuple[ProvenLine, ...]

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def prove(home: Path, bill: Bill, calls: Sequence[CallRecord]) -> Proof:
    """Prove a run from its home, the provider's bill and the clients' log."""
    return reckon(read_limits(home / POLICY_FILE), bill, calls, read_books(home))


def reckon(limits: Sequence[Limit], bill: Bill, calls: Sequence[CallRecord], books: Books) -> Proof:
    """Prove from figures that are already read."""
    lines = _proven_lines(limits, bill, calls, books)
    return Proof((*_limit_checks(limits, lines), *sum_checks(bill, calls, books)), lines)


def sum_checks(bill: Bill | None, calls: Sequence[CallRecord], books: Books) -> list[Check]:
    """Check that every sum agrees and every call is in each book once.

    Without a bill, for a model server that keeps none, ledger and tables are compared with what
    clients were told.
    """
    delta_nano = sum(event.cost_nano for event in books.events)
    checks = [
        equal("sum of ledger = sum of Delta", ledger=books.journal_nano, delta=delta_nano),
        equal("sum of Delta = sum of spend_hourly", delta=delta_nano, hourly=books.hourly_nano),
        *_record_checks(calls, books),
    ]
    if bill is None:
        return checks
    return [
        equal("the bill adds up", bill=bill.total_nano, calls=sum(bill.by_call.values())),
        equal("sum of bill = sum of ledger", bill=bill.total_nano, ledger=books.journal_nano),
        alike("each call: bill = Delta", "bill", bill.by_call, "Delta", _by_hold(books)),
        *_client_checks(bill, calls),
        *checks,
    ]


def equal(name: str, **amounts_nano: int) -> Check:
    """Check that two amounts are equal; tells both."""
    (left, left_nano), (right, right_nano) = amounts_nano.items()
    sign = "=" if left_nano == right_nano else "≠"
    detail = f"{left} {format_usd(left_nano)} {sign} {right} {format_usd(right_nano)}"
    if left_nano != right_nano:
        detail += f" (differ by {format_usd(abs(left_nano - right_nano))})"
    return Check(name, left_nano == right_nano, detail)


def alike(
    name: str, left: str, left_nano: Mapping[_Key, int], right: str, right_nano: Mapping[_Key, int]
) -> Check:
    """Check that two books say the same of every key; one that is missing is zero."""
    keys = [*left_nano, *(key for key in right_nano if key not in left_nano)]
    differing = [key for key in keys if left_nano.get(key, 0) != right_nano.get(key, 0)]
    if not differing:
        return Check(name, True, f"{len(keys)} compared, all equal")
    first = differing[0]
    detail = (
        f"{len(differing)} of {len(keys)} differ, first {first}: "
        f"{left} {format_usd(left_nano.get(first, 0))}, "
        f"{right} {format_usd(right_nano.get(first, 0))}"
    )
    return Check(name, False, detail)


def _proven_lines(
    limits: Sequence[Limit], bill: Bill, calls: Sequence[CallRecord], books: Books
) -> tuple[ProvenLine, ...]:
    reserved_at = {event.hold_id: event.occurred_at for event in books.events}
    billed: Counter[Line] = Counter()
    known = _by_request(calls)
    for call_id, nano in bill.by_call.items():
        call = known.get(_request_of(call_id))
        if call is not None:
            at = reserved_at.get(call_id, call.sent_at)
            for _, line in lines_of(limits, call.scopes, call.tags, at):
                billed[line] += nano
    delta = _delta_lines(limits, books.events)
    by_id = {limit.budget_id: limit for limit in limits}
    every = {*billed, *delta, *books.ledger_lines, *books.state_lines}
    return tuple(
        ProvenLine(
            by_id[line.budget_id],
            line,
            billed[line],
            books.ledger_lines.get(line, 0),
            delta[line],
            books.state_lines.get(line, 0),
        )
        for line in sorted(every)
        if line.budget_id in by_id
    )


def _delta_lines(limits: Iterable[Limit], events: Iterable[Event]) -> Counter[Line]:
    """Add events up by the budgets that they name themselves."""
    by_id = {limit.budget_id: limit for limit in limits}
    sums: Counter[Line] = Counter()
    for event in events:
        for limit in (by_id[one] for one in event.budget_ids if one in by_id):
            period = period_of(limit.window, event.occurred_at)
            sums[Line(limit.budget_id, value_of(limit, event.payer), period)] += event.cost_nano
    return sums


def _limit_checks(limits: Sequence[Limit], lines: Sequence[ProvenLine]) -> list[Check]:
    grouped: defaultdict[str, list[ProvenLine]] = defaultdict(list)
    for line in lines:
        grouped[line.limit.budget_id].append(line)
    checks = [_within(limit, grouped[limit.budget_id]) for limit in limits if limit.is_enforced]
    bill = {one.line: one.bill_nano for one in lines}
    books = (
        ("ledger", {one.line: one.ledger_nano for one in lines}),
        ("Delta", {one.line: one.delta_nano for one in lines}),
        ("budget_state", {one.line: one.state_nano for one in lines}),
    )
    checks += [
        alike(f"each budget and value: bill = {name}", "bill", bill, name, book)
        for name, book in books
    ]
    return checks


def _within(limit: Limit, lines: Sequence[ProvenLine]) -> Check:
    name = f"bill within limit: {limit.budget_id}"
    over = next((one for one in lines if not one.is_within), None)
    fullest = max(lines, key=lambda one: one.bill_nano, default=None)
    shown = over or fullest
    if shown is None:
        return Check(name, True, f"nothing spent of {format_usd(limit.limit_nano)}")
    sign = "≤" if over is None else ">"
    detail = (
        f"{len(lines)} values, fullest {shown.line.value}: bill {format_usd(shown.bill_nano)} "
        f"{sign} limit {format_usd(limit.limit_nano)}"
    )
    return Check(name, over is None, detail)


def _by_hold(books: Books) -> Counter[str]:
    sums: Counter[str] = Counter()
    for event in books.events:
        sums[event.hold_id] += event.cost_nano
    return sums


def _client_checks(bill: Bill, calls: Sequence[CallRecord]) -> list[Check]:
    """Compare the bill with what each client was told."""
    known = _by_request(calls)
    per_request = _per_request(bill.by_call)
    unknown = {one: nano for one, nano in per_request.items() if one not in known}
    by_model: Counter[str] = Counter()
    for request_id, nano in per_request.items():
        if request_id in known:
            by_model[known[request_id].model_served or "none"] += nano
    return [
        Check(
            "every billed call is one that a client made",
            not unknown,
            f"{len(per_request)} billed, {len(unknown)} of them unknown "
            f"({format_usd(sum(unknown.values()))})",
        ),
        alike("each model: bill = calls it served", "bill", bill.by_model, "served", by_model),
    ]


def _record_checks(calls: Sequence[CallRecord], books: Books) -> list[Check]:
    ids = len({event.event_id for event in books.events})
    known = _by_request(calls)
    early = [
        event.hold_id
        for event in books.events
        if not _is_between(known.get(_request_of(event.hold_id)), event.occurred_at)
    ]
    refused = sorted(
        (str(call.request_id), str(call.code)) for call in calls if call.code in BUDGET_CODES
    )
    recorded = sorted(
        (decision_id.partition(":")[0], code)
        for decision_id, code in books.refusals
        if code in BUDGET_CODES
    )
    problems = "; ".join(books.ledger_problems[:3]) or "no difference"
    told = {one: nano_of(call.cost_usd or 0) for one, call in known.items()}
    per_request = _per_request(_by_hold(books))
    answered = sum(call.is_answered for call in calls)
    distinct = len({call.request_id for call in calls if call.is_answered})
    return [
        alike("each call: Delta = what its client was told", "Delta", per_request, "told", told),
        Check(
            "every answer has an id of its own",
            answered == distinct,
            f"{answered} answers, {distinct} ids",
        ),
        Check(
            "each event is in Delta once",
            len(books.events) == ids == books.journal_events,
            f"{len(books.events)} rows, {ids} ids, {books.journal_events} in the ledger's journal",
        ),
        Check(
            "each call was reserved between its sending and its answer",
            not early,
            f"{len(books.events)} events, {len(early)} outside",
        ),
        Check(
            "each refusal is in Delta once, with its reason",
            refused == recorded,
            f"{len(refused)} refused by budgets, {len(recorded)} recorded",
        ),
        Check("the ledger's audit finds nothing", not books.ledger_problems, problems),
        equal("nothing is held any more", held=books.held_nano, zero=0),
    ]


def _is_between(call: CallRecord | None, at: datetime) -> bool:
    return call is not None and call.sent_at <= at <= call.answered_at


def _by_request(calls: Iterable[CallRecord]) -> dict[str, CallRecord]:
    return {call.request_id: call for call in calls if call.request_id is not None}


def _per_request(by_hold: Mapping[str, int]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for hold_id, nano in by_hold.items():
        sums[_request_of(hold_id)] += nano
    return sums


def _request_of(call_id: str) -> str:
    """Return the request of a hold or decision: `request#attempt`."""
    return call_id.partition("#")[0]
