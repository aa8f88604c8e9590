"""What a call could be served by: the requested model and its chains, each at its worst cost."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from spendgate.domain.bound import (
    TEMPLATE_TOKENS,
    TOOL_PREAMBLE_TOKENS,
    MediaCaps,
    Prompt,
    UnboundedError,
    cache_write_ttl,
    estimate_input_tokens,
    input_tokens_max,
    output_tokens_min,
)
from spendgate.domain.budget import BoundKind, Claim, Mode, ModelLimits, bound_of
from spendgate.domain.decision import Candidate, Granted, Position, decide_at
from spendgate.domain.money import nano_from_pico
from spendgate.domain.upstream import UpstreamSpec
from spendgate.errors import InvalidRequestError
from spendgate.gateway.rules import Rules
from spendgate.gateway.terms import Terms
from spendgate.gateway.upstream_body import drop_tools, offers_tools
from spendgate.gateway.wire import EMBEDDINGS, Call

_NO_LIMITS = ModelLimits()
_KEEPS_NOTHING = "databricks-"
"""Foundation Model APIs refuse `store`: what a call doesn't send, they don't have."""


class Offers:
    """Prices one call for any model; what doesn't depend on the model is worked out once."""

    def __init__(
        self,
        call: Call,
        rules: Rules,
        claims: Sequence[Claim],
        at: datetime,
        terms: Terms,
        server_of: Callable[[str], UpstreamSpec | None],
    ) -> None:
        self._call, self._at, self._terms = call, at, terms
        self._policy, self._book = rules.policy, rules.book
        is_counted = bool(rules.counters) and bound_of(claims) is BoundKind.COUNTED
        self._counters = rules.counters if is_counted else None
        self._server_of = server_of
        try:
            self._prompt = Prompt(call.body)
            self._ttl = cache_write_ttl(self._prompt)
            self._expected_input = estimate_input_tokens(self._prompt)
            self._leaner = _leaner_prompts(call, claims, self._prompt)
        except UnboundedError as error:
            raise InvalidRequestError(str(error), error.field) from None
        self._bounds: dict[tuple[Prompt, ModelLimits, bool], int] = {}

    @property
    def write_ttl(self) -> str | None:
        """How long the call asks the provider to keep what it caches."""
        return self._ttl

    def candidate(self, model: str) -> Candidate | None:
        """Return the worst case of the call on a model, or None if the model has no price.

        Raises:
            InvalidRequestError: if something in the body can't be bounded for this model.
        """
        limits = self._policy.models.get(model, _NO_LIMITS)
        input_max = self._input_max(self._prompt, model, limits)
        server = self._server_of(model)
        geo = self._geo_of(server)
        rates = self._book.worst_rates(
            model,
            geo=geo,
            at=self._at,
            input_tokens_max=input_max,
            cache_write_ttl=self._ttl,
        )
        if rates is None:
            return None
        wanted = self._tokens_wanted(model, limits, geo)
        floor = self._floor(wanted)
        output_pico = rates.output_pico_per_token * self._call.choices if wanted else 0
        expected_output = min(wanted, self._terms.expected_output_tokens)
        return Candidate(
            model=model,
            input_pico=input_max * rates.input_pico_per_token,
            output_pico_per_token=output_pico,
            tokens_wanted=wanted,
            expected_nano=nano_from_pico(
                self._expected_input * rates.input_pico_per_token + expected_output * output_pico
            ),
            price_version=rates.price_version,
            floor_tokens=max(limits.min_output_tokens or 0, floor),
            upstream=None if server is None else server.name,
            geo=geo,
            leaner=tuple(
                (tools, self._input_max(prompt, model, limits) * rates.input_pico_per_token)
                for tools, prompt in self._leaner
            ),
        )

    def alternative(self, model: str) -> Candidate | None:
        """Return the worst case on a model other than the one asked for.

        None where it has no price, no bound or no server, or answers with something else.
        """
        geo = self._geo_of(self._server_of(model))
        price = self._book.price_for(model, geo=geo, at=self._at)
        is_embedding = price is not None and price.kind != "chat"
        return self._possible(model) if is_embedding == (self._call.route == EMBEDDINGS) else None

    def along_chains(self, model: str, claims: Sequence[Claim]) -> dict[str, Candidate] | None:
        """Return the requested model and all that the claims' chains lead to; None if unpriced."""
        first = self.candidate(model)
        if first is None:
            return None
        found = {model: first}
        waiting = [model]
        while waiting:
            current = waiting.pop()
            for claim in claims:
                step = claim.budget.step_from(current)
                if step is not None and step not in found:
                    candidate = self._possible(step)
                    if candidate is not None:
                        found[step] = candidate
                        waiting.append(step)
        return found

    def suggestion(
        self,
        positions: tuple[Position, ...],
        refused: Iterable[str],
        allowed: Sequence[str] | None,
    ) -> str | None:
        """Return a model that fits now: the dearest the policy names, else the cheapest alike.

        Alike is who made it (`databricks-claude-…`), and only then whatever the same place has.
        """
        excluded = set(refused)
        named = {step.to_model for one in self._policy.budgets for step in one.auto_downgrade}
        named |= set(self._policy.models)
        fitting = self._fitting(named - excluded, positions, allowed)
        if fitting:
            return max(fitting, key=lambda one: (one.expected_nano, one.model)).model
        others = set(self._book.models()) - excluded - named
        for words in (2, 1):
            family = _family(self._call.model, words)
            alike = {one for one in others if _family(one, words) == family}
            fitting = self._fitting(alike, positions, allowed)
            if fitting:
                return min(fitting, key=lambda one: (one.expected_nano, one.model)).model
            others -= alike
        return None

    def _possible(self, model: str) -> Candidate | None:
        """Return the worst case on another model, None where it has no server, price or bound."""
        if self._server_of(model) is None:
            return None
        try:
            return self.candidate(model)
        except InvalidRequestError:
            return None

    def _fitting(
        self,
        models: Iterable[str],
        positions: tuple[Position, ...],
        allowed: Sequence[str] | None,
    ) -> list[Candidate]:
        found: list[Candidate] = []
        for model in models:
            if not (allowed is None or model in allowed):
                continue
            candidate = self.alternative(model)
            if candidate is not None and isinstance(
                decide_at(positions, {model: candidate}, model), Granted
            ):
                found.append(candidate)
        return found

    def _input_max(self, prompt: Prompt, model: str, limits: ModelLimits) -> int:
        keeps_nothing = model.startswith(_KEEPS_NOTHING)
        key = (prompt, limits, keeps_nothing)
        if key not in self._bounds:
            preamble, template = limits.tool_preamble_tokens, limits.template_tokens
            kept = limits.kept_reasoning_tokens
            try:
                self._bounds[key] = input_tokens_max(
                    prompt,
                    caps=MediaCaps(limits.image_tokens, limits.audio_tokens, limits.file_tokens),
                    tool_preamble_tokens=TOOL_PREAMBLE_TOKENS if preamble is None else preamble,
                    template_tokens=TEMPLATE_TOKENS if template is None else template,
                    kept_reasoning_tokens=0 if kept is None and keeps_nothing else kept,
                    count=None if self._counters is None else self._counters.get(model),
                )
            except UnboundedError as error:
                raise InvalidRequestError(str(error), error.field) from None
        return self._bounds[key]

    def _floor(self, wanted: int) -> int:
        """Return the output below which the server would refuse the call."""
        least = output_tokens_min(self._call.body)
        if least is None or not wanted:
            return 0
        field, floor = least
        if floor > wanted:
            raise InvalidRequestError(
                f"{field} needs max_tokens of at least {floor}, and this call has {wanted}; raise "
                "max_tokens or lower it",
                field,
            )
        return floor

    def _geo_of(self, server: UpstreamSpec | None) -> str:
        return (server.geo if server is not None else None) or self._terms.geo

    def _tokens_wanted(self, model: str, limits: ModelLimits, geo: str) -> int:
        if self._call.route == EMBEDDINGS:
            return 0
        default = self._policy.defaults.max_output_tokens or self._terms.default_max_tokens
        wanted = self._call.max_tokens or default
        price = self._book.price_for(model, geo=geo, at=self._at)
        ceilings = (limits.output_tokens_max, price.output_tokens_max if price else None)
        return min(wanted, *(one for one in ceilings if one is not None), wanted)


def _leaner_prompts(
    call: Call, claims: Sequence[Claim], whole: Prompt
) -> list[tuple[frozenset[str], Prompt]]:
    """Return the call without the tools that each budget in force may drop, and without all."""
    if call.route == EMBEDDINGS or not offers_tools(call.body):
        return []
    budgets = [claim.budget for claim in claims if claim.budget.mode is Mode.ENFORCE]
    lists = {frozenset(one.disable_tools) for one in budgets if one.disable_tools}
    if not lists:
        return []
    found: list[tuple[frozenset[str], Prompt]] = []
    for tools in {*lists, frozenset[str]().union(*lists)}:
        body = dict(call.body)
        if drop_tools(body, tools):
            found.append((tools, Prompt(body, whole)))
    return found


def _family(model: str, words: int) -> str:
    return "-".join(model.split("-")[:words])
