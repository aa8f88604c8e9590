"""Which side wins when budgets were edited in more than one place since they last agreed.

Three sides may have changed a row: the table (SQL), the ledger (commands, API) and the policy file.
The file is brought into the ledger first and owns its rows there. What remains are two sides and
the base, what both had when they last agreed. The rules, in order:

1. One side changed: it wins. Both did: SQL wins, and the row is named as a conflict.
2. An edit beats a removal.
3. A row that the file owns can't be removed in SQL; a person's row that is, gives way to the file's
   row of that name if it has one.
"""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum


class Winner(StrEnum):
    """Whose form of a row holds from now on."""

    SQL = "sql"
    LEDGER = "ledger"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Sides:
    """The rows by name, each as its canonical text; the base as digests of such texts."""

    table: Mapping[str, str]
    ledger: Mapping[str, str]
    base: Mapping[str, str] = field(default_factory=dict[str, str])
    file: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the policy file has, also where people own the ledger's row of that name."""
    file_owned: Set[str] = frozenset()
    """The ledger's rows that the file owns."""
    unreadable: Set[str] = frozenset()
    """The table's rows that can't be used; they are left alone on both sides."""


@dataclass(frozen=True, slots=True)
class Move:
    """One row that isn't the same everywhere: what it becomes, None if it goes, and why."""

    name: str
    text: str | None
    winner: Winner
    is_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """What to change, and the base of the next merge."""

    moves: tuple[Move, ...]
    base: Mapping[str, str]
    kept: int
    """How many rows are the same everywhere."""


def digest(text: str) -> str:
    """Return the short name of a row's content that the base keeps."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def merged(sides: Sides) -> Merged:
    """Say what makes table and ledger agree."""
    names = sorted({*sides.table, *sides.ledger, *sides.base} - sides.unreadable)
    base = {name: sides.base[name] for name in sides.unreadable if name in sides.base}
    moves: list[Move] = []
    kept = 0
    for name in names:
        table, ledger = sides.table.get(name), sides.ledger.get(name)
        agreed = table
        if table != ledger:
            move = _move(name, sides)
            moves.append(move)
            agreed = move.text
        elif table is not None:
            kept += 1
        if agreed is not None:
            base[name] = digest(agreed)
    return Merged(tuple(moves), base, kept)


def _move(name: str, sides: Sides) -> Move:
    table, ledger, base = (one.get(name) for one in (sides.table, sides.ledger, sides.base))
    if table is None:
        return _removed_or_new(name, ledger, base, sides)
    if digest(table) == base:
        return Move(name, ledger, _of_ledger(name, sides))
    is_ledger_changed = (None if ledger is None else digest(ledger)) != base
    return Move(name, table, Winner.SQL, is_conflict=is_ledger_changed)


def _removed_or_new(name: str, ledger: str | None, base: str | None, sides: Sides) -> Move:
    """Decide about a row that the ledger has and the table hasn't."""
    is_unchanged = ledger is not None and digest(ledger) == base
    if not is_unchanged:
        return Move(name, ledger, _of_ledger(name, sides), is_conflict=base is not None)
    if name in sides.file_owned:
        return Move(name, ledger, Winner.FILE, is_conflict=True)
    if name in sides.file:
        return Move(name, sides.file[name], Winner.FILE)
    return Move(name, None, Winner.SQL)


def _of_ledger(name: str, sides: Sides) -> Winner:
    return Winner.FILE if name in sides.file_owned else Winner.LEDGER
