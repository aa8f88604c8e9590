"""What a policy's upstreams and router must agree on with each other and with the price book."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from spendgate.adapters.policy_fields import did_you_mean
from spendgate.domain.price import PriceBook
from spendgate.domain.upstream import Router, UpstreamSpec


def unroutable(
    upstreams: Iterable[UpstreamSpec], router: Router, book: PriceBook, at: datetime, where: str
) -> Iterator[str]:
    """Yield a problem for each model or geography that calls couldn't be priced for."""
    geos = {row.geo for row in book.rows}
    for spec in upstreams:
        if spec.geo is not None and spec.geo not in geos:
            yield (
                f"{where}: upstream {spec.name!r}: geo: {spec.geo[:40]!r} names no prices; "
                f"there are: {', '.join(sorted(geos))}"
            )
    if router.candidates and book.has(router.name, at):
        yield f"{where}: router: name: {router.name!r} is a model with a price; choose another name"
    for field, models in _named_models(router):
        for model in models:
            if not book.has(model, at):
                yield (
                    f"{where}: router: {field}: {model[:60]!r} has no price"
                    f"{did_you_mean(model, book.models())}; "
                    f"add one with `spendgate price set {model} --input … --output …`"
                )
    for model, others in router.fallbacks.items():
        yield from _of_another_kind(model, others, book, at, where)


def _named_models(router: Router) -> Iterator[tuple[str, Iterable[str]]]:
    yield "candidates", router.candidates
    for model, others in router.fallbacks.items():
        yield f"fallbacks.{model}", (model, *others)


def _of_another_kind(
    model: str, others: Iterable[str], book: PriceBook, at: datetime, where: str
) -> Iterator[str]:
    first = book.dearest(model, geo=None, at=at)
    for other in others:
        second = book.dearest(other, geo=None, at=at)
        if first is not None and second is not None and first.kind != second.kind:
            yield (
                f"{where}: router: fallbacks.{model}: {other!r} answers with {second.kind}, so it "
                f"can't stand in for {model!r}"
            )
