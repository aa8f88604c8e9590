"""The platform's tables for a home whose models are simulated: made of the simulator's own record.

`spendgate simulate --bill FILE` lists every call beside its bill. What a workspace would show of
these calls is put into stand-ins in the home, and reconciliation reads them as it reads the real
ones.
"""

# pyright: reportUnknownMemberType=false
# Spark's functions take columns of any type.

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.errors import HostError
from spendgate.jobs.system_tables import (
    BILLED_USAGE,
    LIST_PRICES,
    SERVED_CALLS,
    SERVED_ENTITIES,
    SystemTables,
)
from spendgate.transforms.simulated_platform import (
    BROKEN,
    CALLS_SCHEMA,
    billed_hours,
    listed_calls,
    listed_prices,
    served_entities,
)

SUFFIX = ".calls.jsonl"
"""What stands behind the bill's name: the calls of `bill.json` are in `bill.calls.jsonl`."""
FOLDER = "simulated-system"
_MADE_OF = {
    SERVED_CALLS: listed_calls,
    SERVED_ENTITIES: served_entities,
    BILLED_USAGE: billed_hours,
    LIST_PRICES: listed_prices,
}


def simulated_tables(spark: SparkSession, bill: Path, home: Path) -> SystemTables:
    """Return the platform's tables as a simulator's calls make them now.

    Raises:
        HostError: if the bill has no record of its calls.
    """
    record = bill.absolute().with_suffix(SUFFIX)
    if not record.is_file():
        raise HostError(
            f"--bill {bill}: there is no {record.name} beside it; `spendgate simulate --bill FILE` "
            "writes both"
        )
    lines = spark.read.schema(CALLS_SCHEMA).option("columnNameOfCorruptRecord", BROKEN)
    read = lines.json(str(record))
    calls = read.where(F.col(BROKEN).isNull() & F.col("at_micros").isNotNull())
    tables = SystemTables(spark, folder=home.absolute() / FOLDER)
    tables.create(tuple(_MADE_OF))
    for name, made_of in _MADE_OF.items():
        _replace(spark, tables, name, made_of(calls))
    if broken := read.count() - spark.table(tables.name(SERVED_CALLS)).count():
        tables.problems.append(f"{broken} lines of {record} can't be read and are left out")
    return tables


def _replace(spark: SparkSession, tables: SystemTables, name: str, rows: DataFrame) -> None:
    """Let a stand-in have these rows alone; what they don't say is null."""
    target = spark.table(tables.name(name)).schema
    columns = (
        (F.col(one.name) if one.name in rows.columns else F.lit(None)).alias(one.name)
        for one in target
    )
    whole = rows.select(*columns).to(target)
    whole.write.format("delta").mode("overwrite").save(str(tables.folder) + f"/{name}")
