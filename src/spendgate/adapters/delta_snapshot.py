"""Many SELECTs over the Delta tables of a folder, tables that aren't there yet being empty."""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from spendgate.adapters.delta_query import rows_as_json, table_names
from spendgate.adapters.event_rows import arrow_schema
from spendgate.domain.table import Table


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query returned, as JSON can carry it, or why it couldn't be run."""

    columns: tuple[str, ...] = ()
    rows: tuple[Mapping[str, object], ...] = ()
    error: str | None = None


def query_each(
    folder: Path, queries: Mapping[str, str], tables: Sequence[Table]
) -> dict[str, Answer]:
    """Run each query over the tables of a folder; a query that fails doesn't stop the others.

    Args:
        folder: where the Delta tables are.
        queries: one SELECT by name.
        tables: what there should be; those that no job has made yet are empty.
    """
    found = set(table_names(folder))
    with TemporaryDirectory(prefix="spendgate-empty-") as empty:
        builder = QueryBuilder()
        for name in sorted(found):
            builder.register(name, DeltaTable(folder / name))
        for table in tables:
            if table.name not in found:
                made = DeltaTable.create(Path(empty) / table.name, arrow_schema(table))
                builder.register(table.name, made)
        return {name: _answer(builder, sql) for name, sql in queries.items()}


def _answer(builder: QueryBuilder, sql: str) -> Answer:
    try:
        table = pa.table(builder.execute(sql).read_all())
    except Exception as error:  # noqa: BLE001 - what fails while it runs comes as a bare Exception
        return Answer(error=str(error))
    return Answer(tuple(table.column_names), tuple(rows_as_json(table)))
