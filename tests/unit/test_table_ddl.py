"""The .sql files of tables, views and functions: as in Python, and SQL that Databricks reads."""

import re
from importlib import resources
from pathlib import Path

import pytest
import sqlglot
import yaml
from sqlglot import exp

from spendgate.adapters.event_rows import arrow_schema
from spendgate.adapters.statements import statements
from spendgate.adapters.table_ddl import (
    check_statements,
    create_statement,
    metric_view_statements,
    view_statements,
)
from spendgate.domain import budget, decision, hold, price, quarantine_table
from spendgate.domain.table import Table
from spendgate.domain.table_list import ALL_TABLES, SINK_TABLES

FOLDER = Path(str(resources.files("spendgate.sql") / "delta"))
NAMES = {table.name: f"`c`.`s`.`{table.name}`" for table in ALL_TABLES}
PLACES = NAMES | {"prefix": "`c`.`s`.", "temporary": ""}
UPKEEP = re.compile(r"(DESCRIBE DETAIL|SHOW TBLPROPERTIES|OPTIMIZE|VACUUM) |.*\nWITH METRICS\n")
"""What sqlglot doesn't know; the Spark tests run each of these."""
_TYPES = re.compile(r"\s+")


def parsed(sql: str) -> exp.Expr:
    (tree,) = sqlglot.parse(sql, dialect="databricks")
    assert tree is not None
    assert not isinstance(tree, exp.Command), f"not understood: {sql}"
    return tree


def columns_of(tree: exp.Expr) -> list[tuple[str, str, bool, str]]:
    found: list[tuple[str, str, bool, str]] = []
    for column in tree.find_all(exp.ColumnDef):
        kinds = {type(one.kind): one.kind for one in column.constraints}
        comment = kinds[exp.CommentColumnConstraint].this.this
        type_text = column.args["kind"].sql("databricks").lower().replace(", ", ",")
        is_required = exp.NotNullColumnConstraint in kinds
        found.append((column.name, type_text, is_required, comment))
    return found


@pytest.mark.parametrize("is_unity", [False, True], ids=["local", "databricks"])
@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_the_sql_of_a_table_is_its_python(table: Table, is_unity: bool) -> None:
    tree = parsed(create_statement(table, NAMES[table.name], is_unity=is_unity))

    assert columns_of(tree) == [
        (column.name, column.type, column.is_required, column.comment) for column in table.columns
    ]
    comment = tree.find(exp.SchemaCommentProperty)
    assert comment is not None
    assert comment.this.this == table.comment


def test_there_is_a_file_for_each_table_and_no_other() -> None:
    names = {path.stem for path in (FOLDER / "tables").glob("*.sql")}

    assert names == {table.name for table in ALL_TABLES}


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_what_only_databricks_knows_is_declared_and_left_out_elsewhere(table: Table) -> None:
    here = create_statement(table, NAMES[table.name], is_unity=False)
    there = create_statement(table, NAMES[table.name], is_unity=True)

    bare = "\n".join(line for line in here.splitlines() if "--" not in line)
    for word in ("CLUSTER BY", "PRIMARY KEY", "RELY", "TBLPROPERTIES", "DEFAULT"):
        assert word not in bare
    assert "TBLPROPERTIES" in there
    assert "-- databricks:" not in there
    nullable = {column.name for column in table.columns if not column.is_required}
    assert ("PRIMARY KEY" in there) is (bool(table.key) and not nullable & set(table.key))
    if table in SINK_TABLES:
        assert "CLUSTER BY (occurred_at" in there


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.sql")), ids=lambda path: path.stem)
def test_every_statement_is_understood_by_databricks(path: Path) -> None:
    name = str(path.relative_to(FOLDER.parent))
    for text in statements(name).values():
        if UPKEEP.match(text):
            continue
        plain = re.sub(r"\$\{?prefix\}?", "c.s.", text.replace("$temporary ", ""))
        plain = plain.replace("$day", "CURRENT_DATE()").replace("{source}", "source")
        tree = parsed(re.sub(r"\$\{?(\w+)\}?", r"\1", plain))

        assert isinstance(
            tree,
            exp.Create | exp.Merge | exp.Insert | exp.Alter | exp.Update | exp.Query | exp.Delete,
        )


def test_checks_allow_what_the_code_writes_and_nothing_else() -> None:
    words = {
        "spend_events.kind_known": hold.EventKind,
        "budget_state.status_known": decision.Status,
        "spend_quarantine.reason_known": quarantine_table.Reason,
        "prices.token_class_known": price.TokenClass,
        "prices.kind_known": price.ModelKind,
        "prices.tier_known": price.ContextTier,
        "budgets.mode_known": budget.Mode,
        "budgets.bound_known": budget.BoundKind,
        "budgets.refusal_known": budget.Refusal,
    }
    found = {
        f"{table.name}.{name}": set(re.findall(r"'(\w+)'", text))
        for table in ALL_TABLES
        for name, text in check_statements(table, "t").items()
    }

    assert {name: found[name] for name in words} == {
        name: {str(one.value) for one in kind} for name, kind in words.items()
    }


def test_checks_let_a_column_be_null_that_may_be() -> None:
    # Delta takes a CHECK that answers null for a violation, unlike SQL.
    for table in ALL_TABLES:
        for name, text in check_statements(table, "t").items():
            for column in table.columns:
                if column.is_required or not re.search(rf"\b{column.name}\b", text):
                    continue
                handled = (f"{column.name} IS NULL OR ", f"COALESCE({column.name}, ")
                assert any(one in text for one in handled), (table.name, name, column.name)


def test_views_and_functions_are_made_in_the_schema() -> None:
    made = view_statements(PLACES)

    assert {"spend_daily", "budget_remaining", "budget_status"} <= set(made)
    for name, text in made.items():
        tree = parsed(text)
        assert isinstance(tree, exp.Create)
        assert f"`c`.`s`.{name}" in text
        assert "COMMENT" in text


def test_a_metric_view_is_made_in_the_schema_of_expressions_that_databricks_reads() -> None:
    (name, text), *others = metric_view_statements(PLACES).items()
    head, definition, end = text.split("$$")
    view = yaml.safe_load(definition)

    assert (name, others, end) == ("spend_metrics", [], "")
    assert head.startswith("CREATE OR REPLACE VIEW `c`.`s`.spend_metrics\nWITH METRICS\n")
    assert (view["source"], view["version"]) == ("`c`.`s`.`spend_hourly`", 1.1)
    for one in view["dimensions"] + view["measures"]:
        assert parsed(f"SELECT {one['expr']} AS {one['name']}")
        assert one["comment"]


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_every_column_has_an_arrow_type(table: Table) -> None:
    assert arrow_schema(table).names == list(table.column_names)
