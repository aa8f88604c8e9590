"""Where the Delta tables are: folders on this machine, or a schema of the catalog."""

# pyright: reportUnknownMemberType=false
# spark.sql takes arguments of any type.

from dataclasses import dataclass
from pathlib import Path
from string import Template

from pyspark.sql import DataFrame, Row, SparkSession

from spendgate.adapters.statements import statements
from spendgate.domain.table import Table
from spendgate.transforms.schemas import quoted_name, quoted_text, schema_text


@dataclass(frozen=True, slots=True)
class TableSpace:
    """One place of all tables: an absolute folder, or else `catalog` and `schema`."""

    folder: Path | None = None
    catalog: str | None = None
    schema: str = "spendgate"

    def name(self, table: Table) -> str:
        """Return a table's name, quoted for SQL."""
        if self.folder is not None:
            return f"delta.{quoted_name(str(self.folder / table.name))}"
        parts = (self.catalog, self.schema, table.name)
        return ".".join(quoted_name(part) for part in parts if part is not None)

    def exists(self, spark: SparkSession, table: Table) -> bool:
        """Say whether a table is there."""
        if self.folder is not None:
            return (self.folder / table.name / "_delta_log").is_dir()
        return spark.catalog.tableExists(self.name(table))

    def create(self, spark: SparkSession, table: Table) -> bool:
        """Create a table, with its comments; False if it was there."""
        if self.exists(spark, table):
            return False
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({schema_text(table)}) USING DELTA "
            f"COMMENT {quoted_text(table.comment)}"
        )
        return True

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
