"""The doctor finds settings that nobody reads."""

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SPENDGATE_HELD_WAIT", "SPENDGATE_HELD_WAIT_SECONDS"),
        ("SPENDGATE_SIGNINGKEY", "SPENDGATE_SIGNING_KEY"),
        ("SPENDGATE_VLLM_KEY", None),  # a key that the policy may name
        ("SPENDGATE_GEO", None),
    ],
)
def test_the_doctor_says_which_setting_was_meant(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, "a secret")

    told = run("doctor", "--upstream", "http://127.0.0.1:9", "--json", code=1)

    found = [one for one in told.json if one["check"] == "settings"]
    assert "a secret" not in told.out
    assert [one["way_out"] for one in found] == ([] if meant is None else [f"use {meant}"])
    assert all(one["status"] == "warn" and name in one["detail"] for one in found)
