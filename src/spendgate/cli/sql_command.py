"""`spendgate sql`: the Delta tables."""

from typing import Annotated

import typer

from spendgate.cli.console import print_json, print_records
from spendgate.cli.options import Home, Json, settings_from


def add_to(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command("sql")(query)


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT; --json writes decimals as strings.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Query the Delta tables of a home."""
    from spendgate.adapters.delta_query import query_rows  # noqa: PLC0415 - slow to load

    records = query_rows(settings_from(home).delta_folder, sql)
    if as_json:
        print_json(records)
    else:
        print_records(records)
