"""What the demo sets out to show, as checks beside the proof of the money."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from spendgate.demo.books import Bill
from spendgate.demo.burst import ADMITTED_RATIO_MIN, Burst
from spendgate.demo.cast import Agent, Kind
from spendgate.demo.closing import PART, Closing
from spendgate.demo.proof import Check
from spendgate.demo.traffic import LOST, CallRecord
from spendgate.domain.money import format_usd


def story_checks(
    crowd: Sequence[Agent],
    calls: Sequence[CallRecord],
    bursts: Sequence[Burst],
    closing: Closing,
    bill: Bill,
) -> list[Check]:
    """Check that everything that the demo is about did happen."""
    by_agent: defaultdict[str, list[CallRecord]] = defaultdict(list)
    for call in calls:
        by_agent[call.scopes.get("agent", "none")].append(call)
    lost = sum(call.status == LOST for call in calls)
    return [
        _everybody_worked(crowd, by_agent),
        *(_stopped(by_agent[one.name], one) for one in crowd if one.kind is Kind.RUNAWAY),
        _downgraded(calls, bill),
        _tools_dropped(calls),
        *map(_burst, bursts),
        _closed(calls, closing),
        Check("every call was answered", lost == 0, f"{len(calls)} calls, {lost} without answer"),
    ]


def _everybody_worked(
    crowd: Sequence[Agent], by_agent: defaultdict[str, list[CallRecord]]
) -> Check:
    at_work = sum(
        any(call.is_answered for call in by_agent[agent.name])
        for agent in crowd
        if agent.kind is not Kind.STRANGER
    )
    strangers = sum(agent.kind is Kind.STRANGER for agent in crowd)
    detail = f"{at_work} of {len(crowd)} agents served, {strangers} had nothing to ask for"
    return Check("the crowd was served", at_work + strangers == len(crowd), detail)


def _stopped(calls: Sequence[CallRecord], agent: Agent) -> Check:
    served = sum(call.is_answered for call in calls)
    refused = sum(call.code == "budget_exhausted" for call in calls)
    last = max(calls, key=lambda call: call.sent_at, default=None)
    is_stopped = served > 0 and last is not None and not last.is_answered
    detail = f"{served} served on {agent.loops} loops, then {refused} refused as exhausted"
    return Check(f"runaway stopped: {agent.name}", is_stopped, detail)


def _downgraded(calls: Sequence[CallRecord], bill: Bill) -> Check:
    pairs: Counter[tuple[str, str]] = Counter()
    for call in calls:
        if call.is_answered and call.decision == "downgrade" and call.model_served:
            pairs[call.model_requested, call.model_served] += 1
    changed = {served for asked, served in pairs if asked != served}
    billed = {model for model in changed if bill.by_model.get(model, 0) > 0}
    detail = ", ".join(
        f"{asked} -> {served} ({count})" for (asked, served), count in sorted(pairs.items())
    )
    holds = len(changed) > 0 and billed == changed
    return Check("the soft cap changed the model, and the bill says so", holds, detail or "none")


def _tools_dropped(calls: Sequence[CallRecord]) -> Check:
    without = sum("web_search" in call.tools_disabled for call in calls if call.is_answered)
    return Check("the soft cap took a tool away", without > 0, f"web_search off in {without} calls")


def _burst(burst: Burst) -> Check:
    asked = "no max_tokens" if burst.max_tokens is None else f"max_tokens {burst.max_tokens}"
    detail = (
        f"{burst.callers} at once, {asked}: {burst.admitted} admitted ÷ {burst.affordable} "
        f"affordable = {burst.ratio:.2f}; spent {format_usd(burst.spent_nano)} of "
        f"{format_usd(burst.limit_nano)}"
    )
    holds = burst.ratio >= ADMITTED_RATIO_MIN and burst.spent_nano <= burst.limit_nano
    return Check(f"nobody starved: {burst.name}", holds, detail)


def _closed(calls: Sequence[CallRecord], closing: Closing) -> Check:
    sent = [call for call in calls if call.part == PART]
    in_flight = [call for call in sent if call.answered_at > closing.told_at]
    answered = sum(call.is_answered for call in in_flight)
    detail = (
        f"{len(in_flight)} in flight, {answered} answered and settled; exit status "
        f"{closing.exit_status}"
    )
    holds = 0 < len(in_flight) == answered and closing.exit_status == 0
    return Check("SIGTERM lost nothing in flight", holds, detail)
