"""`spendgate doctor` on who delivers the outbox to the tables: hosts, or the job alone."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from spendgate.bootstrap import utc_now
from spendgate.cli import checks

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""


@pytest.fixture
def outbox_with_an_event(run: Run) -> None:
    run("budget", "set", "org", "--scope", "org:acme", "--limit", "50", "--window", "lifetime")
    run("adjust", "--charge", "1", "--scope", "org:acme", "--reason", "spent elsewhere")


@pytest.mark.parametrize(
    ("hosts_flush", "outbox", "tables"),
    [
        ("true", "start a host, or `spendgate job drain`; nothing is lost", "flush of a host"),
        ("false", "run `spendgate job drain`, hosts don't deliver; nothing is lost", "job drain`"),
    ],
)
def test_the_doctor_names_who_delivers(
    run: Run,
    outbox_with_an_event: None,
    monkeypatch: pytest.MonkeyPatch,
    hosts_flush: str,
    outbox: str,
    tables: str,
) -> None:
    monkeypatch.setenv("SPENDGATE_HOST_FLUSHES", hosts_flush)

    found = {one["check"]: one["way_out"] for one in run("doctor", "--json").json}

    assert found["outbox"] == outbox
    assert found["delta tables"].endswith(tables)


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (timedelta(), "ok"),
        (timedelta(minutes=10), "warn"),
        (timedelta(hours=2), "fail"),
    ],
    ids=str,
)
def test_the_doctor_fails_on_an_event_that_waits_for_an_hour(
    run: Run,
    outbox_with_an_event: None,
    monkeypatch: pytest.MonkeyPatch,
    age: timedelta,
    status: str,
) -> None:
    monkeypatch.setattr(checks, "utc_now", lambda: utc_now() + age)

    told = run("doctor", "--json", code=1 if status == "fail" else 0)

    (outbox,) = (one for one in told.json if one["check"] == "outbox")
    assert outbox["status"] == status


def test_the_doctor_sends_nobody_to_the_hosts_of_a_shared_ledger_for_tables(run: Run) -> None:
    away = "postgresql://nobody@127.0.0.1:1/nothing"

    told = run("doctor", "--ledger", away, "--json", code=1)

    (tables,) = (one for one in json.loads(told.out) if one["check"] == "delta tables")
    assert tables["way_out"] == "made by the first `spendgate job drain`"
