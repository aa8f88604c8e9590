"""`spendgate replay --policy FILE`: what a policy would have done to past spend."""

from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, cast

import typer

from spendgate.adapters.policy_notes import policy_notes
from spendgate.adapters.policy_source import load_policy
from spendgate.bootstrap import open_price_book, utc_now
from spendgate.cli.console import note, print_json, print_records, print_table, progress, say
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    has_ledger,
    opened_ledger,
    parse_start,
    settings_from,
)
from spendgate.domain.budget import Policy
from spendgate.domain.window import window_at
from spendgate.gateway.past_call import Pricing
from spendgate.gateway.replaying import DECISIONS, Replay, replay_report


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("replay")(replay)


def replay(
    policy: Annotated[Path, typer.Option(metavar="FILE", help="The policy to try.")],
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Calls from then on; a date, or 7d, 24h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Calls before then.")] = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Say what a policy would have done to past spend, before anybody enables it.

    Reads the home's tables and changes nothing. The windows that are open at --since begin with
    what was spent in them before.
    """
    from spendgate.adapters.past_spend import past_spend  # noqa: PLC0415 - slow to load

    settings, now = settings_from(home, ledger), utc_now()
    with opened_ledger(settings) if has_ledger(settings) else nullcontext() as opened:
        book = open_price_book(settings, opened)
    candidate = load_policy(policy, book=book, at=now)
    for said in policy_notes(candidate, book, now):
        note(said)
    start = None if since is None else parse_start(since, now, "--since")
    end = None if until is None else parse_start(until, now, "--until")
    if start is not None and end is not None and start >= end:
        raise typer.BadParameter("--since must be before --until", param_hint="--since")
    trial = Replay(candidate, Pricing(book, settings.expected_output_tokens), start)
    first = None if start is None else _first_needed(candidate, start)
    with progress("past calls are decided again"):
        tally = trial.run(past_spend(settings.delta_folder, first, end))
    report = {
        "policy": policy.name,
        "since": None if start is None else start.isoformat(),
        "until": None if end is None else end.isoformat(),
        **replay_report(tally, candidate),
    }
    if as_json:
        print_json(report)
    else:
        _print(report)


def _first_needed(policy: Policy, since: datetime) -> datetime | None:
    """Return from when on spend counts in a window that is open at a time; None: from the first."""
    if any(one.rollover_max_nano for one in policy.budgets):
        return None
    starts = [window_at(one.window, one.tz, since).start for one in policy.budgets]
    if any(start is None for start in starts):
        return None
    return min([since, *(start for start in starts if start is not None)])


def _print(report: dict[str, object]) -> None:
    past, now = (cast(dict[str, object], report[name]) for name in ("past", "replayed"))
    names = (*DECISIONS, "usd")
    rows = [(name, past[name], now[name]) for name in names]
    print_table(("decision", "happened", "with this policy"), rows, numbers=names[1:])
    refused = cast(dict[str, object], report["newly_refused"])
    admitted = cast(dict[str, object], report["newly_admitted"])
    say(f"{report['same_decision']} of {report['calls']} calls are decided the same")
    say(f"{refused['calls']} more are refused, which cost {refused['usd']} USD")
    say(f"{admitted['calls']} more are admitted, for at most {admitted['usd_at_most']} USD")
    print_records(
        cast(list[dict[str, object]], report["budgets"]),
        numbers=("calls", "spent_usd", "refused", "would_refuse"),
    )
    for text in cast(list[str], report["notes"]):
        note(text)
