"""Prices: dated rates per token, the book that holds them, and what a call costs at them.

A rate is integer pico-USD per token, which is micro-USD per million tokens ($3 per million is
3_000_000). Rows are dated and never edited: a new price is a new row, so an old charge can be
computed again at any time.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from operator import mul
from types import MappingProxyType

from spendgate.domain.money import nano_from_pico
from spendgate.domain.usage import TokenUsage

GLOBAL_GEO = "global"
"""Where a model is served when nobody says otherwise; also where a model of one price is listed."""


class InvalidPriceError(ValueError):
    """A price row contradicts itself or holds a rate that can't be charged."""


class UnpricedModelError(ValueError):
    """No row prices this model, there and then: unknown is never zero."""


class TokenClass(StrEnum):
    """The disjoint kinds of token that a provider prices apart."""

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_1H = "cache_write_1h"
    OUTPUT = "output"
    REASONING = "reasoning"


class ContextTier(StrEnum):
    """Which prompts a row prices: all of them, or those up to, or over, the row's threshold."""

    ALL = "all"
    SHORT = "short"
    LONG = "long"


class ModelKind(StrEnum):
    """What a model answers with: an embedding has no output tokens, so it needs no output rate."""

    CHAT = "chat"
    EMBEDDING = "embedding"


_PLACES = {one: place for place, one in enumerate(TokenClass)}
_INPUT, _CACHE_READ, _CACHE_WRITE, _CACHE_WRITE_1H, _OUTPUT, _REASONING = range(len(TokenClass))
_FALLBACK = {
    TokenClass.CACHE_READ: TokenClass.INPUT,
    TokenClass.CACHE_WRITE: TokenClass.INPUT,
    TokenClass.CACHE_WRITE_1H: TokenClass.CACHE_WRITE,
    TokenClass.REASONING: TokenClass.OUTPUT,
}


@dataclass(frozen=True, slots=True)
class Price:
    """One dated row: the rates of a model in a geo and a context tier, in force [from, to).

    `usd_pico` and `dbu_pico` are pico-USD and pico-DBU per token. A class without a rate is charged
    as the one it falls back to: cache reads and writes as input, one-hour writes as writes,
    reasoning as output. `caches_implicitly` says that the provider may write its cache unasked, so
    that a write premium can hit any call. `version` names the content of the row and is computed
    unless given; it ignores `source` and `output_tokens_max`, which charge nobody.
    """

    model: str
    geo: str
    context_tier: str
    long_context_over_tokens: int | None
    effective_from: datetime
    effective_to: datetime | None
    usd_pico: Mapping[TokenClass, int] = field(hash=False)
    dbu_pico: Mapping[TokenClass, int] | None = field(default=None, hash=False)
    kind: str = ModelKind.CHAT
    output_tokens_max: int | None = None
    version: str = ""
    source: str = ""
    caches_implicitly: bool = True
    _usd: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The rate of each class in their order, its own or the one it falls back to."""
    _dbu: tuple[int, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_names(self)
        _check_dates(self)
        _check_tier(self)
        _check_rates(self, "usd_pico", self.usd_pico)
        object.__setattr__(self, "usd_pico", MappingProxyType(dict(self.usd_pico)))
        if self.dbu_pico is not None:
            _check_rates(self, "dbu_pico", self.dbu_pico)
            object.__setattr__(self, "dbu_pico", MappingProxyType(dict(self.dbu_pico)))
        object.__setattr__(self, "_usd", _filled(self.usd_pico))
        object.__setattr__(self, "_dbu", None if self.dbu_pico is None else _filled(self.dbu_pico))
        if not self.version:
            object.__setattr__(self, "version", _fingerprint(self))

    def is_in_force(self, at: datetime) -> bool:
        """Tell whether this row's dates cover a time."""
        return self.effective_from <= at and (self.effective_to is None or at < self.effective_to)

    def covers(self, input_tokens: int) -> bool:
        """Tell whether this row prices a prompt of so many tokens, cached ones included."""
        if self.long_context_over_tokens is None:
            return True
        is_long = input_tokens > self.long_context_over_tokens
        return is_long == (self.context_tier == ContextTier.LONG)

    def rate(self, token_class: TokenClass) -> int:
        """Return pico-USD per token of a class, its own or the one it falls back to."""
        return self._usd[_PLACES[token_class]]

    def worst_input(self, cache_write_ttl: str | None) -> int:
        """Return the dearest pico-USD that a token of a prompt can cost: cached, or written so."""
        usd = self._usd
        worst = max(usd[_INPUT], usd[_CACHE_READ])
        if self.caches_implicitly or cache_write_ttl is not None:
            worst = max(worst, usd[_CACHE_WRITE])
        return max(worst, usd[_CACHE_WRITE_1H]) if cache_write_ttl == "1h" else worst

    def worst_output(self) -> int:
        """Return the dearest pico-USD that a token of an answer can cost."""
        return max(self._usd[_OUTPUT], self._usd[_REASONING])

    def dbu_rate(self, token_class: TokenClass) -> int | None:
        """Return pico-DBU per token of a class, or None where the row has no DBU rates."""
        return None if self._dbu is None else self._dbu[_PLACES[token_class]]

    def cost(self, usage: TokenUsage) -> "Cost":
        """Price a call's usage at this row."""
        counts = usage.disjoint()
        pico = tuple(map(mul, counts, self._usd))
        dbu = None if self._dbu is None else nano_from_pico(sum(map(mul, counts, self._dbu)))
        return Cost(
            parts_pico=pico,
            total_nano=nano_from_pico(sum(pico)),
            dbu_nano=dbu,
            price_version=self.version,
            geo=self.geo,
            context_tier=self.context_tier,
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call costs: exact parts in pico-USD, and totals rounded up once to the nano.

    `parts_pico` has one per token class, in their order. `dbu_nano` is None where the row has none.
    """

    parts_pico: tuple[int, ...]
    total_nano: int
    dbu_nano: int | None
    price_version: str
    geo: str
    context_tier: str

    @property
    def breakdown_pico(self) -> Mapping[TokenClass, int]:
        """The parts by their token class."""
        return dict(zip(TokenClass, self.parts_pico, strict=True))


@dataclass(frozen=True, slots=True)
class WorstRates:
    """The dearest rates a call could be charged at; `price_version` is the dearest row's."""

    input_pico_per_token: int
    output_pico_per_token: int
    price_version: str


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All price rows, immutable, indexed by model and geo.

    Where several rows price the same call, the one with the latest `effective_from` does, and of
    equal dates the one added last. So a row is corrected by adding another, never by editing it.
    `version` names the rows, and their order where dates are equal.
    """

    rows: tuple[Price, ...] = ()
    version: str = field(init=False)
    _by_model: Mapping[str, Mapping[str, tuple[Price, ...]]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        ordered = sorted(self.rows, key=lambda row: (row.model, row.geo, row.effective_from))
        object.__setattr__(self, "version", _digest([_fingerprint(row) for row in ordered]))
        object.__setattr__(self, "_by_model", _index(self.rows))

    def models(self) -> tuple[str, ...]:
        """Return the names of all models that have a row, sorted."""
        return tuple(sorted(self._by_model))

    def has(self, model: str, at: datetime) -> bool:
        """Tell whether any row prices a model at a time."""
        geos = self._by_model.get(model, {})
        return any(row.is_in_force(at) for row in chain.from_iterable(geos.values()))

    def row(self, version: str) -> Price | None:
        """Return a row by the version that a hold or an event recorded."""
        return next((row for row in self.rows if row.version == version), None)

    def price_for(
        self, model: str, *, geo: str = GLOBAL_GEO, at: datetime, input_tokens: int = 0
    ) -> Price | None:
        """Return the row that prices a call, or None where nothing does.

        A model without a row in a geo has one price everywhere, listed as `global`.
        """
        return _newest(self._rows(model, geo), at, input_tokens)

    def dearest(self, model: str, *, geo: str | None = GLOBAL_GEO, at: datetime) -> Price | None:
        """Return the dearest row of all context tiers, and of all geos where `geo` is None."""
        rows = [row for row in self._reachable(model, geo, at, None) if row is not None]
        return max(rows, key=_dearness, default=None)

    def worst_rates(
        self,
        model: str,
        *,
        geo: str | None = GLOBAL_GEO,
        at: datetime,
        input_tokens_max: int,
        cache_write_ttl: str | None = None,
    ) -> WorstRates | None:
        """Return rates that no call of up to `input_tokens_max` can exceed, or None if unpriced.

        `geo` None means unknown: the dearest geo. `cache_write_ttl` is what the request asks for:
        None, `5m` or `1h`. A write premium counts where the request asks for it, and always where
        the provider caches unasked (gpt-5.6 charges 1.25 times input for writes): holding too much
        is given back at settlement, too little would overspend. Claude writes its cache only when
        asked, which is a fact and not a guess, so an ordinary call isn't held at 1.25 times input.
        Settle with the `at` of the reservation: a later row isn't covered by these rates.
        """
        reachable = self._reachable(model, geo, at, input_tokens_max)
        rows = [row for row in reachable if row is not None]
        if not rows or len(rows) < len(reachable):
            return None
        return WorstRates(
            input_pico_per_token=max([row.worst_input(cache_write_ttl) for row in rows]),
            output_pico_per_token=max([row.worst_output() for row in rows]),
            price_version=(rows[0] if len(rows) == 1 else max(rows, key=_dearness)).version,
        )

    def cost(self, model: str, usage: TokenUsage, *, at: datetime, geo: str = GLOBAL_GEO) -> Cost:
        """Price a call's usage; the actual prompt length chooses the context tier.

        Raises:
            UnpricedModelError: if no row prices this call.
        """
        price = self.price_for(model, geo=geo, at=at, input_tokens=usage.input_tokens)
        if price is None:
            raise UnpricedModelError(f"{model} has no price in {geo} at {at.isoformat()}")
        return price.cost(usage)

    def with_prices(self, rows: Iterable[Price]) -> "PriceBook":
        """Return a book with rows added; those here stay and answer for their own dates."""
        return PriceBook((*self.rows, *rows))

    def _rows(self, model: str, geo: str) -> tuple[Price, ...]:
        geos = self._by_model.get(model, {})
        return geos.get(geo) or geos.get(GLOBAL_GEO, ())

    def _reachable(
        self, model: str, geo: str | None, at: datetime, input_tokens_max: int | None
    ) -> list[Price | None]:
        """List the row of every stretch of prompt lengths; None stands for a gap in the book."""
        geos = tuple(self._by_model.get(model, ())) if geo is None else (geo,)
        found: list[Price | None] = []
        for rows in (self._rows(model, one) for one in geos):
            # The row can change only past a threshold, so one length per stretch is enough.
            starts = {0} | {
                over + 1 for row in rows if (over := row.long_context_over_tokens) is not None
            }
            found += [
                _newest(rows, at, start)
                for start in sorted(starts)
                if input_tokens_max is None or start <= input_tokens_max
            ]
        return found


def _filled(rates: Mapping[TokenClass, int]) -> tuple[int, ...]:
    return tuple(_rate(rates, one) for one in TokenClass)


def _rate(rates: Mapping[TokenClass, int], token_class: TokenClass) -> int:
    while token_class not in rates:
        if token_class not in _FALLBACK:
            return 0  # Only an embedding's output gets here: a chat row without output is refused.
        token_class = _FALLBACK[token_class]
    return rates[token_class]


def _dearness(price: Price) -> tuple[int, int]:
    return price.worst_output(), price.worst_input("1h")


def _newest(rows: tuple[Price, ...], at: datetime, input_tokens: int) -> Price | None:
    for row in rows:
        if row.is_in_force(at) and row.covers(input_tokens):
            return row
    return None


def _index(rows: tuple[Price, ...]) -> Mapping[str, Mapping[str, tuple[Price, ...]]]:
    found: dict[str, dict[str, list[Price]]] = {}
    oldest_first = sorted(rows, key=lambda one: one.effective_from)
    # Read backwards, a stable sort puts the row added last before its equals.
    for row in reversed(oldest_first):
        found.setdefault(row.model, {}).setdefault(row.geo, []).append(row)
    return {
        model: {geo: tuple(ordered) for geo, ordered in geos.items()}
        for model, geos in found.items()
    }


def _fingerprint(price: Price) -> str:
    return _digest(
        [
            price.model,
            price.geo,
            price.context_tier,
            price.long_context_over_tokens,
            price.effective_from.isoformat(),
            None if price.effective_to is None else price.effective_to.isoformat(),
            sorted(price.usd_pico.items()),
            None if price.dbu_pico is None else sorted(price.dbu_pico.items()),
            price.kind,
            price.caches_implicitly,
        ]
    )


def _digest(content: list[object] | list[str]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _check_names(price: Price) -> None:
    if not price.model or not price.geo:
        raise InvalidPriceError("a price row needs a model and a geo")
    if price.kind not in set(ModelKind):
        raise InvalidPriceError(f"{price.model}: kind is {price.kind!r}, not chat or embedding")
    if price.output_tokens_max is not None and price.output_tokens_max < 1:
        raise InvalidPriceError(f"{price.model}: output_tokens_max is below 1")


def _check_dates(price: Price) -> None:
    for one in (price.effective_from, price.effective_to):
        if one is not None and one.utcoffset() != timedelta(0):
            raise InvalidPriceError(f"{price.model}: {one.isoformat()} is not in UTC")
    if price.effective_to is not None and price.effective_to <= price.effective_from:
        raise InvalidPriceError(f"{price.model}: effective_to is not after effective_from")


def _check_tier(price: Price) -> None:
    over = price.long_context_over_tokens
    if price.context_tier not in set(ContextTier):
        raise InvalidPriceError(
            f"{price.model}: context_tier is {price.context_tier!r}, not all, short or long"
        )
    if (price.context_tier == ContextTier.ALL) != (over is None):
        raise InvalidPriceError(
            f"{price.model}: short and long rows need long_context_over_tokens, others have none"
        )
    if over is not None and over < 0:
        raise InvalidPriceError(f"{price.model}: long_context_over_tokens is below 0")


def _check_rates(price: Price, name: str, rates: Mapping[TokenClass, int]) -> None:
    needed = {TokenClass.INPUT}
    if price.kind == ModelKind.CHAT:
        needed.add(TokenClass.OUTPUT)
    if missing := needed - set(rates):
        raise InvalidPriceError(f"{price.model}: {name} has no {', '.join(sorted(missing))} rate")
    for token_class, rate in rates.items():
        if token_class not in set(TokenClass):
            raise InvalidPriceError(f"{price.model}: {name} has an unknown class {token_class!r}")
        # A bool is an int to Python; a zero rate is how other tables make a model free by mistake.
        if type(rate) is not int or rate <= 0:
            raise InvalidPriceError(
                f"{price.model}: {name} {token_class} is {rate!r}, not a whole rate above 0"
            )
