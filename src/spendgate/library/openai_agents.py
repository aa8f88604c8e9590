"""The OpenAI Agents SDK: a model provider that makes each model call of a run a step.

Needs the extra `agents`; nothing else imports this file.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from agents import (
    AgentOutputSchemaBase,
    Handoff,
    Model,
    ModelProvider,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    MultiProvider,
    OpenAIResponsesModel,
    Tool,
    TResponseInputItem,
    Usage,
)
from agents.items import TResponseStreamEvent
from agents.models import get_default_model
from agents.models.chatcmpl_converter import Converter as ChatConverter
from agents.models.openai_responses import Converter as ResponsesConverter
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
from agents.usage import (
    _extract_raw_usage_snapshot,  # pyright: ignore[reportPrivateUsage] - of a stream, nothing else has it
)

from spendgate.errors import InvalidRequestError, SpendgateError
from spendgate.gateway.json_object import JsonObject, is_object, json_object
from spendgate.gateway.wire import CHAT, MAX_TOKENS_FIELDS, RESPONSES
from spendgate.library.budgets import Budgets, Route
from spendgate.library.passed_on import bounded_fields, check_query, extra_fields
from spendgate.library.step import Step

_LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class SpendModels(ModelProvider):
    """Holds money before each model call of a run, charges its usage after.

    What the budgets grant is what is called: a cheaper model, fewer tokens, fewer tools. Give it as
    `RunConfig(model_provider=SpendModels(budgets, agent="triage-bot"))`, and name models by their
    names: an agent whose `model` is an object of its own asks no provider.

    Args:
        budgets: the gate.
        provider: where models come from; None: the SDK's own default.
        who: who pays, as `Budgets.step` takes it: agent, user, team, org, session, task, tags.
    """

    def __init__(self, budgets: Budgets, provider: ModelProvider | None = None, **who: Any) -> None:
        self._budgets = budgets
        self._provider = provider or MultiProvider()
        self._who = who

    def get_model(self, model_name: str | None) -> Model:
        """Return a model whose calls are steps."""
        name = model_name or get_default_model()
        return _SteppedModel(self._budgets, self._provider, name, self._who)

    async def aclose(self) -> None:
        """Release what the models' own provider holds."""
        await self._provider.aclose()


@dataclass(frozen=True, slots=True)
class _Asked:
    """One model call as the SDK asks for it."""

    instructions: str | None
    input: str | list[TResponseInputItem]
    settings: ModelSettings
    tools: list[Tool]
    output: AgentOutputSchemaBase | None
    handoffs: list[Handoff[Any, Any]]
    state: JsonObject
    """What the SDK may keep on the model's server; a bound can't see it, so the gate refuses it."""

    @property
    def extras(self) -> dict[str, object]:
        """Fields that are sent as they are, the last of a name as the OpenAI client merges them."""
        return {**_given(self.settings.extra_args), **_given(self.settings.extra_body)}

    def granted(self, step: Step, model: Model) -> "_Asked":
        """Return the call with what is paid for, as the granted model takes it."""
        is_responses = isinstance(model, OpenAIResponsesModel)
        dropped = frozenset(step.tools_disabled)
        tools = [one for one in self.tools if one.name not in dropped]
        handoffs = [one for one in self.handoffs if one.tool_name not in dropped]
        choice = self.settings.tool_choice
        if dropped and (choice in dropped or not (tools or handoffs)):
            choice = None
        arguments = _granted_extras(self.settings.extra_args, step)
        # The SDK itself says this one, and takes it for an error where an argument says it too.
        arguments.pop("max_output_tokens" if is_responses else "max_tokens", None)
        # Chat servers refuse both of their names at once; the Responses API reads neither.
        has_own_maximum = not is_responses and "max_completion_tokens" in self.extras
        settings = replace(
            self.settings,
            max_tokens=None if has_own_maximum else step.max_tokens,
            extra_body=_granted_extras(self.settings.extra_body, step) or None,
            extra_args=arguments or None,
            tool_choice=choice,
            include_usage=True,  # a stream without usage would be charged in full
            preserve_raw_usage=True,  # normalized, it loses what some servers say of their cache
        )
        return replace(self, settings=settings, tools=tools, handoffs=handoffs)

    def as_arguments(self, tracing: ModelTracing) -> dict[str, Any]:  # each as the SDK types it
        """Return the call as a model takes it; nothing is kept on its server."""
        return {
            "system_instructions": self.instructions,
            "input": self.input,
            "model_settings": self.settings,
            "tools": self.tools,
            "output_schema": self.output,
            "handoffs": self.handoffs,
            "tracing": tracing,
            "previous_response_id": None,
            "conversation_id": None,
            "prompt": None,
        }


class _SteppedModel(Model):
    def __init__(
        self, budgets: Budgets, provider: ModelProvider, name: str, who: dict[str, Any]
    ) -> None:
        self._budgets = budgets
        self._provider = provider
        self._name = name
        self._who = who

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],  # noqa: A002 - the SDK's name
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: object,
    ) -> ModelResponse:
        """Make one call as a step.

        Raises:
            SpendgateError: what `Budgets.step` raises; the call then isn't made.
        """
        state = _state(previous_response_id, conversation_id, prompt)
        asked = _Asked(
            system_instructions, input, model_settings, tools, output_schema, handoffs, state
        )
        async with self._step(asked) as step:
            model = self._provider.get_model(step.model)
            response = await model.get_response(**asked.granted(step, model).as_arguments(tracing))
            step.report(response.raw_usage or _usage(response.usage))
        return response

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],  # noqa: A002 - the SDK's name
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: object,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Make one call as a step, passing its events on; who leaves early pays the whole hold.

        Raises:
            SpendgateError: what `Budgets.step` raises, before the first event.
        """
        state = _state(previous_response_id, conversation_id, prompt)
        asked = _Asked(
            system_instructions, input, model_settings, tools, output_schema, handoffs, state
        )
        async with self._step(asked) as step:
            model = self._provider.get_model(step.model)
            events = model.stream_response(**asked.granted(step, model).as_arguments(tracing))
            try:
                async for event in events:
                    if event.type in _LAST_EVENTS:
                        answer = getattr(event, "response", None)
                        usage = getattr(answer, "usage", None)
                        step.report(_extract_raw_usage_snapshot(answer, fallback=usage))
                    yield event
            finally:
                if isinstance(events, AsyncGenerator):
                    await events.aclose()  # frees the connection of a stream that is left

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """Advise against retrying a refusal; ask the model itself about its own failures."""
        if isinstance(request.error, SpendgateError):
            return ModelRetryAdvice(suggested=False, reason="a budget refuses the call")
        return self._provider.get_model(self._name).get_retry_advice(request)

    def _step(self, asked: _Asked) -> Step:
        is_responses = isinstance(self._provider.get_model(self._name), OpenAIResponsesModel)
        check_query(asked.settings.extra_query)
        request = (
            _responses_body(asked, self._name) if is_responses else _chat_body(asked, self._name)
        )
        route: Route = RESPONSES if is_responses else CHAT
        sent: dict[str, Any] = bounded_fields({**request, **asked.extras})
        return self._budgets.step(model=self._name, route=route, **self._who, **sent)


def _chat_body(asked: _Asked, model: str) -> dict[str, Any]:
    """Return what decides the bound of a call to a chat server, as the SDK will send it."""
    messages: list[Any] = list(ChatConverter.items_to_messages(asked.input, model=model))
    if asked.instructions:
        messages.insert(0, {"role": "system", "content": asked.instructions})
    tools = [ChatConverter.tool_to_openai(one) for one in asked.tools]
    tools += [ChatConverter.convert_handoff_tool(one) for one in asked.handoffs]
    return {
        **asked.state,
        "messages": messages,
        "tools": tools or None,
        "response_format": _said(ChatConverter.convert_response_format(asked.output)),
        "max_tokens": asked.settings.max_tokens,
        "prompt_cache_options": asked.settings.prompt_cache_options,
    }


def _responses_body(asked: _Asked, model: str) -> dict[str, Any]:
    """Return the same for the Responses API."""
    tools = ResponsesConverter.convert_tools(asked.tools, asked.handoffs, model=model).tools
    text, reasoning = asked.input, asked.settings.reasoning
    return {
        **asked.state,
        "input": [{"role": "user", "content": text}] if isinstance(text, str) else text,
        "instructions": asked.instructions,
        "tools": tools or None,
        "text": _said(ResponsesConverter.get_response_format(asked.output)),
        "max_output_tokens": asked.settings.max_tokens,
        "context_management": asked.settings.context_management,
        "prompt_cache_options": asked.settings.prompt_cache_options,
        "reasoning": None if reasoning is None else reasoning.model_dump(exclude_none=True),
    }


def _state(
    previous_response_id: str | None, conversation_id: str | None, prompt: object
) -> dict[str, object]:
    if prompt is not None:
        message = "a prompt that is kept on the model's server can't be bounded; send its text"
        raise InvalidRequestError(message, "prompt")
    kept = {"previous_response_id": previous_response_id, "conversation": conversation_id}
    return {name: value for name, value in kept.items() if value is not None}


def _given(extra: object) -> dict[str, object]:
    return {k: v for k, v in extra_fields(extra, "extra_body").items() if v is not None}


def _granted_extras(extra: object, step: Step) -> dict[str, object]:
    """Return the same fields as they are granted, tools that were dropped left out."""
    granted, bounded = step.body, bounded_fields(_given(extra))
    kept: dict[str, object] = {}
    for name, value in json_object(extra).items():
        if name in bounded:
            kept |= {name: granted[name]} if name in granted else {}
        elif name not in {"model", *MAX_TOKENS_FIELDS}:  # null would take the maximum away
            kept[name] = value
    return kept


def _said(value: object) -> object:
    return value if is_object(value) else None  # else it is the SDK's word for "not given"


def _usage(usage: Usage) -> dict[str, object]:
    """Return the SDK's own count, for models that don't keep their server's."""
    ins, outs = usage.input_tokens_details, usage.output_tokens_details
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": ins.model_dump(),
        "output_tokens_details": outs.model_dump(),
    }
