"""Which side wins when a budget was edited in more than one place."""

import pytest

from spendgate.domain.policy_sync import Move, Sides, Winner, digest, merged

OLD, SQL, LEDGER, FILE = "old", "of sql", "of the ledger", "of the file"


def moved(
    table: str | None = None,
    ledger: str | None = None,
    base: str | None = None,
    *,
    file: str | None = None,
    file_owned: bool = False,
) -> Move | None:
    """Merge one row; None if there was nothing to do."""

    def side(text: str | None) -> dict[str, str]:
        return {} if text is None else {"b": text}

    result = merged(
        Sides(
            side(table),
            side(ledger),
            {} if base is None else {"b": digest(base)},
            side(file),
            {"b"} if file_owned else frozenset(),
        )
    )
    (move,) = result.moves or (None,)
    agreed = table if move is None else move.text
    assert result.base == ({} if agreed is None else {"b": digest(agreed)})
    return move


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        # One side is new, or has changed.
        ((None, LEDGER, None), Move("b", LEDGER, Winner.LEDGER)),
        ((SQL, None, None), Move("b", SQL, Winner.SQL)),
        ((OLD, LEDGER, OLD), Move("b", LEDGER, Winner.LEDGER)),
        ((SQL, OLD, OLD), Move("b", SQL, Winner.SQL)),
        # Removed on one side.
        ((OLD, None, OLD), Move("b", None, Winner.LEDGER)),
        ((None, OLD, OLD), Move("b", None, Winner.SQL)),
        # Both changed: SQL wins; an edit beats a removal.
        ((SQL, LEDGER, OLD), Move("b", SQL, Winner.SQL, is_conflict=True)),
        ((SQL, LEDGER, None), Move("b", SQL, Winner.SQL, is_conflict=True)),
        ((SQL, None, OLD), Move("b", SQL, Winner.SQL, is_conflict=True)),
        ((None, LEDGER, OLD), Move("b", LEDGER, Winner.LEDGER, is_conflict=True)),
        # Nothing to do.
        ((OLD, OLD, OLD), None),
        ((SQL, SQL, OLD), None),
        ((SQL, SQL, None), None),
        ((None, None, OLD), None),
    ],
)
def test_the_side_that_changed_wins(
    sides: tuple[str | None, str | None, str | None], expected: Move | None
) -> None:
    found = moved(*sides)

    if sides == (None, None, OLD):
        assert found is None or found.text is None
    else:
        assert found == expected


def test_a_row_of_the_file_cant_be_removed_in_sql() -> None:
    found = moved(None, OLD, OLD, file=OLD, file_owned=True)

    assert found == Move("b", OLD, Winner.FILE, is_conflict=True)


def test_a_persons_row_that_is_removed_gives_way_to_the_files() -> None:
    assert moved(None, OLD, OLD, file=FILE) == Move("b", FILE, Winner.FILE)


def test_a_change_of_the_file_is_named_as_such() -> None:
    assert moved(OLD, FILE, OLD, file=FILE, file_owned=True) == Move("b", FILE, Winner.FILE)


def test_a_row_that_cant_be_read_is_left_alone_and_its_base_is_kept() -> None:
    sides = Sides(
        {"good": OLD}, {"bad": LEDGER, "good": OLD}, {"bad": "x"}, unreadable={"bad", "new"}
    )

    result = merged(sides)

    assert result.moves == ()
    assert result.base == {"bad": "x", "good": digest(OLD)}
    assert result.kept == 1
