"""What makes table `budgets`, ledger and policy file agree; nothing moves here.

`domain.policy_sync` has the rules of precedence. This reads and checks the rows, asks it, and says
what to write where and what to report.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from spendgate.adapters.budget_table import (
    name_of,
    row_name,
    rule_form,
    rule_of_row,
    rule_text,
)
from spendgate.adapters.policy_fields import did_you_mean
from spendgate.adapters.policy_source import too_large, unpriced_steps
from spendgate.adapters.stored_policy import PolicyEdit
from spendgate.domain.budget import CUT, Budget, Policy, Raise
from spendgate.domain.policy_sync import Merged, Move, Sides, Winner, digest, merged
from spendgate.domain.price import PriceBook
from spendgate.errors import PolicyError

Rule = Budget | Raise
WHERE = "table budgets"


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What to write where."""

    edit: PolicyEdit
    table_put: tuple[Rule, ...]
    table_removed: tuple[str, ...]
    base: Mapping[str, str]
    report: Mapping[str, object]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """The table as it was read: its rules and, by name, what is wrong with the others."""

    rules: Mapping[str, Rule]
    owners: Mapping[str, object]
    problems: Mapping[str, str]


def plan_sync(
    rows: Iterable[Mapping[str, object]],
    policy: Policy,
    base: Mapping[str, str],
    *,
    file: Policy,
    book: PriceBook,
    at: datetime,
) -> SyncPlan:
    """Say what makes table and ledger agree.

    Args:
        rows: the table's rows.
        policy: the ledger's policy, after the file's import.
        base: what the ledger remembers of the last agreement.
        file: the policy file; empty if none was given.
        book: the prices that hold after this run.
        at: the time of the run.
    """
    read = _read(rows)
    ledger = _by_name(policy)
    of_file = _by_name(file)
    problems = dict(read.problems)
    while True:
        sides = Sides(
            table={name: rule_text(rule) for name, rule in read.rules.items()},
            ledger={name: rule_text(rule) for name, rule in ledger.items()},
            base=base,
            file={name: rule_text(rule) for name, rule in of_file.items()},
            file_owned={name for name, rule in ledger.items() if rule.source == "file"},
            unreadable=frozenset(problems),
        )
        result = _without_orphans(merged(sides), read.rules, ledger, sides)
        after = _after(result, read, ledger, of_file)
        found = dict(_unusable(result, after, book, at))
        if not found:
            break
        problems |= found
    return _plan(result, after, read, ledger, problems)


def _read(rows: Iterable[Mapping[str, object]]) -> _Read:
    rules: dict[str, Rule] = {}
    owners: dict[str, object] = {}
    problems: dict[str, str] = {}
    listed = list(rows)
    counts = Counter(map(row_name, listed))
    for row in listed:
        name = row_name(row)
        if counts[name] > 1:
            problems[name] = f"{WHERE}: {name}: stands {counts[name]} times; delete all but one"
            continue
        try:
            rules[name] = rule_of_row(row)
            owners[name] = row.get("owner")
        except PolicyError as error:
            problems[name] = str(error)
    return _Read(rules, owners, problems)


def _by_name(policy: Policy) -> dict[str, Rule]:
    # A cut belongs to a restored ledger, not to people.
    raises = [one for one in policy.raises if one.source != CUT]
    return {name_of(rule): rule for rule in (*policy.budgets, *raises)}


def _without_orphans(
    result: Merged, table: Mapping[str, Rule], ledger: Mapping[str, Rule], sides: Sides
) -> Merged:
    """Take the raises of removed budgets along, except one that was edited since."""
    removed = {move.name: move.winner for move in result.moves if move.text is None}
    moves = {move.name: move for move in result.moves}
    for name in {*table, *ledger} - sides.unreadable:
        rule = ledger.get(name) or table[name]
        winner = removed.get(f"budget {rule.budget_id}")
        is_edited = name in table and digest(sides.table[name]) != sides.base.get(name)
        if isinstance(rule, Raise) and winner is not None and not is_edited:
            moves[name] = Move(name, None, winner)
    base = {name: text for name, text in result.base.items() if name not in removed}
    gone = {name for name, move in moves.items() if move.text is None}
    return replace(
        result,
        moves=tuple(moves[name] for name in sorted(moves)),
        base={name: text for name, text in base.items() if name not in gone},
    )


def _after(
    result: Merged,
    read: _Read,
    ledger: Mapping[str, Rule],
    of_file: Mapping[str, Rule],
) -> dict[str, Rule]:
    """Return the rules as the ledger will have them."""
    after = dict(ledger)
    for move in result.moves:
        if move.text is None:
            after.pop(move.name, None)
        elif move.winner is Winner.SQL:
            after[move.name] = read.rules[move.name]
        elif move.winner is Winner.FILE and move.name in of_file:
            after[move.name] = of_file[move.name]
    return after


def _unusable(
    result: Merged, after: Mapping[str, Rule], book: PriceBook, at: datetime
) -> Iterator[tuple[str, str]]:
    """Yield what of the table's rows is fine by itself but not beside the others."""
    budgets = [one for one in after.values() if isinstance(one, Budget)]
    raises = [one for one in after.values() if isinstance(one, Raise)]
    known = [one.budget_id for one in budgets]
    edited = [move for move in result.moves if move.winner is Winner.SQL and move.text is not None]
    names = {move.name for move in edited}
    # A budget isn't to blame for a raise that is new in this run.
    standing = [one for one in raises if name_of(one) not in names]
    for move in edited:
        rule = after[move.name]
        if isinstance(rule, Budget):
            found = [*unpriced_steps([rule], book, at, WHERE), *too_large([rule], standing, WHERE)]
        elif rule.budget_id not in known:
            hint = did_you_mean(rule.budget_id, known)
            found = [f"{WHERE}: {move.name}: budget_id: there is no such budget{hint}"]
        else:
            raised = [one for one in budgets if one.budget_id == rule.budget_id]
            found = list(too_large(raised, raises, WHERE))
        if found:
            yield move.name, "\n".join(found)


def _plan(
    result: Merged,
    after: Mapping[str, Rule],
    read: _Read,
    ledger: Mapping[str, Rule],
    problems: Mapping[str, str],
) -> SyncPlan:
    put: list[Rule] = []
    removed: list[Rule] = []
    table_put: dict[str, Rule] = {}
    table_removed: list[str] = []
    for move in result.moves:
        before, now = ledger.get(move.name), after.get(move.name)
        if now is None:
            if before is not None:
                removed.append(before)
            if move.name in read.rules:
                table_removed.append(move.name)
            continue
        if now != before:
            put.append(now)
        if move.winner is not Winner.SQL:
            table_put[move.name] = now
    # A row whose owner has changed is told so, and nothing else of it.
    for name, owner in read.owners.items():
        if name in after and owner != after[name].source and name not in problems:
            table_put[name] = after[name]
    return SyncPlan(
        PolicyEdit(tuple(put), tuple(removed)),
        tuple(table_put.values()),
        tuple(table_removed),
        result.base,
        _report(result, read.rules, ledger, after),
        tuple(line for text in problems.values() for line in text.splitlines()),
    )


def _report(
    result: Merged,
    table: Mapping[str, Rule],
    ledger: Mapping[str, Rule],
    after: Mapping[str, Rule],
) -> dict[str, object]:
    changes: list[dict[str, object]] = []
    for move in result.moves:
        # What holds changes on the side that lost: the ledger's, where SQL won, else the table's.
        before = (ledger if move.winner is Winner.SQL else table).get(move.name)
        now = after.get(move.name)
        if before is None and now is None:
            continue
        what = "changed" if before and now else "added" if now else "removed"
        change: dict[str, object] = {"row": move.name, "what": what, "by": move.winner.value}
        if before is not None and now is not None:
            change["fields"] = changed_fields(rule_form(before), rule_form(now))
        changes.append(change)
    conflicts = [move.name for move in result.moves if move.is_conflict]
    return {"changes": changes, "kept": result.kept, "conflicts": conflicts}


def changed_fields(
    before: Mapping[str, object], after: Mapping[str, object]
) -> dict[str, list[object]]:
    """Return each field that differs with its two values."""
    return {
        name: [before.get(name), after.get(name)]
        for name in after
        if before.get(name) != after.get(name)
    }
