"""The OpenAI Agents SDK with its client pointed at `spendgate app`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import openai
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIProvider,
    RunConfig,
    Runner,
    function_tool,
)

pytestmark = pytest.mark.server

MODEL = "databricks-claude-haiku-4-5"
USE_THE_TOOL = "use the tool"  # the simulator's word for it
Answer = TypeVar("Answer")
Body = Callable[[RunConfig], Awaitable[Answer]]


@function_tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return f"rain in {city}"


AGENT = Agent(
    name="helper",
    instructions="Be brief.",
    model=MODEL,
    tools=[weather],
    model_settings=ModelSettings(
        max_tokens=200, extra_body={"simulate": {"output_tokens": 40}}, include_usage=True
    ),
)


def with_client(
    app_url: str, body: Body[Answer], *, user: str = "rich", responses: bool = False
) -> tuple[Answer, list[Any]]:
    """Run a body over a client as people make it; returns also what was sent."""
    sent: list[Any] = []

    async def look(request: Any) -> None:
        sent.append(request)

    async def main() -> Answer:
        web = openai.DefaultAsyncHttpxClient(event_hooks={"request": [look]})
        headers = {"X-Spend-User": user}
        async with openai.AsyncOpenAI(
            base_url=app_url, api_key="sk-anything", default_headers=headers, http_client=web
        ) as client:
            provider = OpenAIProvider(openai_client=client, use_responses=responses)
            return await body(RunConfig(model_provider=provider, tracing_disabled=True))

    return asyncio.run(main()), sent


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_a_run_uses_its_tool_and_answers(app_url: str, responses: bool) -> None:
    result, sent = with_client(
        app_url,
        lambda config: Runner.run(AGENT, USE_THE_TOOL, run_config=config),
        responses=responses,
    )

    kinds = [item.type for item in result.new_items]
    assert kinds == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert result.context_wrapper.usage.output_tokens > 0
    assert len(sent) == 2


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_a_streamed_run_ends_with_its_usage(app_url: str, responses: bool) -> None:
    async def stream(config: RunConfig) -> tuple[list[str], int]:
        result = Runner.run_streamed(AGENT, USE_THE_TOOL, run_config=config)
        kinds = [event.type async for event in result.stream_events()]
        return kinds, result.context_wrapper.usage.output_tokens

    (kinds, tokens), _ = with_client(app_url, stream, responses=responses)

    assert kinds.count("raw_response_event") > 2
    assert tokens > 0


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_a_refusal_is_told_once(app_url: str, responses: bool) -> None:
    async def refused(config: RunConfig) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as found:
            await Runner.run(AGENT, USE_THE_TOOL, run_config=config)
        return found.value

    error, sent = with_client(app_url, refused, user="poor", responses=responses)

    assert (error.status_code, error.code) == (402, "budget_exhausted")
    assert len(sent) == 1
