"""What langchain-openai's own ChatOpenAI sees of the ASGI host."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

pytestmark = pytest.mark.server

CANARY = "the canary sings"
MODEL = "databricks-claude-haiku-4-5"
Chat = Callable[..., ChatOpenAI]


@tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return f"rain in {city}"


@pytest.fixture
def sent() -> list[object]:
    """What the client really sends, retries included."""
    return []


@pytest.fixture
def chat(app_url: str, sent: list[object]) -> Iterator[Chat]:
    """Make the client as people make it, with its own retries."""
    web = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})

    def make(user: str = "rich", **fields: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model=MODEL,
            base_url=app_url,
            api_key=SecretStr("sk-anything"),
            default_headers={"X-Spend-User": user},
            max_completion_tokens=200,
            http_client=web,
            **fields,
        )

    yield make
    web.close()


def test_an_invocation_is_answered_with_its_usage(chat: Chat) -> None:
    answer = chat().invoke(CANARY)

    assert answer.content
    assert answer.usage_metadata is not None
    assert 0 < answer.usage_metadata["output_tokens"] <= 200


def test_the_spend_can_be_read_where_raw_answers_are_kept(chat: Chat) -> None:
    answer = chat(include_response_headers=True).invoke(CANARY)

    headers = answer.response_metadata["headers"]
    assert headers["x-spend-decision"] == "allow"
    assert Decimal(headers["x-spend-cost-usd"]) > 0


def test_a_stream_adds_up_to_an_answer(chat: Chat) -> None:
    whole: AIMessageChunk | None = None
    pieces = 0
    for chunk in chat(stream_usage=True).stream(CANARY):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
        pieces += 1

    assert pieces > 2
    assert whole is not None
    assert whole.content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0


def test_a_tool_is_called_and_its_result_answered(chat: Chat) -> None:
    model = chat().bind_tools([weather])
    question = HumanMessage("use the tool")

    first = model.invoke([question])

    (call,) = first.tool_calls
    assert call["name"] == "weather"
    result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    assert model.invoke([question, first, result]).content


@pytest.mark.parametrize("streams", [False, True])
def test_a_refusal_is_told_once(chat: Chat, sent: list[object], streams: bool) -> None:
    model = chat("poor")

    with pytest.raises(openai.APIStatusError) as refused:
        list(model.stream(CANARY)) if streams else model.invoke(CANARY)

    assert refused.value.status_code == 402
    assert refused.value.code == "budget_exhausted"
    assert CANARY not in refused.value.response.text
    assert len(sent) == 1


def test_who_pays_may_stand_in_the_body(chat: Chat) -> None:
    payer = {"custom_inputs": {"user": "poor"}}

    with pytest.raises(openai.APIStatusError, match="'poor'"):
        chat().invoke(CANARY, extra_body=payer)


def test_the_responses_api_is_spoken_too(chat: Chat) -> None:
    answer = chat(use_responses_api=True).invoke(CANARY)

    assert answer.text
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def test_embeddings_have_their_vectors(app_url: str) -> None:
    embedder = OpenAIEmbeddings(
        model="databricks-gte-large-en",
        base_url=app_url,
        api_key=SecretStr("sk-anything"),
        default_headers={"X-Spend-User": "rich"},
        check_embedding_ctx_length=False,  # else it sends OpenAI's token ids
    )

    assert [len(one) > 0 for one in embedder.embed_documents([CANARY, "b"])] == [True, True]
