"""A call of the past as its events and decisions tell it, and what it could cost on any model.

The events don't keep a call's bound: only what was held in all, for how many tokens it can have
been, and what was used. So the worst case is taken apart as far as it is known: the input costs at
least what the reported tokens do at the dearest rate, all else was room for output.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from spendgate.domain.budget import Claim
from spendgate.domain.decision import Candidate, Decision, Granted
from spendgate.domain.event import CallFacts, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.money import PICO_PER_NANO, nano_from_pico
from spendgate.domain.price import GLOBAL_GEO, PriceBook, TokenClass, UnpricedModelError
from spendgate.domain.scope import Identity
from spendgate.domain.usage import TokenUsage

_WITHOUT_A_CALL = frozenset({EventKind.CORRECTED, EventKind.EXTERNAL})


@dataclass(frozen=True, slots=True)
class PastCall:
    """One attempt that was admitted, with all that its events say of its end."""

    facts: CallFacts
    reserved_nano: int
    cost_nano: int
    usage: TokenUsage | None
    ended_at: datetime
    is_booking: bool
    """Spend that no policy could have stopped: an adjustment, or spend elsewhere."""

    @property
    def at(self) -> datetime:
        """When its money was reserved."""
        return self.facts.occurred_at

    @property
    def identity(self) -> Identity:
        """Who paid."""
        return Identity(self.facts.scopes, self.facts.tags)

    @property
    def decision(self) -> str:
        """What was decided then."""
        return self.facts.decision or Decision.ALLOW


@dataclass(frozen=True, slots=True)
class PastRefusal:
    """One call that was refused."""

    record: DecisionRecord

    @property
    def at(self) -> datetime:
        """When it was refused."""
        return self.record.occurred_at

    @property
    def identity(self) -> Identity:
        """Who asked; the record keeps no tags."""
        return Identity(self.record.scopes)

    @property
    def candidate(self) -> Candidate:
        """The least that the call would have had to hold, on the last model of its chain.

        Which model that was isn't kept, so a policy's chain can't be asked for a cheaper one.
        """
        needed = self.record.needed_nano or 0
        return Candidate(
            self.record.model_requested, needed * PICO_PER_NANO, 0, 0, needed, price_version=""
        )


def past_call(events: Sequence[SpendEvent]) -> PastCall:
    """Put the events of one hold together; what corrections said later counts from its end on."""
    first, last = events[0], events[-1]
    usages = [one.charge.usage for one in events if one.charge.usage is not None]
    return PastCall(
        facts=replace(first.facts, scopes=last.facts.scopes, tags=last.facts.tags),
        reserved_nano=max(one.reserved_nano for one in events),
        cost_nano=sum(one.cost_nano for one in events),
        usage=usages[-1] if usages else None,
        ended_at=first.recorded_at,
        is_booking=all(one.kind in _WITHOUT_A_CALL for one in events),
    )


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a replay knows of prices."""

    book: PriceBook
    expected_output_tokens: int

    def asked_for(self, call: PastCall) -> str:
        """Return the model that budgets' chains start from.

        A router, an alias or a fallback chose another one than the call named; that isn't replayed.
        """
        facts = call.facts
        is_first = facts.attempt == 1 and facts.decision == Decision.DOWNGRADE
        is_priced = self.book.has(facts.model_requested, call.at)
        return facts.model_requested if is_first and is_priced else facts.model

    def candidates(self, call: PastCall, claims: Iterable[Claim]) -> dict[str, Candidate]:
        """Return the model that was asked for and all that the chains lead to."""
        steps = [claim.budget for claim in claims]
        served, asked = self._served(call), self.asked_for(call)
        found: dict[str, Candidate] = {}
        waiting = [asked]
        while waiting:
            model = waiting.pop()
            one = served if model == served.model else self._other(call, served, model)
            if one is None or model in found:
                continue
            found[model] = one
            waiting += [step for budget in steps if (step := budget.step_from(model)) is not None]
        return found if asked in found else {asked: replace(served, model=asked), **found}

    def cost(self, call: PastCall, granted: Granted) -> int:
        """Return what a call would have cost as it was granted now."""
        model, usage = granted.candidate.model, call.usage
        if usage is None or not call.cost_nano:
            # Charged in full for an unknown end, or not billed at all.
            return granted.amount_nano if call.cost_nano else 0
        kept = replace(
            usage,
            output_tokens=min(usage.output_tokens, granted.tokens),
            reasoning_tokens=min(usage.reasoning_tokens or 0, granted.tokens),
        )
        if model != call.facts.model:
            try:
                geo = call.facts.geo or GLOBAL_GEO
                return self.book.cost(model, kept, at=call.at, geo=geo).total_nano
            except UnpricedModelError:
                return granted.amount_nano
        lost = usage.output_tokens - kept.output_tokens
        price = self.book.row(call.facts.price_version)
        rate = 0 if price is None else price.rate(TokenClass.OUTPUT)
        return max(0, call.cost_nano - nano_from_pico(lost * rate))

    def _served(self, call: PastCall) -> Candidate:
        """Return the model that served the call: held in full, it costs what was reserved."""
        held_pico = call.reserved_nano * PICO_PER_NANO
        input_tokens = 0 if call.usage is None else call.usage.input_tokens
        rates = self._rates(call, call.facts.model, input_tokens)
        if rates is None or not rates[1]:
            return Candidate(call.facts.model, held_pico, 0, 0, call.reserved_nano, "")
        rate_in, rate_out = rates
        tokens = max(0, held_pico - input_tokens * rate_in) // rate_out
        # A call that was cut to what was left wanted more; how much more isn't known.
        wanted = tokens + 1 if call.decision == Decision.FIT else tokens
        return Candidate(
            model=call.facts.model,
            input_pico=held_pico - tokens * rate_out,
            output_pico_per_token=rate_out,
            tokens_wanted=wanted,
            expected_nano=self._expected(input_tokens, wanted, rate_in, rate_out),
            price_version=call.facts.price_version,
        )

    def _other(self, call: PastCall, served: Candidate, model: str) -> Candidate | None:
        input_tokens = 0 if call.usage is None else call.usage.input_tokens
        rates = self._rates(call, model, input_tokens)
        own = self._rates(call, served.model, input_tokens)
        if rates is None or own is None:
            return None
        rate_in, rate_out = rates
        bound = -(-served.input_pico // own[0])
        return replace(
            served,
            model=model,
            input_pico=bound * rate_in,
            output_pico_per_token=rate_out,
            expected_nano=self._expected(input_tokens, served.tokens_wanted, rate_in, rate_out),
        )

    def _rates(self, call: PastCall, model: str, input_tokens: int) -> tuple[int, int] | None:
        geo = call.facts.geo or GLOBAL_GEO
        worst = self.book.worst_rates(model, geo=geo, at=call.at, input_tokens_max=input_tokens)
        if worst is None:
            return None
        return worst.input_pico_per_token, worst.output_pico_per_token

    def _expected(self, input_tokens: int, wanted: int, rate_in: int, rate_out: int) -> int:
        output = min(wanted, self.expected_output_tokens)
        return nano_from_pico(input_tokens * rate_in + output * rate_out)
