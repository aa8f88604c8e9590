"""Ctrl-C in a notebook: the step ends or is given back, and nobody is kept out of the ledger."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.library.conftest import MESSAGES, POLICY, SONNET

from spendgate import Budgets
from spendgate.gateway.json_object import json_list, json_object

INTERRUPTED = """
import os, signal, sys, threading, time
from spendgate import Budgets
from spendgate.adapters.sqlite_session import SqliteSession

home, policy, place = sys.argv[1:]
begin, end = SqliteSession.begin, SqliteSession.end
began = 0

def interrupt():
    signal.raise_signal(signal.SIGINT)
    time.sleep(0.05)  # only a thread of its own gets here, and is meanwhile not waited for

def begin_interrupted(self, deadline):
    global began
    connection = begin(self, deadline)
    began += threading.current_thread().name in {"MainThread", "spendgate-step"}
    if began == PLACES[place]:
        began += 1
        interrupt()
    return connection

PLACES = {"reserve": 1, "settle": 2}
request = {"agent": "bot", "model": "MODEL", "messages": [{"role": "user", "content": "hi"}]}

def one():
    with budgets.step(max_tokens=50, **request) as step:
        step.report({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12})

with Budgets(policy, home=home) as budgets:
    one()
    SqliteSession.begin = begin_interrupted
    try:
        one()
    except KeyboardInterrupt:
        print("interrupted")
    SqliteSession.begin = begin
    again = threading.Thread(target=one)
    again.start(); again.join()
    one()
    print("went on")
    sys.stdout.flush()
    input()
"""


@pytest.mark.parametrize(("place", "settled"), [("reserve", 3), ("settle", 4)])
def test_an_interrupt_in_a_transaction_keeps_nobody_out(
    tmp_path: Path, place: str, settled: int
) -> None:
    policy, home = tmp_path / "budgets.yml", tmp_path / "home"
    policy.write_text(POLICY)
    script = INTERRUPTED.replace("MODEL", SONNET)
    command = [sys.executable, "-c", script, str(home), str(policy), place]

    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline(), process.stdout.readline()]
        with Budgets(home=home) as budgets:  # another process, while that one is open
            with budgets.step(agent="bot", model=SONNET, messages=MESSAGES, max_tokens=5) as step:
                step.not_sent()
            assert step.spend is not None
            (budget,) = json_list(step.spend["budgets"])
            figures = json_object(budget)
        process.communicate("\n", timeout=60)

    assert told == ["interrupted\n", "went on\n"]
    assert process.returncode == 0
    assert figures["held_usd"] == "0.000000000"
    assert figures["spent_usd"] == f"{settled * 0.00012:.9f}"
