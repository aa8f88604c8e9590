"""LangChain's own client against the simulator: each of its model calls is a step."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from tests.integration.library.conftest import SONNET, spent_usd

from spendgate import BudgetExceededError, Budgets
from spendgate.library.langchain import SpendHandler

Billed = Callable[[], Decimal]


@pytest.fixture
def model(simulator: str) -> ChatOpenAI:
    return ChatOpenAI(
        model=SONNET,
        base_url=f"{simulator}/v1",
        api_key=SecretStr("none"),
        max_completion_tokens=300,
        max_retries=0,
        stream_usage=True,
    )


def test_an_invocation_costs_what_the_provider_bills(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed
) -> None:
    model.invoke("hello", config={"callbacks": [SpendHandler(budgets, agent="a")]})

    assert spent_usd(budgets) == billed_usd() > 0


def test_tasks_and_streams_are_charged_alike(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed
) -> None:
    handler = SpendHandler(budgets, agent="a")

    async def run() -> None:
        await model.ainvoke("hello", config={"callbacks": [handler]})
        async for _ in model.astream("hello", config={"callbacks": [handler]}):
            pass

    asyncio.run(run())
    model.batch(["one", "two"], config={"callbacks": [handler]})

    assert spent_usd(budgets) == billed_usd() > 0


def test_a_refusal_comes_before_the_call(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed
) -> None:
    with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
        model.invoke("hello", config={"callbacks": [SpendHandler(budgets, agent="tiny")]})

    assert billed_usd() == 0


def test_a_call_that_a_budget_would_change_is_refused_and_free(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed
) -> None:
    with pytest.raises(BudgetExceededError, match="would only pay for databricks-claude-haiku"):
        model.invoke("hello", config={"callbacks": [SpendHandler(budgets, agent="careful")]})

    assert spent_usd(budgets, "careful") == billed_usd() == 0


def test_a_failed_call_is_charged_in_full(budgets: Budgets, model: ChatOpenAI) -> None:
    broken = model.bind(extra_body={"simulate": {"status": 500}})

    with pytest.raises(Exception, match="500"):
        broken.invoke("hello", config={"callbacks": [SpendHandler(budgets, agent="a")]})

    assert Decimal("0.0045") < spent_usd(budgets) < Decimal("0.01")  # 300 tokens at 15 USD/million


def test_who_does_not_use_langchain_does_not_import_it() -> None:
    source = Path(__file__).parents[3] / "src/spendgate/library"
    users = [one.name for one in source.glob("*.py") if "langchain_core" in one.read_text()]

    assert users == ["langchain.py"]
