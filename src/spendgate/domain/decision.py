"""The decision: may this call start, served by which model, with how many tokens?

Pure and atomic. A store reads the balances under its lock, calls `decide`, and writes what it
answers, so that memory, SQLite and Postgres can't disagree. The worst case is held against the hard
cap; the soft cap looks at what is settled plus the *expected* cost, because holds are inflated
(DESIGN §2.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from spendgate.domain.budget import BalanceKey, Claim, Mode
from spendgate.domain.money import PICO_PER_NANO, nano_from_pico
from spendgate.domain.rollover import carried_nano


class Decision(StrEnum):
    """What the gate did with an admitted call; `downgrade` outranks `fit`."""

    ALLOW = "allow"
    FIT = "fit"
    DOWNGRADE = "downgrade"


class Status(StrEnum):
    """How close a budget is to its limit."""

    OK = "ok"
    SOFT = "soft"
    HARD = "hard"


class RefusalCode(StrEnum):
    """Why money says no: gone for this window, or only held by calls in flight."""

    EXHAUSTED = "budget_exhausted"
    HELD = "budget_held"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that could serve the call, at the worst it can cost."""

    model: str
    input_pico: int
    output_pico_per_token: int
    tokens_wanted: int
    expected_nano: int
    price_version: str
    floor_tokens: int = 0
    upstream: str | None = None
    """Who would serve it, and at which geography's price; None as the request's facts say."""
    geo: str | None = None
    leaner: tuple[tuple[frozenset[str], int], ...] = ()
    """Tools that budgets may drop, with `input_pico` of the call without them."""

    def without(self, tools: frozenset[str]) -> "Candidate":
        """Return the call as it is sent once these tools are dropped."""
        inputs = [pico for dropped, pico in self.leaner if dropped <= tools]
        return replace(self, input_pico=min(inputs)) if inputs else self

    def amount_nano(self, tokens: int) -> int:
        """Return the most that a call granted `tokens` of output can cost."""
        return nano_from_pico(self.input_pico + self.output_pico_per_token * tokens)

    def tokens_within(self, nano: int) -> int:
        """Return how many output tokens `nano` affords; negative if not even the input."""
        left_pico = nano * PICO_PER_NANO - self.input_pico
        if left_pico < 0:
            return -1
        if self.output_pico_per_token == 0:
            return self.tokens_wanted
        return min(self.tokens_wanted, left_pico // self.output_pico_per_token)


class Balance(NamedTuple):
    """What is spent and what is held in one window of one budget, nano-USD.

    A tuple, as a position is: a reserve over six budgets makes a dozen of each, and a frozen
    dataclass takes five times as long to make.
    """

    spent_nano: int = 0
    held_nano: int = 0

    @property
    def used_nano(self) -> int:
        """What is gone, or may be."""
        return self.spent_nano + self.held_nano


_ZERO = Balance()


class Position(NamedTuple):
    """A budget as it stands around one decision."""

    claim: Claim
    spent_nano: int
    held_nano: int
    is_binding: bool = False
    carried_nano: int = 0
    """What the limit is higher by because of the neighbouring windows, or lower."""

    @property
    def hard_nano(self) -> int:
        """The spend that is never passed."""
        return self.claim.hard_nano + self.carried_nano

    @property
    def available_nano(self) -> int:
        """What can still be held; negative after a limit was lowered."""
        claim, spent, held, _, carried = self
        return claim.hard_nano + carried - spent - held

    @property
    def limit_nano(self) -> int:
        """The limit of this window: raises and what is carried included."""
        return self.claim.limit_nano + self.carried_nano

    @property
    def soft_nano(self) -> int:
        """The spend from which the soft cap's actions start."""
        claim, carried = self.claim, self.carried_nano
        return claim.budget.soft_of(claim.limit_nano + carried) if carried else claim.soft_nano

    @property
    def is_hard(self) -> bool:
        """Whether nothing is left to spend, or too little for the call just refused."""
        claim, spent, _, is_binding, carried = self
        return is_binding or spent >= claim.hard_nano + carried

    @property
    def status(self) -> Status:
        """How close the spend is to the limit."""
        claim, spent, _, is_binding, carried = self
        if is_binding or spent >= claim.hard_nano + carried:
            return Status.HARD
        soft_nano = self.soft_nano if carried else claim.soft_nano
        return Status.SOFT if spent >= soft_nano else Status.OK


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may start: hold `amount_nano` in every position."""

    decision: Decision
    candidate: Candidate
    tokens: int
    amount_nano: int
    tools_disabled: tuple[str, ...]
    positions: tuple[Position, ...]
    shadow: "Refused | None" = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The call may not start; nothing moves anywhere."""

    code: RefusalCode
    binding: Position
    needed_nano: int
    model: str
    positions: tuple[Position, ...]


def positions_of(
    claims: Sequence[Claim], balances: Mapping[BalanceKey, Balance]
) -> tuple[Position, ...]:
    """Return each claim's spent and held, the buckets of a rolling window added up.

    `balances` holds those of `Claim.read_keys` that exist.
    """
    return tuple(
        [
            # Most claims look at one balance, and a call asks for a dozen positions.
            Position(claim, *balances.get(claim.keys[0], _ZERO))
            if len(claim.read_keys) == 1
            else _position(claim, balances)
            for claim in claims
        ]
    )


def _position(claim: Claim, balances: Mapping[BalanceKey, Balance]) -> Position:
    spent, held = balances.get(claim.keys[0], _ZERO)
    for key in claim.keys[1:]:
        row = balances.get(key, _ZERO)
        spent, held = spent + row.spent_nano, held + row.held_nano
    carried = 0 if claim.neighbours is None else _carried(claim, balances)
    return Position(claim, spent, held, False, carried)


def _carried(claim: Claim, balances: Mapping[BalanceKey, Balance]) -> int:
    assert claim.neighbours is not None  # noqa: S101 - the caller asks; this tells the types
    before, after = map(balances.get, claim.neighbours)
    return carried_nano(
        claim.budget.own_nano,
        claim.budget.rollover_max_nano,
        None if before is None else before.used_nano,
        0 if after is None else after.used_nano,
    )


def decide(
    claims: Sequence[Claim],
    candidates: Mapping[str, Candidate],
    model: str,
    balances: Mapping[BalanceKey, Balance],
) -> Granted | Refused:
    """Decide one call against all budgets that cover it.

    Args:
        claims: the budgets that cover the call.
        candidates: the requested model and every model its chains lead to.
        model: the requested model.
        balances: the balances of all claims as read under the store's lock; a missing one is zero.
    """
    return decide_at(positions_of(claims, balances), candidates, model)


def decide_at(
    positions: tuple[Position, ...], candidates: Mapping[str, Candidate], model: str
) -> Granted | Refused:
    """Decide one call where the budgets that cover it stand.

    A budget at its soft cap drops the tools that it disables and moves the call one step down its
    chain; a model that still doesn't fit the hard caps in full is stepped down further. What then
    doesn't fit is shrunk to what all budgets afford, if each allows that and its floor is kept.
    Shadow budgets never bind; what they would have refused is reported beside the grant.
    """
    candidate = candidates[model]
    amount = candidate.amount_nano(candidate.tokens_wanted)
    # Nearly every call is far from every limit, and it decides in a third of the time.
    for position in positions:
        if not _is_far(position, candidate, amount):
            return weigh(positions, candidates, model)
    return Granted(Decision.ALLOW, candidate, candidate.tokens_wanted, amount, (), positions)


def _is_far(position: Position, candidate: Candidate, amount_nano: int) -> bool:
    """Tell whether a budget binds, affords a call in full, and stays under its soft cap."""
    claim, spent, held, _, carried = position
    soft_nano = position.soft_nano if carried else claim.soft_nano
    return (
        claim.budget.mode is Mode.ENFORCE
        and amount_nano + spent + held <= claim.hard_nano + carried
        and spent + candidate.expected_nano <= soft_nano
    )


def weigh(
    positions: tuple[Position, ...], candidates: Mapping[str, Candidate], model: str
) -> Granted | Refused:
    """Decide as `decide_at` says, however near the limits are."""
    enforcing = tuple(p for p in positions if p.claim.budget.mode is Mode.ENFORCE)
    shadowing = tuple(p for p in positions if p.claim.budget.mode is Mode.SHADOW)
    soft = [p for p in enforcing if is_soft(p, candidates[model])]
    tools = _tools_disabled(soft)
    if tools:
        candidates = {name: one.without(frozenset(tools)) for name, one in candidates.items()}
    candidate = candidates[_stepped_down(candidates, model, soft, enforcing)]
    refused = _refusal(candidate, enforcing, positions)
    if refused is not None:
        return refused
    tokens = min(
        (candidate.tokens_within(p.available_nano) for p in enforcing),
        default=candidate.tokens_wanted,
    )
    return Granted(
        decision=_label(model, candidate, tokens),
        candidate=candidate,
        tokens=tokens,
        amount_nano=candidate.amount_nano(tokens),
        tools_disabled=tools,
        positions=positions,
        shadow=_refusal(candidate, shadowing, positions),
    )


def is_soft(position: Position, candidate: Candidate) -> bool:
    """Tell whether a call would take a budget's spending past its soft cap."""
    return position.spent_nano + candidate.expected_nano > position.soft_nano


def _stepped_down(
    candidates: Mapping[str, Candidate],
    model: str,
    soft: Sequence[Position],
    enforcing: Sequence[Position],
) -> str:
    path = [model]
    while len(path) == 1 or not _fits_in_full(candidates[path[-1]], enforcing):
        named = {p.claim.budget.step_from(path[-1]) for p in soft}
        # Two budgets' chains can make a circle together, so no model is visited twice.
        steps = [one for one in candidates if one in named and one not in path]
        if not steps:
            break
        path.append(min(steps, key=lambda step: (candidates[step].expected_nano, step)))
    return path[-1]


def _fits_in_full(candidate: Candidate, enforcing: Sequence[Position]) -> bool:
    amount = candidate.amount_nano(candidate.tokens_wanted)
    return all(amount <= p.available_nano for p in enforcing)


def _refusal(
    candidate: Candidate, binding: Sequence[Position], positions: tuple[Position, ...]
) -> Refused | None:
    least = candidate.amount_nano(_least_tokens(candidate, binding))
    short = [p for p in binding if least > p.available_nano]
    if not short:
        return None
    exhausted = [p for p in short if p.spent_nano + least > p.hard_nano]
    worst = min(exhausted or short, key=lambda p: p.available_nano)
    named = worst._replace(is_binding=bool(exhausted))
    return Refused(
        code=RefusalCode.EXHAUSTED if exhausted else RefusalCode.HELD,
        binding=named,
        needed_nano=least,
        model=candidate.model,
        positions=tuple(named if p is worst else p for p in positions),
    )


def _least_tokens(candidate: Candidate, binding: Sequence[Position]) -> int:
    """The fewest tokens worth granting: all, or the highest floor if each budget allows a fit."""
    budgets = [p.claim.budget for p in binding]
    if not all(budget.fit for budget in budgets):
        return candidate.tokens_wanted
    floor = max([candidate.floor_tokens, *(budget.min_output_tokens for budget in budgets)])
    return min(candidate.tokens_wanted, floor)


def _label(model: str, candidate: Candidate, tokens: int) -> Decision:
    if candidate.model != model:
        return Decision.DOWNGRADE
    return Decision.FIT if tokens < candidate.tokens_wanted else Decision.ALLOW


def _tools_disabled(soft: Sequence[Position]) -> tuple[str, ...]:
    return tuple(sorted({tool for p in soft for tool in p.claim.budget.disable_tools}))
