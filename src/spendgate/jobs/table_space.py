"""Where the Delta tables are: folders on this machine, or a schema of the catalog."""

# pyright: reportUnknownMemberType=false
# spark.sql takes arguments of any type.

import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template

from pyspark.sql import DataFrame, Row, SparkSession

from spendgate.adapters.delta_files import row_count
from spendgate.adapters.statements import statements
from spendgate.adapters.table_ddl import (
    CREATE,
    check_statements,
    create_statement,
    metric_view_statements,
    view_statements,
)
from spendgate.domain.table import Table
from spendgate.domain.table_list import ALL_TABLES
from spendgate.transforms.schemas import column_text, quoted_name

SESSION_CATALOG = "spark_catalog"
CONSTRAINT = "delta.constraints."
"""How Delta's table properties name a CHECK."""

_METRICS_UNKNOWN = ("PARSE_SYNTAX_ERROR", "INVALID_METRIC_VIEW_YAML", "UNSUPPORTED_FEATURE")
"""What a runtime says that knows no metric views, or an older form of them."""
_SAID_MAX = 200
_ROWS_VIOLATE = "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION"


@dataclass(frozen=True, slots=True)
class TableSpace:
    """One place of all tables: an absolute folder, or else `catalog` and `schema`."""

    folder: Path | None = None
    catalog: str | None = None
    schema: str = "spendgate"

    @property
    def schema_name(self) -> str:
        """The quoted name of the schema."""
        parts = (self.catalog, self.schema)
        return ".".join(quoted_name(part) for part in parts if part is not None)

    def name(self, table: Table) -> str:
        """Return a table's name, quoted for SQL."""
        if self.folder is not None:
            return f"delta.{quoted_name(str(self.folder / table.name))}"
        return f"{self.schema_name}.{quoted_name(table.name)}"

    def exists(self, spark: SparkSession, table: Table) -> bool:
        """Say whether a table is there."""
        if self.folder is not None:
            return (self.folder / table.name / "_delta_log").is_dir()
        return spark.catalog.tableExists(self.name(table))

    def known_rows(self, table: Table) -> int | None:
        """Return how many rows a table has; None if only a query of Spark's could tell."""
        return None if self.folder is None else row_count(self.folder / table.name)

    def count(self, spark: SparkSession, table: Table) -> int:
        """Return how many rows a table has; Delta knows, so that no file is read."""
        known = self.known_rows(table)
        return self.read(spark, table).count() if known is None else known

    @property
    def is_unity(self) -> bool:
        """Whether Unity Catalog keeps the tables; `spark_catalog` is a session's own."""
        return self.catalog not in (None, SESSION_CATALOG)

    def create(self, spark: SparkSession, table: Table) -> bool:
        """Create a table as its .sql file says; False if it was there."""
        if self.exists(spark, table):
            return False
        spark.sql(create_statement(table, self.name(table), is_unity=self.is_unity))
        return True

    def evolve(self, spark: SparkSession, table: Table) -> list[str]:
        """Add the columns that a table of an earlier version lacks; its rows have nulls in them.

        Returns:
            the columns added; those that may not be null can't be, and are left out.
        """
        known = set(self.read(spark, table).columns)
        added = [one for one in table.columns if one.name not in known and not one.is_required]
        if added:
            clauses = ", ".join(column_text(column) for column in added)
            spark.sql(f"ALTER TABLE {self.name(table)} ADD COLUMNS ({clauses})")
        return [column.name for column in added]

    def renew(self, spark: SparkSession, table: Table) -> bool:
        """Create a table that is made from others, or make it anew if it has another shape."""
        if self.create(spark, table):
            return True
        if self.read(spark, table).columns == list(table.column_names):
            return False
        if self.folder is not None:
            # By its path Delta replaces no table; what was in it can be made again.
            shutil.rmtree(self.folder / table.name)
            return self.create(spark, table)
        text = create_statement(table, self.name(table), is_unity=self.is_unity)
        spark.sql(text.replace(CREATE, "CREATE OR REPLACE TABLE", 1))
        return True

    def constrain(self, spark: SparkSession, table: Table) -> tuple[list[str], list[str]]:
        """Add the CHECK constraints that a table lacks.

        Returns:
            those added, and the problem of each that the table's rows don't keep to.
        """
        rows = spark.sql(f"SHOW TBLPROPERTIES {self.name(table)}").collect()  # a few dozen at most
        known = {row["key"].removeprefix(CONSTRAINT).lower() for row in rows}
        lacking = {
            name: text
            for name, text in check_statements(table, self.name(table)).items()
            if name not in known
        }
        added: list[str] = []
        problems: list[str] = []
        for name, text in sorted(lacking.items()):
            try:
                spark.sql(text)
                added.append(name)
            except Exception as error:
                if _ROWS_VIOLATE not in str(error):
                    raise
                check = " ".join(text.partition("CHECK ")[2].split())
                problems.append(
                    f"{table.name}: some rows don't keep to the constraint {name} {check}; correct "
                    "them, then run setup again"
                )
        return added, problems

    def create_views(self, spark: SparkSession) -> list[str]:
        """Create views and functions: in the schema, or for this session over a folder's tables."""
        made = view_statements(self.names)
        for text in made.values():
            spark.sql(text)
        return sorted(made)

    def create_metric_views(self, spark: SparkSession) -> tuple[list[str], list[str]]:
        """Create the metric views where Unity Catalog keeps the tables.

        Returns:
            those created, and a note for each that this platform doesn't know.
        """
        created: list[str] = []
        notes: list[str] = []
        for name, text in metric_view_statements(self.names).items():
            if not self.is_unity:
                notes.append(f"{name}: a metric view, which Databricks alone has; not made here")
                continue
            try:
                spark.sql(text)
                created.append(name)
            except Exception as error:
                if not any(sign in str(error) for sign in _METRICS_UNKNOWN):
                    raise
                said = str(error).partition("\n")[0][:_SAID_MAX]
                notes.append(f"{name}: this runtime makes no such metric view ({said}); 17.2 does")
        return created, notes

    @property
    def names(self) -> dict[str, str]:
        """What statements call the tables, and what is made of them."""
        prefix = "" if self.folder is not None else f"{self.schema_name}."
        return {
            **{table.name: self.name(table) for table in ALL_TABLES},
            "prefix": prefix,
            "temporary": "" if prefix else "TEMPORARY",
        }

    def read(self, spark: SparkSession, table: Table) -> DataFrame:
        """Return a table's rows."""
        return spark.table(self.name(table))

    def read_stream(self, spark: SparkSession, table: Table) -> DataFrame:
        """Return the rows that are appended to a table; what retention deletes is no news."""
        reader = spark.readStream.format("delta").option("skipChangeCommits", "true")
        if self.folder is not None:
            return reader.load(str(self.folder / table.name))
        return reader.table(self.name(table))

    def write(
        self,
        statement: str,
        table: Table,
        source: DataFrame,
        script: str = "aggregate",
        **parts: str,
    ) -> list[Row]:
        """Run a statement of `sql/delta/<script>.sql` on a table, with its metrics as answer.

        `parts` are what else the statement leaves open, as SQL: MERGE binds no parameters.
        """
        text = statements(f"delta/{script}.sql")[statement]
        text = Template(text).substitute(parts, target=self.name(table))
        return source.sparkSession.sql(text, source=source).collect()
