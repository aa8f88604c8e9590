"""`spendgate budget import FILE`: a policy file, or the recipes' JSON profiles."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spendgate.adapters.plain_data import as_mapping
from spendgate.adapters.policy_import import PolicyImport, import_policy
from spendgate.adapters.policy_notes import policy_notes
from spendgate.adapters.policy_source import load_policy, unpriced_steps
from spendgate.adapters.profile_import import import_profiles
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.stored_policy import Author
from spendgate.bootstrap import open_price_book, utc_now
from spendgate.cli.budget_commands import SEEN_AT_ONCE
from spendgate.cli.console import note, say
from spendgate.cli.options import Home, Ledger, opened_ledger, settings_from, system_user
from spendgate.domain.price import PriceBook
from spendgate.errors import PolicyError


def add_to(group: typer.Typer) -> None:
    """Add the command to the group of budgets."""
    group.command("import")(import_budgets)


def import_budgets(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="YAML or JSON.")
    ],
    home: Home = None,
    ledger: Ledger = None,
) -> None:
    """Import a policy file, or a JSON list of camelCase profiles.

    A policy file replaces the rows that the file owns. Profiles become rows that people own, by id.
    """
    settings = settings_from(home, ledger)
    with opened_ledger(settings, may_create=True) as opened:
        book = open_price_book(settings, opened)
        if _holds_profiles(file):
            _import_profiles(file, opened, book)
        else:
            _import_policy(file, opened, book)


def _import_policy(file: Path, ledger: StoredLedger, book: PriceBook) -> None:
    now = utc_now()
    policy = load_policy(file, book=book, at=now)
    imported = import_policy(ledger, Author(system_user()), policy, now)
    kept = imported.kept
    counted = f"{len(policy.budgets) - len(kept)} budgets, {len(policy.raises)} raises"
    say(f"{file.name}: {counted} now as the file says; {SEEN_AT_ONCE}")
    for said in policy_notes(policy, book, now):
        note(said)
    for budget_id in kept:
        note(f"budget {budget_id!r} is kept as people set it; remove it to let the file's row in")
    note_changes(imported, file)


def note_changes(imported: PolicyImport, file: Path) -> None:
    """Note which budgets a file removed and changed, and which start at zero."""
    for said in (*imported.losses(file.name), *imported.changes(file.name)):
        note(said)


def _import_profiles(file: Path, ledger: StoredLedger, book: PriceBook) -> None:
    budgets = import_profiles(_text(file))
    if problems := list(unpriced_steps(budgets, book, utc_now(), file.name)):
        raise PolicyError("\n".join(problems))
    existing = {one.budget_id for one in ledger.policies.policy().budgets}
    ledger.policies.by(system_user()).put_budgets(budgets)
    for one in budgets:
        change = "changed" if one.budget_id in existing else "added"
        say(f"budget {one.budget_id!r} {change}: {one.scope.text}")
    say(f"{len(budgets)} profiles imported; {SEEN_AT_ONCE}")


def _holds_profiles(file: Path) -> bool:
    """Tell profiles from a policy: JSON that is a list or has `profiles`."""
    try:
        document: object = json.loads(_text(file))
    except (json.JSONDecodeError, RecursionError):
        return False
    read = as_mapping(document)
    return read is None or "profiles" in read


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise PolicyError(f"{file.name}: is not UTF-8 text; save it as UTF-8") from None
