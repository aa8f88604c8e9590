"""What commands print: tables for people, JSON for machines, notes aside on stderr."""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import typer

WIDTH_WITHOUT_TERMINAL = 240
"""Wide enough that a table in a pipe or a log isn't cut."""


def print_json(value: object) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()
) -> None:
    """Print rows under their columns; `numbers` are the columns to align right."""
    from rich import box  # noqa: PLC0415 - slow to load
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.table import Table  # noqa: PLC0415 - slow to load
    from rich.text import Text  # noqa: PLC0415 - slow to load

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        # Text, because a name such as `[bold]` is data and no markup.
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    Console(width=width, highlight=False).print(table)


def print_records(records: Sequence[Mapping[str, object]], *, numbers: Sequence[str] = ()) -> None:
    """Print records that share their keys as a table."""
    if not records:
        typer.echo("no rows")
        return
    columns = list(records[0])
    print_table(columns, [[one.get(name) for name in columns] for one in records], numbers=numbers)


def say(text: str) -> None:
    """Print one line."""
    typer.echo(text)


def note(text: str) -> None:
    """Print one line beside the result, on stderr."""
    typer.echo(text, err=True)


@contextmanager
def progress(text: str) -> Generator[None]:
    """Show on stderr that something long is running; silent where nobody watches."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load

    with Console(stderr=True).status(text):
        yield
