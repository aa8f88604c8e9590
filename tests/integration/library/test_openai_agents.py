"""The OpenAI Agents SDK itself against the simulator: each model call of a run is a step."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    Model,
    ModelBehaviorError,
    ModelProvider,
    ModelSettings,
    ModelTracing,
    OpenAIProvider,
    RunConfig,
    Runner,
    function_tool,
)
from agents.retry import ModelRetryAdviceRequest
from openai import AsyncOpenAI, BadRequestError, DefaultAsyncHttpxClient
from pydantic import BaseModel
from tests.integration.library.conftest import HAIKU, SONNET, spent_usd

from spendgate import BudgetExceededError, Budgets
from spendgate.errors import InvalidRequestError
from spendgate.library.openai_agents import SpendModels

Billed = Callable[[], Decimal]
SHORT = {"simulate": {"output_tokens": 40}}
USE_THE_TOOL = "use the tool"  # the simulator's word for it


@function_tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return f"rain in {city}"


@function_tool
def web_search(words: str) -> str:
    """Search the web."""
    return words


class Plan(BaseModel):
    name: str
    seats: int


class Watched(ModelProvider):
    """Passes models on and remembers their names; every client is closed at the end."""

    def __init__(self, url: str, *, responses: bool) -> None:
        self.names: list[str | None] = []
        self.bodies: list[dict[str, Any]] = []
        web = DefaultAsyncHttpxClient(event_hooks={"request": [self._look]})
        self._client = AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=web
        )
        self._inner = OpenAIProvider(openai_client=self._client, use_responses=responses)

    def get_model(self, model_name: str | None) -> Model:
        self.names.append(model_name)
        return self._inner.get_model(model_name)

    async def aclose(self) -> None:
        await self._client.close()

    async def _look(self, request: Any) -> None:
        self.bodies.append(json.loads(request.content))


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def provider(request: pytest.FixtureRequest, simulator: str) -> Watched:
    return Watched(simulator, responses=request.param)


def agent(*tools: Any, model: str | None = SONNET, **fields: Any) -> Agent[None]:
    settings = fields.pop("settings", ModelSettings(max_tokens=300, extra_body=SHORT))
    return Agent(name="helper", model=model, tools=list(tools), model_settings=settings, **fields)


def run(provider: SpendModels, asked: Agent[None], text: str = "hello", **fields: Any) -> Any:
    async def main() -> Any:
        config = RunConfig(model_provider=provider, tracing_disabled=True)
        try:
            return await Runner.run(asked, text, run_config=config, **fields)
        finally:
            await provider.aclose()

    return asyncio.run(main())


def run_streamed(provider: SpendModels, asked: Agent[None], text: str = "hello") -> list[str]:
    async def main() -> list[str]:
        config = RunConfig(model_provider=provider, tracing_disabled=True)
        try:
            result = Runner.run_streamed(asked, text, run_config=config)
            return [event.type async for event in result.stream_events()]
        finally:
            await provider.aclose()

    return asyncio.run(main())


def test_a_run_with_a_tool_costs_what_the_provider_bills(
    budgets: Budgets, provider: Watched, billed_usd: Billed
) -> None:
    asked = agent(weather, instructions="Be brief.")

    result = run(SpendModels(budgets, provider, agent="a"), asked, USE_THE_TOOL)

    assert [item.type for item in result.new_items][:2] == [
        "tool_call_item",
        "tool_call_output_item",
    ]
    assert len(result.raw_responses) == 2
    assert spent_usd(budgets) == billed_usd() > 0


def test_a_stream_costs_what_the_provider_bills(
    budgets: Budgets, provider: Watched, billed_usd: Billed
) -> None:
    events = run_streamed(SpendModels(budgets, provider, agent="a"), agent(weather), USE_THE_TOOL)

    assert events.count("raw_response_event") > 2
    assert spent_usd(budgets) == billed_usd() > 0


def test_the_bound_sees_all_that_is_sent(budgets: Budgets, provider: Watched) -> None:
    asked: list[dict[str, Any]] = []
    stepped = budgets.step

    def watched(**request: Any) -> Any:
        asked.append(request)
        return stepped(**request)

    budgets.step = watched  # type: ignore[method-assign]
    rich = agent(weather, handoffs=[agent(weather)], output_type=Plan, instructions="Be brief.")
    with pytest.raises(ModelBehaviorError, match="JSON"):  # the simulator fills in no forms
        run(SpendModels(budgets, provider, agent="a"), rich)

    (sent,) = provider.bodies
    decisive = {"messages", "input", "instructions", "tools", "response_format", "text"}
    assert {name: value for name, value in sent.items() if name in decisive} == {
        name: value for name, value in json.loads(json.dumps(asked[0])).items() if name in decisive
    }
    assert len(sent["tools"]) == 2


def test_a_refusal_ends_the_run_before_the_call(
    budgets: Budgets, provider: Watched, billed_usd: Billed
) -> None:
    spend = SpendModels(budgets, provider, agent="tiny")

    with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
        run(spend, agent())
    with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
        run_streamed(spend, agent())

    assert billed_usd() == 0


def test_what_was_granted_is_what_is_called(
    budgets: Budgets, provider: Watched, billed_usd: Billed
) -> None:
    asked = agent(
        web_search,
        settings=ModelSettings(max_tokens=300, tool_choice="web_search", extra_body=SHORT),
    )

    result = run(SpendModels(budgets, provider, agent="careful"), asked, USE_THE_TOOL)

    assert provider.names[-1] == HAIKU
    assert [item.type for item in result.new_items] == ["message_output_item"]
    assert spent_usd(budgets, "careful") == billed_usd() > 0


def test_without_a_maximum_the_granted_one_is_sent(
    budgets: Budgets, provider: Watched, billed_usd: Billed
) -> None:
    settings = ModelSettings(extra_body={"simulate": {"output_tokens": 9_999}})

    # The SDK takes a cut answer of the Responses API for a failure, which is charged in full.
    with suppress(ModelBehaviorError):
        run(SpendModels(budgets, provider, agent="a"), agent(settings=settings))

    # 4,096 tokens, the gate's default, at 15 USD per million
    assert Decimal("0.06144") < billed_usd() <= spent_usd(budgets) < Decimal("0.07")


@pytest.mark.parametrize("place", ["extra_body", "extra_args"])
def test_extra_fields_change_neither_the_model_nor_the_granted_tokens(
    budgets: Budgets, simulator: str, place: str
) -> None:
    provider = Watched(simulator, responses=False)
    more: dict[str, object] = {"max_completion_tokens": 50_000, "temperature": 0.5}
    if place == "extra_body":
        more["model"] = "gpt-5"
    fields: dict[str, Any] = {place: more}
    settings = ModelSettings(max_tokens=300, **fields)

    run(SpendModels(budgets, provider, agent="a"), agent(settings=settings))

    (sent,) = provider.bodies
    assert (sent["model"], sent["max_completion_tokens"], sent["temperature"]) == (SONNET, 300, 0.5)
    assert "max_tokens" not in sent


OWN_MAXIMUM = {"max_tokens": 10}


@pytest.mark.parametrize(
    ("fields", "granted"),
    [
        ({**OWN_MAXIMUM, "extra_body": {"max_tokens": 77}}, 10),
        ({"extra_body": {"max_tokens": 77}}, 77),
        ({"extra_args": {"max_output_tokens": 77}}, 77),
        ({"extra_body": {"max_completion_tokens": 77}}, 77),
        ({**OWN_MAXIMUM, "extra_body": {"max_output_tokens": 77}}, 77),
        ({**OWN_MAXIMUM, "extra_body": {"max_output_tokens": None}}, 10),
        ({"extra_body": {"max_tokens": None}}, 4_096),
    ],
)
def test_the_responses_api_is_always_told_what_was_granted(
    budgets: Budgets, simulator: str, fields: dict[str, Any], granted: int
) -> None:
    provider = Watched(simulator, responses=True)

    with suppress(ModelBehaviorError):  # of an answer that is cut off
        run(SpendModels(budgets, provider, agent="a"), agent(settings=ModelSettings(**fields)))

    (sent,) = provider.bodies
    maxima = {value for name, value in sent.items() if name.startswith("max_")}
    assert (sent["max_output_tokens"], maxima) == (granted, {granted})


@pytest.mark.parametrize(
    ("fields", "named", "granted"),
    [
        ({**OWN_MAXIMUM, "extra_body": {"max_output_tokens": 77}}, "max_tokens", 10),
        ({"extra_body": {"max_output_tokens": 77}}, "max_tokens", 77),
        ({**OWN_MAXIMUM, "extra_body": {"max_tokens": 77}}, "max_tokens", 77),
        ({"extra_args": {"max_tokens": 77}}, "max_tokens", 77),
        ({**OWN_MAXIMUM, "extra_body": {"max_tokens": None}}, "max_tokens", 10),
        ({**OWN_MAXIMUM, "extra_body": {"max_completion_tokens": None}}, "max_tokens", 10),
    ],
)
def test_a_chat_server_is_always_told_what_was_granted(
    budgets: Budgets, simulator: str, fields: dict[str, Any], named: str, granted: int
) -> None:
    provider = Watched(simulator, responses=False)

    run(SpendModels(budgets, provider, agent="a"), agent(settings=ModelSettings(**fields)))

    (sent,) = provider.bodies
    maxima = {value for name, value in sent.items() if name.startswith("max_")}
    assert (sent[named], maxima) == (granted, {granted})


TOOL = {"type": "function", "function": {"name": "web_search"}}
LONG = "x" * 2_000


@pytest.mark.parametrize(
    "fields",
    [
        {"extra_body": {"n": 20}},
        {"extra_args": {"n": 1}, "extra_body": {"n": 20}},  # what is said last is what is sent
        {"extra_args": {"best_of": 20}},
        {"extra_body": {"tools": [{"type": "function", "function": {"name": LONG}}]}},
        {"extra_body": {"messages": [{"role": "user", "content": LONG}]}},
        {"extra_body": {"max_tokens": 20_000}},
    ],
)
def test_extra_fields_are_paid_for(
    budgets: Budgets, simulator: str, billed_usd: Billed, fields: dict[str, Any]
) -> None:
    settings = ModelSettings(max_tokens=50, **fields)

    with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
        run(
            SpendModels(budgets, Watched(simulator, responses=False), agent="tiny"),
            agent(settings=settings),
        )

    assert billed_usd() == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"extra_body": {"route": "fallback"}}, "route"),
        ({"extra_args": {"custom_inputs": {"model": "gpt-5"}}}, "custom_inputs"),
        ({"extra_query": {"n": 20}}, "extra_query.n"),
        ({"extra_body": [1]}, "extra_body"),
    ],
)
def test_extra_fields_that_no_bound_covers_are_refused(
    budgets: Budgets, provider: Watched, billed_usd: Billed, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        run(SpendModels(budgets, provider, agent="a"), agent(settings=ModelSettings(**fields)))

    assert refused.value.field == field
    assert billed_usd() == 0


def test_a_tool_that_is_dropped_is_not_in_the_extra_fields_either(
    budgets: Budgets, simulator: str
) -> None:
    provider = Watched(simulator, responses=False)
    settings = ModelSettings(max_tokens=300, extra_body={"tools": [TOOL], "top_k": 3, "user": "u"})

    run(SpendModels(budgets, provider, agent="careful"), agent(settings=settings))

    (sent,) = provider.bodies
    assert (sent["top_k"], sent["user"]) == (3, "u")
    assert "tools" not in sent


def test_a_failed_call_is_charged_in_full(budgets: Budgets, provider: Watched) -> None:
    settings = ModelSettings(max_tokens=300, extra_body={"simulate": {"status": 400}})

    with pytest.raises(BadRequestError):
        run(SpendModels(budgets, provider, agent="a"), agent(settings=settings))

    assert Decimal("0.0045") < spent_usd(budgets) < Decimal("0.01")


def test_a_stream_that_is_left_is_charged_in_full(budgets: Budgets, provider: Watched) -> None:
    async def main() -> None:
        spend = SpendModels(budgets, provider, agent="a")
        model = spend.get_model(SONNET)
        events = model.stream_response(
            None,
            "hello",
            ModelSettings(max_tokens=300),
            [],
            None,
            [],
            ModelTracing.DISABLED,
            previous_response_id=None,
            conversation_id=None,
            prompt=None,
        )
        await anext(aiter(events))
        await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
        await spend.aclose()

    asyncio.run(main())

    assert Decimal("0.0045") < spent_usd(budgets) < Decimal("0.01")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation_id": "c"}, "conversation"),
    ],
)
def test_a_conversation_that_the_server_keeps_is_refused(
    budgets: Budgets, provider: Watched, billed_usd: Billed, fields: Any, place: str
) -> None:
    with pytest.raises(InvalidRequestError, match=place):
        run(SpendModels(budgets, provider, agent="a"), agent(), **fields)

    assert billed_usd() == 0


def test_a_refusal_is_not_worth_a_retry(budgets: Budgets, provider: Watched) -> None:
    model = SpendModels(budgets, provider).get_model(SONNET)
    refused = BudgetExceededError("budget_exhausted", "no", spend={}, budget={})

    advice = model.get_retry_advice(ModelRetryAdviceRequest(refused, attempt=1, stream=False))

    assert advice is not None
    assert advice.suggested is False


def test_who_does_not_use_the_sdk_does_not_import_it() -> None:
    source = Path(__file__).parents[3] / "src/spendgate"
    users = [one.name for one in source.rglob("*.py") if "from agents import" in one.read_text()]

    assert users == ["openai_agents.py"]
