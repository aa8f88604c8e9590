"""Budgets and the policy they make together: what covers a call, and with which limit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from spendgate.domain.loop import LoopGuard
from spendgate.domain.notifier import NotifierSpec
from spendgate.domain.revocation import NOTHING_REVOKED, Revocations
from spendgate.domain.rollover import neighbour_keys
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.upstream import Router, UpstreamSpec
from spendgate.domain.window import Window, WindowSpec, parse_window, window_at

PPM = 10**6
"""Fractions such as a soft cap of 0.8 are whole parts per million, so that caps are exact."""
CUT = "cut"
"""The owner of raises that lower a limit, made by a restore."""


class Mode(StrEnum):
    """Whether a budget refuses, or only records what it would have refused."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class BoundKind(StrEnum):
    """How a call's worst case is found: a proven bound, or a known tokenizer plus 2 %."""

    STRICT = "strict"
    COUNTED = "counted"


class Refusal(StrEnum):
    """How a refusal travels: as an HTTP status, or inside an answer of status 200."""

    HTTP = "http"
    IN_BAND = "in_band"


@dataclass(frozen=True, slots=True)
class DowngradeStep:
    """From the soft cap on, calls for any of `from_models` are served by `to_model`."""

    from_models: tuple[str, ...]
    to_model: str


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of money for a scope and a window, with what happens near its limit."""

    budget_id: str
    scope: Scope
    limit_nano: int
    window: WindowSpec
    tz: str = "UTC"
    soft_cap_ppm: int = 800_000
    hard_cap_ppm: int = PPM
    auto_downgrade: tuple[DowngradeStep, ...] = ()
    disable_tools: tuple[str, ...] = ()
    alerts_ppm: tuple[int, ...] = (500_000, 750_000, 900_000, PPM)
    routes: tuple[str, ...] = ()
    mode: Mode = Mode.ENFORCE
    bound: BoundKind = BoundKind.STRICT
    fit: bool = True
    min_output_tokens: int = 256
    trust: Mapping[str, str] = field(default_factory=dict[str, str])
    refusal: Refusal = Refusal.HTTP
    on_client_abort: str = "drain"
    on_store_error: str = "refuse"
    loop_guard: LoopGuard | None = None
    expires_at: datetime | None = None
    rollover_max_nano: int = 0
    """The most that a window takes over of what the one before it left; 0 for none."""
    idle_ttl_seconds: int | None = None
    """Idle time after which a lifetime's value is forgotten; None: never."""
    source: str = "file"

    @property
    def own_nano(self) -> int:
        """What each window may spend by itself: no raise, nothing carried."""
        return self.hard_of(self.limit_nano)

    def hard_of(self, limit_nano: int) -> int:
        """Return the spend that is never passed under a limit."""
        return limit_nano * self.hard_cap_ppm // PPM

    def soft_of(self, limit_nano: int) -> int:
        """Return the spend from which the soft cap's actions start under a limit."""
        return limit_nano * self.soft_cap_ppm // PPM

    def step_from(self, model: str) -> str | None:
        """Return the model that this budget's chain puts in the place of `model`."""
        for step in self.auto_downgrade:
            if model in step.from_models:
                return step.to_model
        return None


@dataclass(frozen=True, slots=True)
class Raise:
    """A temporary addition to a budget's limit, a row of its own; a cut has a negative amount."""

    raise_id: str
    budget_id: str
    amount_nano: int
    reason: str
    expires_at: datetime | None = None
    source: str = "file"


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What an operator knows about a model: caps that make a bound possible or tighter."""

    image_tokens: int | None = None
    output_tokens_max: int | None = None
    min_output_tokens: int | None = None
    tool_preamble_tokens: int | None = None
    template_tokens: int | None = None
    audio_tokens: int | None = None
    file_tokens: int | None = None
    kept_reasoning_tokens: int | None = None
    tokenizer: str | None = None
    """Where the model's own tokenizer is, as `file:PATH`; None: only the strict bound is known."""


@dataclass(frozen=True, slots=True)
class PolicyDefaults:
    """What holds where a budget is silent."""

    max_output_tokens: int | None = None
    unmatched: str = "refuse"
    held_wait_seconds: float | None = None
    loop_guard: LoopGuard | None = None
    routes: tuple[str, ...] = ()
    """Notifiers for alerts of budgets that name none, and for those about no budget."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One budget that covers a call, in the window that the call falls into."""

    budget: Budget
    scope: Scope
    window: Window
    limit_nano: int
    """The limit with its raises; what is carried from the window before comes on top."""
    keys: tuple["BalanceKey", ...] = field(init=False)
    """The balance that this call moves, then those that are added to it (rolling windows)."""
    neighbours: tuple["BalanceKey", "BalanceKey"] | None = field(init=False)
    """The balances of the windows before and after, where money is carried between them."""
    read_keys: tuple["BalanceKey", ...] = field(init=False)
    """Every balance that the decision looks at."""
    hard_nano: int = field(init=False)
    """The spend that this window never passes, but for what is carried into it."""
    soft_nano: int = field(init=False)
    """The spend from which the soft cap's actions start, but for what is carried."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hard_nano", self.budget.hard_of(self.limit_nano))
        object.__setattr__(self, "soft_nano", self.budget.soft_of(self.limit_nano))
        budget_id, value = self.budget.budget_id, self.scope.value_text
        periods = (self.window.key, *self.window.also_keys)
        keys = tuple(BalanceKey(budget_id, value, period) for period in periods)
        object.__setattr__(self, "keys", keys)
        neighbours = None
        if self.budget.rollover_max_nano:
            found = neighbour_keys(self.budget.window, self.budget.tz, self.window)
            if found is not None:
                before, after = found
                neighbours = (
                    BalanceKey(budget_id, value, before),
                    BalanceKey(budget_id, value, after),
                )
        object.__setattr__(self, "neighbours", neighbours)
        object.__setattr__(self, "read_keys", (*keys, *(neighbours or ())))


class BalanceKey(NamedTuple):
    """The identity of one balance: a budget, the scope's value, the window's key.

    A tuple, because it is hashed a hundred times in a reserve and tuples do that in C.
    """

    budget_id: str
    scope_value: str
    period: str


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """One balance as a ledger stores it."""

    budget_id: str
    scope_value: str
    period: str
    spent_nano: int
    held_nano: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides, as of one version; the ledger stores it, the gate reads it."""

    budgets: tuple[Budget, ...] = ()
    raises: tuple[Raise, ...] = ()
    paused: tuple[Scope, ...] = ()
    models: Mapping[str, ModelLimits] = field(default_factory=dict[str, ModelLimits])
    defaults: PolicyDefaults = PolicyDefaults()
    revoked: Revocations = NOTHING_REVOKED
    version: int = 0
    upstreams: tuple[UpstreamSpec, ...] = ()
    router: Router = field(default_factory=Router)
    notifiers: tuple[NotifierSpec, ...] = ()

    def claims(self, identity: Identity, at: datetime) -> tuple[Claim, ...]:
        """Return the budgets that cover an identity at a time, each in its window.

        Every matching budget binds. An explicit row beats a wildcard row of the same dimensions and
        the same window: `{user: alice}` replaces `{user: "*"}` for alice.
        """
        covering = [
            _Covering(budget, bound, budget.scope.dimensions, budget.scope.wildcards)
            for budget in self.budgets
            if (budget.expires_at is None or at < budget.expires_at)
            and (bound := budget.scope.match(identity)) is not None
        ]
        return tuple(
            Claim(
                one.budget,
                one.bound,
                window_at(one.budget.window, one.budget.tz, at),
                self.limit(one.budget, at),
            )
            for one in covering
            if not (one.wildcards and _is_beaten(one, covering))
        )

    def claims_end(self, claims: Sequence[Claim], at: datetime) -> datetime | None:
        """Return until when the claims of a time stay as they are; None where nothing ends them.

        A rolling window moves on with every moment, so that its claims end at once.
        """
        if any(claim.window.also_keys for claim in claims):
            return at
        ends = [claim.window.end for claim in claims]
        ends += [one.expires_at for one in (*self.budgets, *self.raises)]
        return min((end for end in ends if end is not None and end > at), default=None)

    def limit(self, budget: Budget, at: datetime) -> int:
        """Return a budget's limit at a time, its unexpired raises included, in nano-USD."""
        if not self.raises:
            return budget.limit_nano
        raised = sum(
            one.amount_nano
            for one in self.raises
            if one.budget_id == budget.budget_id and (one.expires_at is None or at < one.expires_at)
        )
        return budget.limit_nano + raised

    def paused_scope(self, identity: Identity) -> Scope | None:
        """Return the first paused scope that covers an identity."""
        return next((scope for scope in self.paused if scope.match(identity) is not None), None)

    def budget(self, budget_id: str) -> Budget | None:
        """Return a budget by its id."""
        return next((one for one in self.budgets if one.budget_id == budget_id), None)


class _Covering(NamedTuple):
    """A budget that covers an identity; what is compared with all others is worked out once."""

    budget: Budget
    bound: Scope
    dimensions: tuple[str, ...]
    wildcards: frozenset[str]


def _is_beaten(one: _Covering, covering: Iterable[_Covering]) -> bool:
    # A shadow row replaces shadow rows only: trying a budget out must not lift the one in force.
    return any(
        other.wildcards < one.wildcards
        and other.dimensions == one.dimensions
        and other.budget.window == one.budget.window
        and (other.budget.mode is Mode.ENFORCE or one.budget.mode is Mode.SHADOW)
        for other in covering
    )


def bound_of(claims: Iterable[Claim]) -> BoundKind:
    """Return how a call is bounded: counted only where every budget that may refuse it says so."""
    bounds = {one.budget.bound for one in claims if one.budget.mode is Mode.ENFORCE}
    return BoundKind.COUNTED if bounds == {BoundKind.COUNTED} else BoundKind.STRICT


def find_loop(steps: Iterable[DowngradeStep]) -> tuple[str, ...] | None:
    """Return the models of a loop in a downgrade chain, first one repeated at the end, or None."""
    following: dict[str, str] = {}
    for step in steps:
        for model in step.from_models:
            following.setdefault(model, step.to_model)
    for start in following:
        path = [start]
        while (model := following.get(path[-1])) is not None:
            if model in path:
                return (*path[path.index(model) :], model)
            path.append(model)
    return None


__all__ = [
    "PPM",
    "BalanceKey",
    "BoundKind",
    "Budget",
    "Claim",
    "DowngradeStep",
    "Mode",
    "ModelLimits",
    "Policy",
    "PolicyDefaults",
    "Raise",
    "Refusal",
    "bound_of",
    "find_loop",
    "parse_window",
]
