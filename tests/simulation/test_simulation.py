"""Some seeds in every test run; `make seeds SEEDS=…` runs as many as wanted."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.ledgers.broken import BROKEN
from tests.simulation.auditor import Auditor, InvoiceReader
from tests.simulation.world import SeedFailedError, simulate

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 500
BLOCK = 50
SEEDS_TO_CATCH = 100


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_no_seed_finds_wrong_money(first: int) -> None:
    for seed in range(first, first + BLOCK):
        simulate(seed)


def test_every_verdict_and_every_end_is_met() -> None:
    met: Counter[str] = Counter()

    for seed in range(BLOCK):
        met.update(simulate(seed).counts)

    verdicts = {"Granted", "Refused", "AlreadyReserved", "FingerprintConflict", "StalePolicy"}
    ends = {f"{verb} moved" for verb in ("settle", "void", "expire")} | {"settle repeated"}
    assert verdicts | ends | {"swept", "answered"} <= met.keys()


@pytest.mark.parametrize("seed", range(12))
def test_a_seed_is_lived_on_sqlite_as_in_memory(seed: int) -> None:
    assert simulate(seed, store="sqlite") == simulate(seed)


@pytest.mark.parametrize("first", range(0, 12, 4))
def test_a_seed_is_lived_on_a_server_as_in_memory(postgres: "PostgresServer", first: int) -> None:
    database = postgres.new_database()

    for seed in range(first, first + 4):
        assert simulate(seed, store=database) == simulate(seed)


def test_a_seed_is_the_same_life_in_another_process() -> None:
    here = simulate(7)

    said = subprocess.run(
        [sys.executable, "-m", "tests.simulation.seeds", "--seed", "7"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert f"seed 7: {here.steps} steps, fingerprint {here.digest}" in said


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--seeds=0", "--seeds: '0' is not a number of at least 1"),
        ("--seeds=abc", "--seeds: 'abc' is not a number of at least 1"),
        ("--start=-1", "--start: '-1' is not a number of at least 0"),
        ("--seed=x", "--seed: 'x' is not a number of at least 0"),
    ],
)
def test_what_is_no_number_of_seeds_is_told_in_one_line(flag: str, said: str) -> None:
    command = [sys.executable, "-m", "tests.simulation.seeds", flag]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"seeds: argument {said}\n"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_ledger_is_caught_and_its_seed_replays(name: str) -> None:
    failures = ((seed, _failure(seed, name)) for seed in range(SEEDS_TO_CATCH))
    seed, failure = next((seed, text) for seed, text in failures if text is not None)

    assert f"make seeds SEED={seed}" in failure
    assert len(re.findall(r"^ +\d+\.\d ", failure, re.MULTILINE)) > 1  # its last steps
    assert _failure(seed, name) == failure


@pytest.mark.parametrize(
    "name",
    ["expiry frees the hold", "admission ignores holds", "one budget of a grant forgotten"],
)
def test_the_invoice_alone_convicts_a_ledger_that_overspends(name: str) -> None:
    failures = (_failure(seed, name, InvoiceReader) for seed in range(SEEDS_TO_CATCH))

    assert "the provider billed" in next(text for text in failures if text is not None)


def _failure(seed: int, name: str, auditor: type[Auditor] = Auditor) -> str | None:
    try:
        simulate(seed, BROKEN[name], auditor=auditor)
    except SeedFailedError as error:
        return str(error)
    return None
