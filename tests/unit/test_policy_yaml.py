"""What of a policy file is a number: what people read as one, and nothing else."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from spendgate.adapters.policy_source import load_policy
from spendgate.domain.budget import Budget
from spendgate.errors import PolicyError

NOW = datetime(2026, 1, 15, tzinfo=UTC)


def load(folder: Path, fields: str, start: str = "id: b, scope: {}") -> Budget:
    file = folder / "budgets.yml"
    file.write_text(f"budgets: [{{{start}, {fields}}}]", encoding="utf-8")
    (budget,) = load_policy(file, book=None, at=NOW).budgets
    return budget


def problems(folder: Path, fields: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(folder, fields)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    "limit",
    ["0x10", "0b11", "0o17", "1:30", "1:30:00", "1:30.5", "!!int 0x10", "!!int 1:30", "'1:30'"],
)
def test_a_limit_in_another_form_than_decimal_is_refused(tmp_path: Path, limit: str) -> None:
    found = problems(tmp_path, f"limit_usd: {limit}")

    assert len(found) == 1
    assert found[0].startswith("budgets.yml: budget 'b': limit_usd: ")
    assert found[0].endswith(" is no number; write it like 12.50")


@pytest.mark.parametrize(
    ("limit", "usd"),
    [
        *[("10", "10"), ("+10", "10"), ("010", "10"), ("1_000", "1000"), ("1e2", "100")],
        *[("0.1", "0.1"), (".5", "0.5"), ("010.5", "10.5"), ("1.5e+1", "15"), ("!!int 010", "10")],
    ],
)
def test_a_limit_in_decimal_form_is_what_it_says(tmp_path: Path, limit: str, usd: str) -> None:
    budget = load(tmp_path, f"limit_usd: {limit}")

    assert Decimal(budget.limit_nano).scaleb(-9) == Decimal(usd)


def test_what_only_looks_like_a_number_stays_the_text_it_is(tmp_path: Path) -> None:
    budget = load(
        tmp_path,
        "limit_usd: 1, window: rolling:24h, expires_at: 2030-01-31T17:00:00Z",
        start="id: 17:00, scope: {user: 007, task: 0x1f}",
    )

    assert budget.budget_id == "17:00"
    assert budget.scope.text == "user:007,task:0x1f"
    assert budget.window.text == "rolling:24h"
    assert budget.expires_at == datetime(2030, 1, 31, 17, tzinfo=UTC)


def test_a_count_of_tokens_is_a_plain_integer(tmp_path: Path) -> None:
    budget = load(tmp_path, "limit_usd: 1, min_output_tokens: 1_000")
    found = problems(tmp_path, "limit_usd: 1, min_output_tokens: 010")

    assert budget.min_output_tokens == 1000
    assert "min_output_tokens: must be a valid integer" in found[0]
