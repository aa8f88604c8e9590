"""`spendgate budget list|set|raise|remove`: budgets as rows that people own."""

import uuid
from datetime import datetime
from typing import Annotated, cast

import typer

from spendgate.adapters.budget_admin import PEOPLE, existing, shown_budget
from spendgate.adapters.budget_codec import budget_as_json, usd_text
from spendgate.adapters.stored_policy import Author
from spendgate.bootstrap import build_admin, utc_now
from spendgate.cli.console import note, print_json, print_table, say
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    opened_ledger,
    parse_duration,
    parse_instant,
    parse_rule_scope,
    settings_from,
    system_user,
)
from spendgate.config import Settings
from spendgate.domain.budget import PPM, Budget, Policy

SEEN_AT_ONCE = "a running server sees it at its next call"
NONE = "none"

BudgetId = Annotated[str, typer.Argument(metavar="ID", help="The budget's id.")]

Rollover = Annotated[
    str | None,
    typer.Option(metavar="USD", help="The most carried into the next window; 'none' clears."),
]
IdleTtl = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="Forget idle sessions or tasks; 'none' clears."),
]


def make_group() -> typer.Typer:
    """Return the group of commands on budgets."""
    group = typer.Typer(help="List and change budgets.", no_args_is_help=True)
    group.command("list")(list_budgets)
    group.command("set")(set_budget)
    group.command("raise")(raise_budget)
    group.command("remove")(remove_budget)
    return group


def list_budgets(home: Home = None, ledger: Ledger = None, as_json: Json = False) -> None:
    """List all budgets with the limits that hold now."""
    with opened_ledger(settings_from(home, ledger)) as opened:
        policy, pauses = opened.policies.policy(), opened.policies.pauses()
    now = utc_now()
    if as_json:
        print_json([shown_budget(policy, one, now) for one in policy.budgets])
        return
    columns = (
        *("id", "scope", "limit USD", "carries", "window"),
        *("soft", "hard", "mode", "owner", "expires"),
    )
    rows = [_as_row(policy, one, now) for one in policy.budgets]
    print_table(columns, rows, numbers=("limit USD", "carries", "soft", "hard"))
    for pause in pauses:
        say(f"paused: {pause.scope} since {pause.paused_at.isoformat()}: {pause.reason}")


def set_budget(
    budget_id: BudgetId,
    scope: Annotated[
        str | None, typer.Option(help="Who it covers: agent:triage-bot, org:acme,team:*, all.")
    ] = None,
    limit: Annotated[str | None, typer.Option(metavar="USD", help="The limit.")] = None,
    window: Annotated[
        str | None, typer.Option(help="minute … month, lifetime, or rolling:24h.")
    ] = None,
    tz: Annotated[str | None, typer.Option(help="IANA time zone of the window.")] = None,
    rollover: Rollover = None,
    idle_ttl: IdleTtl = None,
    soft_cap: Annotated[
        str | None, typer.Option(metavar="FRACTION", help="Where downgrades start.")
    ] = None,
    hard_cap: Annotated[
        str | None, typer.Option(metavar="FRACTION", help="Where calls are refused.")
    ] = None,
    downgrade: Annotated[
        list[str] | None,
        typer.Option(metavar="FROM=TO", help="A step of the chain; repeatable; 'none' clears."),
    ] = None,
    disable_tool: Annotated[
        list[str] | None,
        typer.Option(metavar="TOOL", help="From the soft cap on; repeatable; 'none' clears."),
    ] = None,
    mode: Annotated[str | None, typer.Option(help="enforce or shadow.")] = None,
    fit: Annotated[
        bool | None, typer.Option("--fit/--no-fit", help="Shrink max_tokens to what is left.")
    ] = None,
    min_output_tokens: Annotated[int | None, typer.Option(help="Where fit stops.")] = None,
    alerts: Annotated[
        str | None, typer.Option(metavar="FRACTIONS", help="Such as 0.5,0.9,1.")
    ] = None,
    home: Home = None,
    ledger: Ledger = None,
) -> None:
    """Add a budget, or change the named fields of one; the row is then owned by people."""
    named: dict[str, object] = {
        "scope": None if scope is None else dict(parse_rule_scope(scope, "--scope").parts),
        "limit_usd": limit,
        "window": window,
        "tz": tz,
        "soft_cap": soft_cap,
        "hard_cap": hard_cap,
        "auto_downgrade": _steps(downgrade),
        "disable_tools": _cleared(disable_tool),
        "mode": mode,
        "fit": fit,
        "min_output_tokens": min_output_tokens,
        "alerts": None if alerts is None else alerts.split(","),
    }
    changes = {key: value for key, value in named.items() if value is not None}
    if idle_ttl is not None:
        changes["idle_ttl"] = None if idle_ttl == NONE else idle_ttl
    if rollover is not None:
        changes["rollover"] = None if rollover == NONE else {"max_usd": rollover}
    _put(settings_from(home, ledger), budget_id, changes)


def raise_budget(
    budget_id: BudgetId,
    amount: Annotated[str, typer.Option(metavar="USD", help="What to add to the limit.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")],
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends; UTC without a zone.")
    ] = None,
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long, such as 24h.")
    ] = None,
    home: Home = None,
    ledger: Ledger = None,
) -> None:
    """Add money to a budget, for a time or for good; each raise is a row of its own."""
    if expires_at is not None and lasting is not None:
        raise typer.BadParameter("give --expires-at or --for, not both")
    now = utc_now().replace(microsecond=0)
    end = None if expires_at is None else parse_instant(expires_at, "--expires-at")
    if lasting is not None:
        end = now + parse_duration(lasting, "--for")
    if end is not None and end <= now:
        raise typer.BadParameter(f"{end.isoformat()} is past", param_hint="--expires-at")
    row: dict[str, object] = {
        "raises": budget_id,
        "id": f"raise-{uuid.uuid4().hex[:12]}",
        "amount_usd": amount,
        "reason": reason,
        "expires_at": end,
    }
    settings = settings_from(home, ledger)
    with opened_ledger(settings) as opened:
        raised = build_admin(settings, opened).raise_limit(row, Author(system_user(), reason))
        policy = opened.policies.policy()
    after = policy.limit(existing(policy, budget_id), now)
    until = "for good" if end is None else f"until {end.isoformat()}"
    limits = f"{usd_text(after - raised.amount_nano)} -> {usd_text(after)} USD"
    say(f"budget {budget_id!r}: limit {limits} {until} ({raised.raise_id}); {SEEN_AT_ONCE}")


def remove_budget(budget_id: BudgetId, home: Home = None, ledger: Ledger = None) -> None:
    """Remove a budget and its raises; what was spent stays in the journal."""
    settings = settings_from(home, ledger)
    with opened_ledger(settings) as opened:
        admin = build_admin(settings, opened)
        removed = admin.remove(budget_id, Author(system_user()))
        budget, left = removed.before, admin.left_by(removed)
    assert budget is not None  # noqa: S101 - what wasn't there can't be removed
    say(f"budget {budget_id!r} ({budget.scope.text}) removed; {SEEN_AT_ONCE}")
    if budget.source != PEOPLE:
        note("the policy file owned it: it comes back with the file unless you remove it there")
    note("calls that no other budget covers are refused with no_budget from now on")
    for said in left:
        note(said)


def _as_row(policy: Policy, budget: Budget, now: datetime) -> list[object]:
    shown = budget_as_json(budget)
    raised = policy.limit(budget, now) - budget.limit_nano
    limit = usd_text(budget.limit_nano)
    return [
        budget.budget_id,
        budget.scope.text,
        f"{limit} {'-' if raised < 0 else '+'} {usd_text(abs(raised))}" if raised else limit,
        usd_text(budget.rollover_max_nano) if budget.rollover_max_nano else "",
        shown["window"] if budget.tz == "UTC" else f"{shown['window']} {budget.tz}",
        budget.soft_cap_ppm / PPM,
        budget.hard_cap_ppm / PPM,
        shown["mode"],
        budget.source,
        shown["expires_at"],
    ]


def _steps(texts: list[str] | None) -> list[dict[str, object]] | None:
    cleared = _cleared(texts)
    if cleared is None:
        return None
    steps: list[dict[str, object]] = []
    for text in cleared:
        source, equals, target = text.partition("=")
        if not equals or not source or not target:
            raise typer.BadParameter(f"{text!r}: write it FROM=TO", param_hint="--downgrade")
        steps.append({"from": source.split(","), "to": target})
    return steps


def _cleared(texts: list[str] | None) -> list[str] | None:
    if texts is None or not texts:
        return None
    return [] if texts == [NONE] else texts


def _put(settings: Settings, budget_id: str, changes: dict[str, object]) -> None:
    with opened_ledger(settings, may_create=True) as opened:
        if opened.policies.policy().budget(budget_id) is None:
            _check_complete(budget_id, changes)
        admin = build_admin(settings, opened)
        changed = admin.put(budget_id, changes, Author(system_user()), is_patch=True)
        left = admin.left_by(changed)
    if changed.after == changed.before:
        say(f"budget {budget_id!r} is already so")
    else:
        assert changed.after is not None  # noqa: S101 - it was put
        _tell_change(changed.before, changed.after)
    for said in left:
        note(said)


def _check_complete(budget_id: str, changes: dict[str, object]) -> None:
    if missing := [key for key in ("scope", "limit_usd") if key not in changes]:
        flags = " and ".join(f"--{key.removesuffix('_usd')}" for key in missing)
        raise typer.BadParameter(f"budget {budget_id!r} is new: it needs {flags}")


def _tell_change(before: Budget | None, after: Budget) -> None:
    new = budget_as_json(after)
    if before is None:
        limit = f"{new['limit_usd']} USD per {new['window']}"
        say(f"budget {after.budget_id!r} added: {after.scope.text}, {limit}; {SEEN_AT_ONCE}")
        return
    old = budget_as_json(before)
    changed = [
        f"{key} {_shown(old[key])} -> {_shown(new[key])}" for key in new if new[key] != old[key]
    ]
    what = ", ".join(changed) or "nothing but its owner"
    say(f"budget {after.budget_id!r} changed: {what}; {SEEN_AT_ONCE}")
    if before.source != after.source:
        note("the row is now yours: the policy file no longer changes it")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        parts = cast(dict[str, str], value)
        return ",".join(f"{name}:{part}" for name, part in parts.items()) or "all"
    return str(value)
