"""Model servers and the router between the policy file's form, JSON and the domain."""

import re
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from spendgate.adapters.budget_rows import nano_of, problems_of
from spendgate.adapters.upstream_rows import RetriesRow, RouterRow, UpstreamRow
from spendgate.domain.money import format_usd
from spendgate.domain.upstream import Retries, Router, UpstreamSpec, WorkspacePath
from spendgate.errors import PolicyError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


def parse_upstream(name: str, row: object, *, where: str) -> UpstreamSpec:
    """Read one model server from the policy file's form.

    Raises:
        PolicyError: names `where` and every field that is wrong, a line each.
    """
    try:
        read = UpstreamRow.model_validate(row)
    except ValidationError as error:
        raise _wrong(where, error, UpstreamRow.model_fields) from None
    if not _NAME.fullmatch(name):
        raise PolicyError(f"{where}: name: use letters, digits and ._:-, 64 characters at most")
    return UpstreamSpec(
        name=name,
        url=read.url,
        kind=read.kind,
        path=read.path or WorkspacePath.INVOCATIONS,
        key=read.key,
        models=read.models or (() if read.aliases else ("*",)),
        aliases=dict(read.aliases),
        geo=read.geo,
        timeout_seconds=None if read.timeout_seconds is None else float(read.timeout_seconds),
        connect_seconds=None if read.connect_seconds is None else float(read.connect_seconds),
        bills_5xx=read.bills_5xx,
        sends_usage_context=read.sends_usage_context,
    )


def parse_router(row: object, *, where: str) -> Router:
    """Read the router from the policy file's form.

    Raises:
        PolicyError: names `where` and every field that is wrong, a line each.
    """
    try:
        read = RouterRow.model_validate(row)
    except ValidationError as error:
        known = (*RouterRow.model_fields, *RetriesRow.model_fields)
        raise _wrong(where, error, known) from None
    return Router(
        name=read.name,
        strategy=read.strategy,
        candidates=read.candidates,
        fallbacks=dict(read.fallbacks),
        retries=_retries_of(read.retries),
        call_max_nano=None if read.max_call_usd is None else nano_of(read.max_call_usd),
    )


def upstream_as_json(spec: UpstreamSpec) -> dict[str, object]:
    """Return a model server in the policy file's form, without keys that are at their default."""
    row: dict[str, object] = {
        "kind": str(spec.kind),
        "url": spec.url,
        "path": None if spec.path is WorkspacePath.INVOCATIONS else str(spec.path),
        "key": spec.key,
        "models": list(spec.models),
        "aliases": dict(spec.aliases),
        "geo": spec.geo,
        "timeout_seconds": spec.timeout_seconds,
        "connect_seconds": spec.connect_seconds,
        "bills_5xx": spec.bills_5xx,
        "sends_usage_context": None if spec.sends_usage_context else False,
    }
    return {name: value for name, value in row.items() if value not in (None, [], {})}


def router_as_json(router: Router) -> dict[str, object]:
    """Return the router in the policy file's form, without keys that are at their default."""
    retries = router.retries
    row: dict[str, object] = {
        "name": router.name,
        "strategy": str(router.strategy),
        "candidates": list(router.candidates),
        "fallbacks": {model: list(others) for model, others in router.fallbacks.items()},
        "max_call_usd": None if router.call_max_nano is None else format_usd(router.call_max_nano),
        "retries": None if retries == Retries() else _retries_as_json(retries),
    }
    return {name: value for name, value in row.items() if value not in (None, [], {})}


def _retries_of(row: RetriesRow) -> Retries:
    return Retries(
        attempts_max=row.attempts_max,
        total_seconds=float(row.total_seconds),
        backoff_seconds=float(row.backoff_seconds),
        causes=row.causes,
    )


def _retries_as_json(retries: Retries) -> Mapping[str, object]:
    return {
        "attempts_max": retries.attempts_max,
        "total_seconds": retries.total_seconds,
        "backoff_seconds": retries.backoff_seconds,
        "causes": [str(one) for one in retries.causes],
    }


def _wrong(where: str, error: ValidationError, known: Iterable[str]) -> PolicyError:
    return PolicyError("\n".join(f"{where}: {problem}" for problem in problems_of(error, known)))
