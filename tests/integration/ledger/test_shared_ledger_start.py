"""Opening a shared ledger: what can't be used is told at the start, once, without its password."""

import os
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from spendgate.adapters.migration_files import migrations
from spendgate.adapters.postgres_store import PostgresStore, PostgresTerms
from spendgate.adapters.postgres_url import parse_postgres_url
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import open_ledger, shown_ledger
from spendgate.config import Settings
from spendgate.errors import HostError, LedgerBrokenError, LedgerUnavailableError, SpendgateError

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

SECRET = "pa55/w@rd"


def settings(url: str, **more: object) -> Settings:
    return Settings.model_validate({"ledger_url": url, "ledger_timeout_seconds": 2, **more})


@contextmanager
def closed_at_the_end(url: str, **more: object) -> Iterator[StoredLedger]:
    ledger = open_ledger(settings(url, **more))
    try:
        yield ledger
    finally:
        ledger.close()


def refusal(url: str, **more: object) -> SpendgateError:
    with pytest.raises(SpendgateError) as caught, closed_at_the_end(url, **more):
        pass
    return caught.value


@pytest.fixture
def url(postgres: "PostgresServer") -> str:
    """An empty database."""
    return postgres.new_database()


@pytest.fixture
def as_role(postgres: "PostgresServer", url: str) -> Callable[..., str]:
    """Return the database's URL for a new role with a password, right or not."""

    def of(password: str, grants: str = "") -> str:
        role = f"r{os.urandom(4).hex()}"
        postgres.ask_for_passwords_of(role, SECRET)
        if grants:
            postgres.run(grants.format(role=role, database=database(url)))
        quoted = urllib.parse.quote(password, safe="")
        return url.replace("postgres@", f"{role}:{quoted}@")

    return of


def database(url: str) -> str:
    return url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]


def test_a_ledger_is_made_and_found_again(url: str) -> None:
    first = open_ledger(settings(url))
    name = first.ledger_id
    first.close()

    again = open_ledger(settings(url))

    assert again.ledger_id == name
    assert 0 < again.commit_seconds() < 60
    again.close()


def test_a_password_opens_the_ledger_of_a_role_that_may_make_it(
    as_role: Callable[..., str],
) -> None:
    url = as_role(SECRET, "GRANT CREATE ON DATABASE {database} TO {role}")

    with closed_at_the_end(url):
        pass

    assert SECRET not in shown_ledger(settings(url))
    assert urllib.parse.quote(SECRET, safe="") not in repr(settings(url)) + shown_ledger(
        settings(url)
    )


def test_a_wrong_password_is_told_and_not_shown(as_role: Callable[..., str]) -> None:
    error = refusal(as_role("wr0ng"))

    assert isinstance(error, LedgerUnavailableError)
    assert "password authentication failed" in str(error)
    assert "wr0ng" not in str(error)
    assert error.__cause__ is None


def test_a_role_that_may_not_make_tables_is_told_what_to_grant(
    as_role: Callable[..., str],
) -> None:
    error = refusal(as_role(SECRET))

    assert isinstance(error, LedgerBrokenError)
    assert "GRANT CREATE ON DATABASE" in str(error)


def test_an_unreachable_server_is_unavailable() -> None:
    error = refusal(f"postgresql://ann:{urllib.parse.quote(SECRET, safe='')}@127.0.0.1:9/x")

    assert isinstance(error, LedgerUnavailableError)
    assert str(error).startswith("the ledger at 127.0.0.1:9/x can't be reached: ")
    assert SECRET not in str(error)


@pytest.mark.parametrize("newer", [str(max(migrations("postgres")) + 1), "abc", "-1"])
def test_tables_of_a_newer_or_no_version_are_refused_and_left_alone(
    postgres: "PostgresServer", url: str, newer: str
) -> None:
    with closed_at_the_end(url):
        pass
    postgres.run(
        f"UPDATE spendgate.meta SET value = '{newer}' WHERE key = 'schema_version'", database(url)
    )

    error = refusal(url)

    assert isinstance(error, LedgerBrokenError)
    assert newer in str(error)
    found = postgres.run(
        "SELECT value FROM spendgate.meta WHERE key = 'schema_version'", database(url)
    )
    assert found == [(newer,)]


def test_tables_of_the_first_version_are_brought_to_this_one_and_keep_their_money(
    postgres: "PostgresServer", url: str
) -> None:
    first = f"CREATE SCHEMA spendgate; SET search_path TO spendgate; {migrations('postgres')[1]}"
    row = "INSERT INTO balance VALUES (1, 'day', 'ann', '2026-03-14', 0, 25, 0, 0)"
    version = "INSERT INTO meta VALUES ('schema_version', '1')"
    postgres.run(f"{first}; {row}; {version}", database(url))

    with closed_at_the_end(url) as ledger:
        balances = ledger.balances()

    assert [(one.scope_value, one.spent_nano) for one in balances] == [("ann", 25)]
    found = postgres.run(
        "SELECT value FROM spendgate.meta WHERE key = 'schema_version'", database(url)
    )
    assert found == [(str(max(migrations("postgres"))),)]


def test_a_schema_of_somebody_else_is_refused(postgres: "PostgresServer", url: str) -> None:
    postgres.run("CREATE SCHEMA spendgate CREATE TABLE budget (theirs int)", database(url))

    error = refusal(url)

    assert isinstance(error, LedgerBrokenError)
    left = postgres.run(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'spendgate'", database(url)
    )
    assert left == [(1,)]


def test_a_full_server_is_unavailable_and_says_what_to_lower(
    postgres: "PostgresServer", url: str, as_role: Callable[..., str]
) -> None:
    theirs = as_role(SECRET, "ALTER ROLE {role} CONNECTION LIMIT 1")

    with psycopg.connect(theirs):
        error = refusal(theirs)

    assert isinstance(error, LedgerUnavailableError)
    assert "SPENDGATE_LEDGER_POOL_MAX" in str(error)


@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql://ann:{SECRET}@127.0.0.1/x",
        "postgresql://ann:pa55w@rd@127.0.0.1/x",
        "postgresql://ann:pa55w/rd",
        "postgresql://ann:pa55@127.0.0.1/x?nonsense=pa55",
        "mysql://ann:pa55@127.0.0.1/x",
        "pa55",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(wrong: str) -> None:
    error = refusal(wrong)

    assert isinstance(error, HostError)
    assert "pa55" not in str(error) + shown_ledger(settings(wrong))


@pytest.mark.parametrize(
    "variable", ["IS_IN_DB_MODEL_SERVING_ENV", "IS_IN_DATABRICKS_MODEL_SERVING_ENV"]
)
def test_an_embedded_ledger_is_refused_inside_model_serving(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")

    error = refusal(f"sqlite:///{tmp_path / 'ledger.db'}")

    assert isinstance(error, HostError)
    assert "lakebase://" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_a_shared_ledger_is_welcome_inside_model_serving(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IS_IN_DB_MODEL_SERVING_ENV", "true")

    with closed_at_the_end(url):
        pass


def test_a_pool_that_is_busy_is_unavailable_in_time(url: str) -> None:
    terms = PostgresTerms(pool_max=3, timeout_seconds=0.2)
    store = PostgresStore(lambda: parse_postgres_url(url), terms)
    store.open()

    with store.pools.others.session(), pytest.raises(LedgerUnavailableError, match="busy"):
        store.read("SELECT 1")

    assert store.read("SELECT 1") == [(1,)]
    store.close()


def test_connections_are_renewed_when_they_are_old(postgres: "PostgresServer", url: str) -> None:
    ledger = open_ledger(settings(url, ledger_connection_seconds=0.000001))
    pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'spendgate'"
    pid = f"{pid} AND datname = '{database(url)}'"
    seen: set[object] = set()

    for _ in range(3):
        ledger.policy_version()
        seen.update(postgres.run(pid))

    assert len(seen) >= 3
    ledger.close()
