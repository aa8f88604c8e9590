"""`spendgate audit --restore`: an embedded ledger whose disk is gone, rebuilt from the tables."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import typer

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_replacement import is_lost, replacement
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import apply_policy, utc_now
from spendgate.cli.console import print_records, say
from spendgate.cli.options import opened_ledger
from spendgate.config import SQLITE_SCHEME, Settings
from spendgate.domain.adjustment import NotAdjusted
from spendgate.domain.budget import Policy, Raise
from spendgate.domain.money import MoneyError, format_usd, parse_usd
from spendgate.domain.table import SPEND_EVENTS
from spendgate.errors import HostError, PolicyError
from spendgate.gateway.restoring import Rebuilt, cuts, rebuild

_NO_LIMIT = "until you lift it"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a restore brings back, and what it cuts."""

    rebuilt: Rebuilt
    cuts: list[Raise]


def restored(settings: Settings, unflushed_usd: str | None, forget: list[str]) -> dict[str, object]:
    """Rebuild the home's ledger and tell what came back.

    Raises:
        HostError: if this ledger can't be restored so, or has spend already.
        PolicyError: if the tables name a budget that the policy lacks.
        SinkUnavailableError: if the table of events can't be read.
    """
    if not settings.is_embedded:
        raise HostError(
            "only an embedded ledger is rebuilt from the tables; restore a shared one from its "
            "server's backup, which has every hold"
        )
    if not (settings.delta_folder / SPEND_EVENTS.name).exists():
        raise HostError(
            f"there is no table {SPEND_EVENTS.name} in {settings.delta_folder}: nothing was "
            "delivered there; give the --home whose tables are left"
        )
    with _ledger_to_fill(settings) as ledger:
        _refuse_used(ledger, settings)
        applied = apply_policy(settings, ledger)
        policy = ledger.policies.policy()
        rebuilt = _read(settings, policy, forget)
        unflushed = _unflushed(unflushed_usd, rebuilt, settings)
        plan = _Plan(rebuilt, cuts(policy, unflushed, utc_now()))
        _fill(ledger, plan)
        if isinstance(ledger, SqliteLedger):  # as every embedded one is
            ledger.note_restored(utc_now())
        name = ledger.ledger_id
    return {
        "restored": True,
        "ledger_id": name,
        "events_read": rebuilt.events,
        "last_event_recorded_at": _text(rebuilt.last_recorded_at),
        "holds_restored": rebuilt.holds,
        "sums_restored": len(rebuilt.replays) - rebuilt.holds,
        "unflushed_usd": format_usd(unflushed),
        "cuts": [_cut_as_json(policy, one) for one in plan.cuts],
        "budgets_kept": list(applied.imported.kept),
    }


def print_restored(told: dict[str, object]) -> None:
    """Print what `restored` told."""
    say(
        f"restored from {told['events_read']} events, the last recorded at "
        f"{told['last_event_recorded_at']}: {told['holds_restored']} holds of the last days, "
        f"{told['sums_restored']} sums of older ones"
    )
    made = cast(list[dict[str, object]], told["cuts"])
    if made:
        say(f"up to {told['unflushed_usd']} USD may be missing, so these limits are cut:")
        print_records(made, numbers=("limit_usd", "cut_usd"))
    say(
        "not in the tables, so set them again: pauses, raises, prices and budgets that people set, "
        "revoked tokens"
    )


@contextmanager
def _ledger_to_fill(settings: Settings) -> Generator[StoredLedger]:
    """Open a ledger that is there, or build one that takes the lost one's place in the end."""
    path = Path(settings.ledger_location.removeprefix(SQLITE_SCHEME))
    if not is_lost(path):
        with opened_ledger(settings) as opened:
            yield opened
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacement(path, settings.sqlite_synchronous, settings.sqlite_busy_seconds) as made:
        yield made


def _refuse_used(ledger: StoredLedger, settings: Settings) -> None:
    if ledger.balances() or ledger.audit().events:
        raise HostError(
            f"the ledger at {settings.ledger_location} has spend already: restoring would count it "
            "twice. If it is the wrong one, stop the hosts and move it away"
        )


def _read(settings: Settings, policy: Policy, forget: list[str]) -> Rebuilt:
    from spendgate.adapters.delta_events import read_events  # noqa: PLC0415 - slow to load

    known = [one for one in forget if policy.budget(one) is not None]
    if known:
        message = f"{known[0]!r} is in the policy; only a budget that is gone can be forgotten"
        raise typer.BadParameter(message, param_hint="--forget")
    rebuilt = rebuild(
        policy,
        read_events(settings.delta_folder),
        utc_now(),
        stretch=timedelta(seconds=settings.hold_seconds + settings.flush_seconds),
        forget=forget,
    )
    if rebuilt.unknown:
        found = sorted(rebuilt.unknown.items())
        named = ", ".join(f"{one} (last charged {_text(at)})" for one, at in found)
        raise PolicyError(
            f"the tables have spend of budgets that the policy lacks: {named}. Bring them back in "
            "--budgets FILE, or they would start at zero; --forget ID drops one that is gone"
        )
    return rebuilt


def _unflushed(text: str | None, rebuilt: Rebuilt, settings: Settings) -> int:
    if text is None:
        seconds = round(settings.hold_seconds + settings.flush_seconds)
        raise typer.BadParameter(
            "say how much may have been spent or held that the tables don't have. The last event "
            f"was recorded at {_text(rebuilt.last_recorded_at)}; in the last 7 days calls that "
            f"began within {seconds} s had reserved at most {format_usd(rebuilt.exposure_nano)} "
            "USD, which is a hint and no bound; more if the flush was behind",
            param_hint="--unflushed-usd",
        )
    try:
        nano = parse_usd(text)
    except MoneyError as error:
        raise typer.BadParameter(str(error), param_hint="--unflushed-usd") from None
    if nano < 0:
        raise typer.BadParameter(f"{text} is below 0", param_hint="--unflushed-usd")
    return nano


def _fill(ledger: StoredLedger, plan: _Plan) -> None:
    # The cuts first: a ledger whose filling broke off has no spend yet, and is filled again.
    for one in plan.cuts:
        ledger.policies.by("audit --restore").put_raise(one)
    refused = [
        outcome
        for outcome in ledger.adjust(plan.rebuilt.replays)
        if isinstance(outcome, NotAdjusted)
    ]
    assert not refused  # noqa: S101 - the ledger was empty: nothing can be in the way


def _cut_as_json(policy: Policy, cut: Raise) -> dict[str, object]:
    budget = policy.budget(cut.budget_id)
    limit = 0 if budget is None else policy.limit(budget, utc_now())
    lift = f"spendgate budget raise {cut.budget_id} --amount {format_usd(-cut.amount_nano)}"
    until = "" if cut.expires_at is None else f" --expires-at {_text(cut.expires_at)}"
    return {
        "budget_id": cut.budget_id,
        "limit_usd": format_usd(limit),
        "cut_usd": format_usd(-cut.amount_nano),
        "until": _text(cut.expires_at) or _NO_LIMIT,
        "lift_with": f'{lift}{until} --reason "…"',
    }


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
