"""LangChain and LangGraph: a callback handler that makes each model call a step.

Needs the extra `langchain`; nothing else imports this file.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, LLMResult

from spendgate.errors import BudgetExceededError, InvalidRequestError
from spendgate.library.budgets import Budgets
from spendgate.library.step import Step

STEPS_MAX = 10_000
"""Steps under way; of a call whose end LangChain never tells, the hold expires by itself."""

_PRICED = ("max_tokens", "max_completion_tokens", "n", "tools", "response_format", "service_tier")
"""What of a call's parameters decides its bound."""


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
        del serialized
        parameters: Mapping[str, Any] = kwargs.get("invocation_params") or {}
        model = parameters.get("model") or parameters.get("model_name")
        if not model:
            message = "the chat model doesn't say its model's name, so its calls can't be priced"
            raise InvalidRequestError(message, "model")
        priced = {name: parameters[name] for name in _PRICED if parameters.get(name) is not None}
        chat = convert_to_openai_messages(messages[0])
        step = self._budgets.step(model=model, messages=chat, **self._who, **priced)
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
