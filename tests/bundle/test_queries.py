"""Alert queries are SQL of columns that the tables have."""

import re

import pytest
import sqlglot
from sqlglot import exp
from tests.bundle.documents import bundle_of, read_documents

from spendgate.domain.table_list import ALL_TABLES

ALERTS = {one.key: one for one in bundle_of(read_documents(), "prod").of("alerts")}
COLUMNS = {table.name: set(table.column_names) for table in ALL_TABLES}


@pytest.mark.parametrize("key", ALERTS)
def test_an_alert_asks_for_columns_that_are_there(key: str):
    value = ALERTS[key].value
    text = re.sub(r"\$\{resources\.[\w.]+\}", "x", value["query_text"])
    parsed = sqlglot.parse_one(text, dialect="databricks")

    (table,) = [one.name for one in parsed.find_all(exp.Table)]
    outputs = [one.alias_or_name for one in parsed.expressions]
    assert {one.name for one in parsed.find_all(exp.Column)} - {"MINUTE"} <= COLUMNS[table]
    assert outputs == [value["evaluation"]["source"]["name"]]


def test_all_alerts_wake_the_warehouse_together():
    assert len({one.value["schedule"]["quartz_cron_schedule"] for one in ALERTS.values()}) == 1
