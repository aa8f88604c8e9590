"""LangChain's own client against the simulator: each of its model calls is a step."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr
from tests.integration.library.chat_model import chat_model
from tests.integration.library.conftest import SONNET, spent_usd

from spendgate import BudgetExceededError, Budgets
from spendgate.errors import InvalidRequestError
from spendgate.library.langchain import SpendHandler

Billed = Callable[[], Decimal]


@pytest.fixture
def model(simulator: str) -> ChatOpenAI:
    return chat_model(simulator, 300)


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


def short(simulator: str) -> dict[str, Any]:
    return {
        "model": SONNET,
        "base_url": f"{simulator}/v1",
        "api_key": SecretStr("none"),
        "max_completion_tokens": 50,
        "max_retries": 0,
    }


LONG = [{"role": "user", "content": "x" * 2000}]


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({"extra_body": {"n": 20}}, {}),
        ({"model_kwargs": {"best_of": 20}}, {}),
        ({"extra_body": {"max_tokens": 20_000}}, {}),
        ({"extra_body": {"max_completion_tokens": 20_000}}, {}),
        ({"extra_body": {"model": "databricks-claude-opus-4-1"}}, {}),
        ({"extra_body": {"messages": LONG}}, {}),
        ({"max_completion_tokens": None}, {"max_tokens": 20_000}),
        ({}, {"max_tokens": 20_000}),
        ({}, {"n": 20}),
        ({}, {"extra_body": {"n": 20}}),
        ({"use_responses_api": True}, {"max_output_tokens": 20_000}),
        ({"use_responses_api": True}, {"extra_body": {"max_output_tokens": 20_000}}),
    ],
)
def test_all_that_reaches_the_model_is_paid_for(
    budgets: Budgets, simulator: str, billed_usd: Billed, fields: Any, bound: Any
) -> None:
    config: Any = {"callbacks": [SpendHandler(budgets, agent="tiny")]}

    with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
        ChatOpenAI(**{**short(simulator), **fields}).bind(**bound).invoke("hello", config=config)

    assert billed_usd() == 0
    ChatOpenAI(**short(simulator)).invoke(
        "hello", config=config
    )  # the budget pays for it without those
    assert spent_usd(budgets, "tiny") == billed_usd() > 0


@pytest.mark.parametrize(
    ("fields", "bound", "field"),
    [
        # Of OpenAI's two APIs, each reads a name of its own.
        ({"max_completion_tokens": None, "extra_body": {"max_tokens": 77}}, {}, "max_tokens"),
        ({"extra_body": {"max_completion_tokens": None}}, {}, "max_completion_tokens"),
        ({"extra_body": {"max_new_tokens": 9_999}}, {}, "max_new_tokens"),
        ({"extra_body": {"custom_inputs": {"model": "gpt-5"}}}, {}, "custom_inputs"),
        ({"extra_body": {"route": "fallback"}}, {}, "route"),
        ({"use_previous_response_id": True}, {}, "use_previous_response_id"),
        ({}, {"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({}, {"extra_query": {"n": 20}}, "extra_query.n"),
        ({}, {"extra_body": [1]}, "extra_body"),
        ({}, {"model_kwargs": {"max_completion_tokens": 7}}, "model_kwargs.max_completion_tokens"),
    ],
)
def test_what_cannot_be_bounded_is_refused_by_its_name(
    budgets: Budgets,
    simulator: str,
    billed_usd: Billed,
    fields: Any,
    bound: Any,
    field: str,
) -> None:
    asked = ChatOpenAI(**{**short(simulator), **fields}).bind(**bound)

    with pytest.raises(InvalidRequestError) as refused:
        asked.invoke("hello", config={"callbacks": [SpendHandler(budgets, agent="a")]})

    assert (refused.value.field or "").removeprefix("extra_body.") == field
    assert billed_usd() == spent_usd(budgets) == 0


class Seat(BaseModel):
    """Where somebody sits."""

    row: int
    label: str = Field(description="what the sign says " * 20)


class Plan(BaseModel):
    name: str
    first: Seat
    last: Seat | None = None
    others: list[Seat]


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("fields", [{}, {"use_responses_api": True}])
@pytest.mark.parametrize("strict", [None, True, False])
def test_a_pydantic_class_is_bounded_by_the_schema_that_is_sent(
    budgets: Budgets, simulator: str, strict: bool | None, fields: Any, is_streamed: bool
) -> None:
    sent: list[dict[str, Any]] = []
    web = httpx.Client(
        event_hooks={"request": [lambda request: sent.append(json.loads(request.content))]}
    )
    held: list[dict[str, Any]] = []
    stepped = budgets.step

    def watched(**request: Any) -> Any:
        held.append(request)
        return stepped(**request)

    budgets.step = watched  # type: ignore[method-assign]
    more = {"extra_body": {"simulate": {"output_tokens": 5}}, "http_client": web, **fields}
    model = ChatOpenAI(**short(simulator), **more, streaming=is_streamed)
    asked = model.with_structured_output(Plan, strict=strict)

    with pytest.raises(
        ValueError, match=r"JSON|expected value|parsed"
    ):  # the simulator fills in no forms
        asked.invoke("hello", config={"callbacks": [SpendHandler(budgets, agent="a")]})

    web.close()
    (body,), (bounded,) = sent, held
    schema = body["text"]["format"] if fields else body["response_format"]
    assert "what the sign says" in json.dumps(schema)
    assert len(json.dumps(bounded["response_format"])) >= len(json.dumps(schema))


def test_a_class_without_a_schema_is_refused_by_name(budgets: Budgets, model: ChatOpenAI) -> None:
    with pytest.raises(InvalidRequestError, match="class int has no schema"):
        model.bind(response_format=int).invoke(
            "hello", config={"callbacks": [SpendHandler(budgets, agent="a")]}
        )


def test_who_does_not_use_langchain_does_not_import_it() -> None:
    source = Path(__file__).parents[3] / "src/spendgate/library"
    users = [one.name for one in source.glob("*.py") if "langchain_core" in one.read_text()]

    assert users == ["langchain.py"]
