"""What a refusal suggests, with the shipped price book, and the simulator of the quickstart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spendgate import BudgetExceededError, Budgets
from spendgate.simulator.pricelist import load_pricelist

CHEAP_USD = 0.01
MODELS = [name for name, rates in load_pricelist().items() if rates.output is not None]


@pytest.fixture(scope="module")
def budgets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Budgets]:
    folder: Path = tmp_path_factory.mktemp("suggestions")
    policy = folder / "budgets.yml"
    row = f'{{id: users, scope: {{user: "*"}}, limit_usd: {CHEAP_USD}, window: day, fit: false}}'
    policy.write_text(f"defaults: {{held_wait_seconds: 0}}\nbudgets:\n  - {row}\n")
    with Budgets(policy, home=folder / "home") as opened:
        yield opened


def suggested(budgets: Budgets, model: str, words: int) -> str | None:
    messages = [{"role": "user", "content": "x " * words}]
    with (
        pytest.raises(BudgetExceededError) as refused,
        budgets.step(user="ann", model=model, messages=messages, max_tokens=20),
    ):
        pass
    return refused.value.suggested_model


@pytest.mark.parametrize(
    ("model", "words", "expected"),
    [
        ("databricks-claude-opus-4-5", 2_000, "databricks-claude-haiku-4-5"),
        ("databricks-gpt-5", 10_000, "databricks-gpt-5-nano"),
        # Nothing that Anthropic made fits any more: the cheapest of the same place.
        ("databricks-claude-opus-4-5", 10_000, "databricks-gpt-5-nano"),
    ],
)
def test_a_refusal_suggests_what_the_same_maker_has_before_anything_else(
    budgets: Budgets, model: str, words: int, expected: str
) -> None:
    assert suggested(budgets, model, words) == expected


@pytest.mark.parametrize("model", MODELS)
def test_the_simulator_serves_what_a_refusal_of_its_models_suggests(
    budgets: Budgets, model: str
) -> None:
    # Just too dear for this model: a token costs at most what two bytes of the prompt do.
    nano_a_word = 2 * load_pricelist()[model].input / 1_000
    words = int(CHEAP_USD * 1e9 / nano_a_word) + 100

    assert suggested(budgets, model, words) in {None, *load_pricelist()}
