"""LangChain and LangGraph: a callback handler that makes each model call a step.

Needs the extra `langchain`; nothing else imports this file.
"""

import json
import threading
from collections import OrderedDict
from typing import Any, NoReturn
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.utils.function_calling import convert_to_openai_function

from spendgate.errors import BudgetExceededError, InvalidRequestError
from spendgate.gateway.json_object import JsonObject, json_object
from spendgate.gateway.wire import MAX_TOKENS_FIELDS, TOKENS_MAX, whole_number
from spendgate.library.budgets import Budgets
from spendgate.library.passed_on import bounded_fields, check_query, extra_fields
from spendgate.library.step import Step

STEPS_MAX = 10_000
"""Steps under way; of a call whose end LangChain never tells, the hold expires by itself."""

_NOT_SENT = frozenset(
    {
        *("_type", "default_request_timeout", "extra_headers", "extra_query", "max_retries"),
        *("model_name", "request_timeout", "stop", "stream", "stream_options", "stream_usage"),
        *("streaming", "timeout"),
    }
)
"""What of a call's parameters is for LangChain, its client or the connection."""

_MERGED = ("model_kwargs", "extra_params")
"""Where chat models keep parameters beside their own; `extra_body` comes after all of them."""


class SpendHandler(BaseCallbackHandler):
    """Holds money before each chat model call and charges its `usage_metadata` after; thread-safe.

    A callback can't change a call: where the budgets would only pay for a cheaper model, fewer
    tokens or fewer tools, the call is refused. Give it as `config={"callbacks": [handler]}`.

    Args:
        budgets: the gate.
        who: who pays, as `Budgets.step` takes it: agent, user, team, org, session, task, tags.
    """

    raise_error = True  # LangChain would log a refusal and make the call

    def __init__(self, budgets: Budgets, **who: Any) -> None:
        self._budgets = budgets
        self._who = who
        self._steps: OrderedDict[UUID, Step] = OrderedDict()
        self._lock = threading.Lock()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Hold the money of one call.

        Raises:
            SpendgateError: what `Budgets.step` raises; the call then isn't made.
        """
        request = _request(json_object(serialized), kwargs.get("invocation_params"))
        request.setdefault("messages", convert_to_openai_messages(messages[0]))
        step = self._budgets.step(**self._who, **request)
        step.__enter__()
        if step.is_narrowed:
            _give_back(step)
        with self._lock:
            self._steps[run_id] = step
            if len(self._steps) > STEPS_MAX:
                self._steps.popitem(last=False)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Charge what the model's message says was used; in full where it doesn't say."""
        del kwargs
        step = self._taken(run_id)
        if step is None:
            return
        for generation in response.generations[0][:1] if response.generations else ():
            if isinstance(generation, ChatGeneration):
                step.report(generation.message)
        step.__exit__(None, None, None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Charge a failed call in full: the model may have run."""
        del kwargs
        step = self._taken(run_id)
        if step is not None:
            step.__exit__(type(error), error, None)

    def _taken(self, run_id: UUID) -> Step | None:
        with self._lock:
            return self._steps.pop(run_id, None)


def _request(serialized: JsonObject, parameters: object) -> dict[str, Any]:
    """Return what decides the bound of a call, as LangChain will send it."""
    own = extra_fields(parameters, "invocation_params")
    if json_object(serialized.get("kwargs")).get("use_previous_response_id"):
        message = "what the provider keeps of a conversation can't be bounded; send its messages"
        raise InvalidRequestError(message, "use_previous_response_id")
    for place in _MERGED:
        more = extra_fields(own.pop(place, None), place)
        for name in more:
            if own.get(name) not in (None, more[name]):
                message = f"{place} repeats {name!r} with another value; say it once"
                raise InvalidRequestError(message, f"{place}.{name}")
        own |= more
    check_query(own.get("extra_query"))
    extra = extra_fields(own.pop("extra_body", None), "extra_body")
    model = extra.get("model") or own.get("model") or own.get("model_name")
    if not isinstance(model, str):
        message = "the chat model doesn't say its model's name, so its calls can't be priced"
        raise InvalidRequestError(message, "model")
    own = {name: one for name, one in own.items() if name not in _NOT_SENT}
    maximum = _maximum(own, extra)
    sent = {**own, **extra, **dict.fromkeys(MAX_TOKENS_FIELDS)}
    if isinstance(sent.get("response_format"), type):
        sent["response_format"] = _schema_of(sent["response_format"])
    return {"model": model, **bounded_fields({**sent, "max_tokens": maximum})}


def _schema_of(kind: Any) -> object:
    """Return the response format that stands for a class of pydantic when it is sent.

    Which of two converters makes it depends on the API and on streaming; the longer one counts.
    """
    try:
        # Only who sends with OpenAI's client gives classes, and has it.
        from openai.lib._parsing import type_to_response_format_param  # noqa: PLC0415

        whole = type_to_response_format_param(kind)
        function = convert_to_openai_function(kind.model_json_schema(), strict=True)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        message = f"the class {kind.__name__} has no schema that can be bounded; give its schema"
        raise InvalidRequestError(message, "response_format") from error
    inlined = {**function, "schema": function.pop("parameters")}
    return max(whole, {"type": "json_schema", "json_schema": inlined}, key=_length)


def _length(value: object) -> int:
    return len(json.dumps(value))


def _maximum(own: JsonObject, extra: JsonObject) -> int | None:
    """Return the most output tokens that any of the sent maxima allows.

    Which name the server goes by depends on the API, which the parameters don't tell: LangChain
    gives the model's own maximum the right name, while one in `extra_body` stands beside it.
    """
    of_own = [own[name] for name in MAX_TOKENS_FIELDS if own.get(name) is not None]
    for name in MAX_TOKENS_FIELDS:
        if name in extra and (extra[name] is None or not of_own):
            message = f"extra_body's {name} may leave the output unbounded; set it on the model"
            raise InvalidRequestError(message, f"extra_body.{name}")
    named = [*of_own, *(extra[name] for name in MAX_TOKENS_FIELDS if name in extra)]
    return max((whole_number(one, "max_tokens", 1, TOKENS_MAX) for one in named), default=None)


def _give_back(step: Step) -> NoReturn:
    """Refuse a call that would have to be changed."""
    model, tokens, dropped = step.model, step.max_tokens, ", ".join(step.tools_disabled)
    step.not_sent()
    step.__exit__(None, None, None)
    raise BudgetExceededError(
        "budget_narrowed",
        f"the budgets would only pay for {model} with max_tokens {tokens}"
        f"{f' and without {dropped}' if dropped else ''}; a callback can't change the call",
        spend=step.spend or {},
        budget={},
        suggested_model=model,
    )
