"""The platform's own tables: which there are, what they need, and what to ask for without them."""

# pyright: reportUnknownMemberType=false
# spark.sql takes arguments of any type.

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from pyspark.sql import DataFrame, SparkSession

from spendgate.adapters.statements import statements
from spendgate.jobs.spark_sink import is_sparks, spark_message
from spendgate.transforms.schemas import quoted_name

BILLED_USAGE = "billing.usage"
LIST_PRICES = "billing.list_prices"
ACCOUNT_PRICES = "billing.account_prices"
SERVED_CALLS = "serving.endpoint_usage"
SERVED_ENTITIES = "serving.served_entities"
GATEWAY_CALLS = "ai_gateway.usage"

_PRICE = ("sku_name", "cloud", "currency_code", "usage_unit", "price_start_time", "price_end_time")
_NEEDED = {
    BILLED_USAGE: (
        "record_id",
        "workspace_id",
        "sku_name",
        "cloud",
        "usage_start_time",
        "usage_end_time",
        "usage_date",
        "usage_unit",
        "usage_quantity",
        "billing_origin_product",
        "record_type",
        "usage_metadata",
    ),
    LIST_PRICES: (*_PRICE, "pricing"),
    ACCOUNT_PRICES: (*_PRICE, "pricing"),
    SERVED_CALLS: (
        "workspace_id",
        "client_request_id",
        "databricks_request_id",
        "requester",
        "status_code",
        "request_time",
        "input_token_count",
        "output_token_count",
        "usage_context",
        "served_entity_id",
    ),
    SERVED_ENTITIES: ("served_entity_id", "endpoint_name", "entity_type", "change_time"),
    GATEWAY_CALLS: (
        "workspace_id",
        "request_id",
        "requester",
        "event_time",
        "request_tags",
        "input_tokens",
        "output_tokens",
        "status_code",
    ),
}


@dataclass
class SystemTables:
    """The tables of a catalog, or folders `<schema>.<table>` on this machine.

    `problems` gets a sentence for every table that is needed and can't be read.
    """

    spark: SparkSession
    catalog: str = "system"
    folder: Path | None = None
    problems: list[str] = field(default_factory=list[str])

    def name(self, table: str) -> str:
        """Return a table's name, quoted for SQL."""
        if self.folder is not None:
            return f"delta.{quoted_name(str(self.folder / table))}"
        return ".".join(quoted_name(part) for part in (self.catalog, *table.split(".")))

    def read(self, table: str, *, without: str | None = None) -> DataFrame | None:
        """Return a table; None if it can't be read here.

        Args:
            table: schema and name.
            without: what can't be done without it, for the report; None if nothing is amiss then.
        """
        try:
            frame = self.spark.table(self.name(table))
            missing = [name for name in _NEEDED[table] if name not in frame.columns]
        except Exception as error:
            if not is_sparks(error):
                raise
            if without is not None:
                self.problems.append(self._unreadable(table, without, spark_message(error)))
            return None
        if missing and without is not None:
            names = ", ".join(missing)
            self.problems.append(f"{self.name(table)} has no {names}, so {without}")
        return None if missing else frame

    def create(self, tables: Sequence[str] = tuple(_NEEDED)) -> None:
        """Create stand-ins where there is no platform; what is there stays."""
        texts = statements("system/stand_in.sql")
        for table in tables:
            text = texts[table.replace(".", "_")]
            self.spark.sql(Template(text).substitute(target=self.name(table)))

    def _unreadable(self, table: str, without: str, said: str) -> str:
        if self.folder is not None:
            return f"there is no table {self.folder / table}, so {without}"
        schema = f"{self.catalog}.{table.partition('.')[0]}"
        who = quoted_name(self._user())
        return (
            f"can't read {self.catalog}.{table}, so {without}: let an account admin enable the "
            f"schema and run GRANT USE CATALOG ON CATALOG {self.catalog} TO {who}; "
            f"GRANT USE SCHEMA ON SCHEMA {schema} TO {who}; "
            f"GRANT SELECT ON TABLE {self.catalog}.{table} TO {who} ({said})"
        )

    def _user(self) -> str:
        return str(self.spark.sql("SELECT current_user() AS name").collect()[0]["name"])
