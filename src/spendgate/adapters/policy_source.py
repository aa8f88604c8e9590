"""The policy file: budgets, raises, defaults, models, model servers, router, notifiers (DESIGN §5).

All of its problems are told at once, one line per row: file, row, field, problem, way out.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from spendgate.adapters.budget_codec import (
    parse_budget,
    parse_defaults,
    parse_model,
    parse_raise,
)
from spendgate.adapters.notifier_codec import NOTIFIERS_MAX, parse_notifier, unknown_routes
from spendgate.adapters.plain_data import as_list, as_mapping
from spendgate.adapters.policy_fields import LIMIT_NANO_MAX, did_you_mean
from spendgate.adapters.policy_yaml import read_yaml_file
from spendgate.adapters.route_checks import unroutable
from spendgate.adapters.tokenizer_checks import located, unusable
from spendgate.adapters.upstream_codec import parse_router, parse_upstream
from spendgate.adapters.upstream_rows import UPSTREAMS_MAX
from spendgate.config import Settings
from spendgate.domain.budget import Budget, ModelLimits, Policy, PolicyDefaults, Raise
from spendgate.domain.notifier import NotifierSpec
from spendgate.domain.price import Price, PriceBook, TokenClass
from spendgate.domain.upstream import Router, UpstreamSpec
from spendgate.errors import PolicyError

SECTIONS = ("defaults", "budgets", "models", "upstreams", "router", "notifiers")


def load_policy(path: Path, *, book: PriceBook | None, at: datetime) -> Policy:
    """Read a policy file.

    With a price book, every model of a downgrade chain must have a price at `at`.

    Raises:
        PolicyError: names every problem, a line each.
    """
    document = read_yaml_file(path)
    return read_policy(document, where=path.name, book=book, at=at, folder=path.parent)


def read_policy(
    document: object,
    *,
    where: str,
    book: PriceBook | None = None,
    at: datetime,
    folder: Path | None = None,
) -> Policy:
    """Read a policy from a parsed document; `where` names it in errors.

    Relative paths in it begin at `folder`, None: the working directory.

    Raises:
        PolicyError: names every problem, a line each.
    """
    sections = _sections(document, where)
    problems: list[str] = []
    budgets: list[Budget] = []
    raises: list[Raise] = []
    for name, row in _named_rows(sections.get("budgets"), where, problems):
        with _collecting(problems):
            if "raises" in row:
                raises.append(parse_raise(row, where=name))
            else:
                budgets.append(parse_budget(row, where=name))
    models: dict[str, ModelLimits] = {}
    for model, limits in _mapping(sections.get("models"), f"{where}: models", problems).items():
        with _collecting(problems):
            parsed = parse_model(limits or {}, where=f"{where}: model {model!r}")
            models[model] = located(parsed, folder)
    defaults = PolicyDefaults()
    with _collecting(problems):
        defaults = parse_defaults(sections.get("defaults") or {}, where=f"{where}: defaults")
    problems += _repeated_ids(budgets, raises, where)
    problems += _orphans(budgets, raises, sections, where)
    problems += too_large(budgets, raises, where)
    problems += unusable(models, where)
    upstreams = _upstreams(sections, where, problems)
    router = Router()
    with _collecting(problems):
        router = parse_router(sections.get("router") or {}, where=f"{where}: router")
    notifiers = _notifiers(sections, where, problems)
    named = as_mapping(sections.get("notifiers")) or {}  # a wrong one is a problem of its own
    problems += unknown_routes(budgets, defaults, named, where)
    if book is not None:
        problems += unpriced_steps(budgets, book, at, where)
        problems += unroutable(upstreams, router, book, at, where)
    if problems:
        raise PolicyError("\n".join(problems))
    return Policy(
        tuple(budgets),
        tuple(raises),
        models=models,
        defaults=defaults,
        upstreams=upstreams,
        router=router,
        notifiers=notifiers,
    )


def names_default_budget(settings: Settings) -> bool:
    """Tell whether any of the `BUDGET_*` settings was set, and not only left at its default."""
    return any(name.startswith("budget_") for name in settings.model_fields_set)


def default_budget(settings: Settings) -> Budget:
    """Return the budget without a file, one for each user, from the `BUDGET_*` settings.

    Raises:
        PolicyError: names the setting that makes no budget.
    """
    row: dict[str, object] = {
        "id": "default",
        "scope": {"user": "*"},
        "limit_usd": settings.budget_default_limit,
        "window": settings.budget_default_window,
        "soft_cap": settings.budget_soft_cap,
        "hard_cap": settings.budget_hard_cap,
    }
    where = "settings BUDGET_DEFAULT_LIMIT, BUDGET_DEFAULT_WINDOW, BUDGET_SOFT_CAP, BUDGET_HARD_CAP"
    return parse_budget(row, where=where)


def unpriced_steps(
    budgets: Iterable[Budget], book: PriceBook, at: datetime, where: str
) -> Iterator[str]:
    """Yield a problem for each model of a downgrade chain that has no price."""
    for budget in budgets:
        models = {
            model for step in budget.auto_downgrade for model in (*step.from_models, step.to_model)
        }
        for model in sorted(model for model in models if not book.has(model, at)):
            yield (
                f"{where}: budget {budget.budget_id!r}: auto_downgrade: {model!r} has no price"
                f"{did_you_mean(model, book.models())}; "
                f"add one with `spendgate price set {model} --input … --output …`"
            )
        yield from _useless_steps(budget, book, at, f"{where}: budget {budget.budget_id!r}")


def _useless_steps(budget: Budget, book: PriceBook, at: datetime, where: str) -> Iterator[str]:
    """Yield a problem for each step that is ambiguous, changes the kind of model or costs more."""
    seen: set[str] = set()
    for step in budget.auto_downgrade:
        target = book.dearest(step.to_model, at=at)
        for name in step.from_models:
            if name in seen:
                yield f"{where}: auto_downgrade: {name!r} has two steps; keep one"
            seen.add(name)
            source = book.dearest(name, at=at)
            if source is None or target is None:
                continue
            if source.kind != target.kind:
                yield (
                    f"{where}: auto_downgrade: {step.to_model!r} answers with {target.kind}, so it "
                    f"can't stand in for {name!r}"
                )
            elif _is_dearer(target, source):
                yield (
                    f"{where}: auto_downgrade: {step.to_model!r} costs more than {name!r}; "
                    "name a cheaper model"
                )


def _is_dearer(target: Price, source: Price) -> bool:
    rates = [(target.rate(one), source.rate(one)) for one in (TokenClass.INPUT, TokenClass.OUTPUT)]
    return all(new >= old for new, old in rates) and any(new > old for new, old in rates)


@contextmanager
def _collecting(problems: list[str]) -> Generator[None]:
    try:
        yield
    except PolicyError as error:
        problems.append(str(error))


def _sections(document: object, where: str) -> Mapping[str, object]:
    if document is None:
        raise PolicyError(f"{where}: is empty; it needs at least `budgets:`")
    sections = as_mapping(document)
    if sections is None:
        raise PolicyError(f"{where}: must be a mapping with `budgets:`, not {_kind(document)}")
    problems = [_unknown_section(name, where) for name in sections if name not in SECTIONS]
    if "budgets" not in sections:
        problems.append(f"{where}: budgets: is required; write `budgets: []` for none")
    if problems:
        raise PolicyError("\n".join(problems))
    return sections


def _unknown_section(name: str, where: str) -> str:
    return f"{where}: {name}: unknown key{did_you_mean(name, SECTIONS)}"


def _upstreams(
    sections: Mapping[str, object], where: str, problems: list[str]
) -> tuple[UpstreamSpec, ...]:
    rows = _mapping(sections.get("upstreams"), f"{where}: upstreams", problems)
    if len(rows) > UPSTREAMS_MAX:
        problems.append(f"{where}: upstreams: more than {UPSTREAMS_MAX}; take some out")
    found: list[UpstreamSpec] = []
    for name, row in rows.items():
        with _collecting(problems):
            found.append(parse_upstream(name, row or {}, where=f"{where}: upstream {name[:40]!r}"))
    return tuple(found)


def _notifiers(
    sections: Mapping[str, object], where: str, problems: list[str]
) -> tuple[NotifierSpec, ...]:
    rows = _mapping(sections.get("notifiers"), f"{where}: notifiers", problems)
    if len(rows) > NOTIFIERS_MAX:
        problems.append(f"{where}: notifiers: more than {NOTIFIERS_MAX}; take some out")
    found: list[NotifierSpec] = []
    for name, row in rows.items():
        with _collecting(problems):
            found.append(parse_notifier(name, row, where=f"{where}: notifier {name[:40]!r}"))
    return tuple(found)


def _named_rows(
    section: object, where: str, problems: list[str]
) -> Iterator[tuple[str, Mapping[str, object]]]:
    if section is None:
        return
    rows = as_list(section)
    if rows is None:
        problems.append(f"{where}: budgets: must be a list of budgets, not {_kind(section)}")
        return
    for number, row in enumerate(rows, start=1):
        read = as_mapping(row)
        if read is None:
            problems.append(f"{where}: budget #{number}: must be a mapping, not {_kind(row)}")
            continue
        kind = "raise" if "raises" in read else "budget"
        named = f"{kind} {read['id']!r}" if isinstance(read.get("id"), str) else f"{kind} #{number}"
        yield f"{where}: {named}", read


def _mapping(section: object, where: str, problems: list[str]) -> Mapping[str, object]:
    if section is None:
        return {}
    read = as_mapping(section)
    if read is None:
        problems.append(f"{where}: must be a mapping, not {_kind(section)}")
    return read or {}


def _repeated_ids(budgets: Iterable[Budget], raises: Iterable[Raise], where: str) -> Iterator[str]:
    for kind, ids in (
        ("budget", [one.budget_id for one in budgets]),
        ("raise", [one.raise_id for one in raises]),
    ):
        for name in dict.fromkeys(name for name in ids if ids.count(name) > 1):
            count = ids.count(name)
            yield f"{where}: {kind} {name!r}: id: stands {count} times; rename all but one"


def _orphans(
    budgets: Iterable[Budget],
    raises: Iterable[Raise],
    sections: Mapping[str, object],
    where: str,
) -> Iterator[str]:
    # Ids come from the raw rows too: a budget that is wrong elsewhere shouldn't orphan its raises.
    known = {one.budget_id for one in budgets} | set(_raw_ids(sections.get("budgets")))
    for raised in raises:
        if raised.budget_id not in known:
            yield (
                f"{where}: raise {raised.raise_id!r}: raises: there is no budget "
                f"{raised.budget_id!r}{did_you_mean(raised.budget_id, known)}"
            )


def too_large(budgets: Iterable[Budget], raises: Sequence[Raise], where: str) -> Iterator[str]:
    """Yield a problem for each budget that no ledger can hold with its raises."""
    for budget in budgets:
        added = sum(one.amount_nano for one in raises if one.budget_id == budget.budget_id)
        if budget.limit_nano + budget.rollover_max_nano + added > LIMIT_NANO_MAX:
            yield (
                f"{where}: budget {budget.budget_id!r}: limit_usd: with its raises and rollover "
                "it is more than a ledger can hold (about 9.2 billion); lower one of them"
            )


def _raw_ids(section: object) -> Iterator[str]:
    for row in map(as_mapping, as_list(section) or ()):
        if row is not None and "raises" not in row and isinstance(name := row.get("id"), str):
            yield name


def _kind(value: object) -> str:
    names = {"list": "a list", "dict": "a mapping", "str": "text", "NoneType": "nothing"}
    kind = type(value).__name__
    return names.get(kind, kind)
