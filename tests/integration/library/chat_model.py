"""A model of LangChain's that talks to the simulator, once per call."""

from typing import Any

from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from tests.integration.library.conftest import SONNET


def chat_model(simulator: str, tokens: int, **fields: Any) -> ChatOpenAI:
    """Return a model that answers with so many tokens at most."""
    return ChatOpenAI(
        model=SONNET,
        base_url=f"{simulator}/v1",
        api_key=SecretStr("none"),
        max_completion_tokens=tokens,
        max_retries=0,
        stream_usage=True,
        **fields,
    )
