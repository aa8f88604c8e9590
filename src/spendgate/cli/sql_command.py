"""`spendgate sql`: the Delta tables."""

from typing import Annotated

import typer

from spendgate.cli.console import print_json, print_records
from spendgate.cli.options import Home, Json, settings_from


def add_to(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command("sql")(query)


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT, DESCRIBE TABLE name, or SHOW TABLES.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Query the Delta tables of a home; --json writes decimals as strings."""
    from spendgate.adapters.delta_query import query_rows  # noqa: PLC0415 - slow to load
    from spendgate.adapters.table_description import described  # noqa: PLC0415 - slow to load

    folder = settings_from(home).delta_folder
    records = described(folder, sql)
    if records is None:
        records = query_rows(folder, sql)
    if as_json:
        print_json(records)
    else:
        print_records(records)
