"""Budgets for agents in process: the same gate, ledger and policy as the hosts have."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

from spendgate.bootstrap import apply_policy
from spendgate.config import Settings
from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import json_list, json_object
from spendgate.gateway.ports import UpstreamNotSent, UpstreamOutcome
from spendgate.gateway.wire import CHAT, Host
from spendgate.library.aside import aside
from spendgate.library.plain_json import given_list, given_object, refuse_other_than_json
from spendgate.library.step import Step, in_thread, refused
from spendgate.library.task_threads import TaskThreads
from spendgate.library.watch import BudgetEvent, Moment, Watch
from spendgate.running_host import RunningHost

_log = logging.getLogger(__name__)

Route = Literal["chat/completions", "responses", "embeddings"]


class Budgets:
    """A gate in this process; safe for many threads and tasks. Close it, or use it with `with`.

    Args:
        budgets_file: the policy file; None takes the settings'.
        home: folder of the embedded ledger; None takes the settings'.
        settings: all other settings; None reads the environment (`SPENDGATE_…`).

    Raises:
        HostError, PolicyError, PriceError, LedgerUnavailableError, LedgerBrokenError: if it can't
            start.
    """

    def __init__(
        self,
        budgets_file: str | Path | None = None,
        *,
        home: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        chosen = {"budgets_file": budgets_file, "home": home}
        given = {name: Path(path) for name, path in chosen.items() if path is not None}
        settings = (settings or Settings()).model_copy(update=given)
        self._host = RunningHost(settings, _AgentItself())
        try:
            applied = apply_policy(settings, self._host.ledger)
        except BaseException:
            self._host.close()
            raise
        if settings.budgets_file is not None:
            for said in applied.imported.losses(settings.budgets_file.name):
                _log.warning("%s", said)
        self._watch = Watch(self._thresholds_of)
        self._threads = TaskThreads()
        self._host.start()

    def step(
        self,
        *,
        model: str,
        messages: Sequence[object] | None = None,
        agent: str | None = None,
        user: str | None = None,
        team: str | None = None,
        org: str | None = None,
        session: str | None = None,
        task: str | None = None,
        tags: Mapping[str, str] | None = None,
        spend_token: str | None = None,
        route: Route = CHAT,
        **request: object,
    ) -> Step:
        """Return one call of an agent to enter with `with` or `async with`.

        Entering holds the call's worst case and raises what refuses it: BudgetExceededError,
        ForbiddenError, InvalidRequestError, TokenError or LedgerUnavailableError.

        Args:
            model: the model the agent would like to call.
            messages: the chat so far; it bounds what the input costs.
            agent, user, team, org, session, task, tags: who pays.
            spend_token: a token that says who pays, where a signing key is set.
            route: which API is called; `responses` and `embeddings` take `input`.
            request: the rest of the request: `max_tokens`, `tools`, `input` …

        Raises:
            InvalidRequestError: if there is no such route, who pays is in `custom_inputs`, or an
                argument is nothing that could be sent.
            StepError: if these budgets are closed.
        """
        self._check(route)
        if "custom_inputs" in request:
            message = "give agent, user, tags … as arguments of step, not in custom_inputs"
            raise InvalidRequestError(message, "custom_inputs")
        who: dict[str, object] = {
            "agent": agent,
            "user": user,
            "team": team,
            "org": org,
            "session": session,
            "task": task,
            "tags": None if tags is None else given_object(tags, "tags"),
            "spend_token": spend_token,
        }
        own = {name: value for name, value in who.items() if value is not None}
        refuse_other_than_json(request)
        body: dict[str, object] = {"model": model, **request, "custom_inputs": own}
        if messages is not None:
            body["messages"] = given_list(messages, "messages")
            refuse_other_than_json({"messages": body["messages"]})
        return Step(self._host.gateway, self._watch, self._threads, route, body)

    def call(self, body: Mapping[str, object], *, route: Route = CHAT) -> dict[str, object]:
        """Make a call through the gate's own upstream, so that its bound is enforced.

        Returns the model server's answer with the `spend` object.

        Args:
            body: the request as a host takes it, who pays in `custom_inputs`.
            route: which API is called.

        Raises:
            SpendgateError: what `step` raises, and UpstreamError if the model server fails.
        """
        self._check(route)
        refuse_other_than_json(given_object(body, "body"))
        gateway = self._host.gateway
        reply = aside(lambda: gateway.handle(route, body, host=Host.ENDPOINT))
        if reply.body.get("error"):
            raise refused(reply, self._watch)
        spend = json_object(reply.body.get("spend"))
        self._watch.see(json_list(spend.get("budgets")))
        return reply.body

    async def call_async(
        self, body: Mapping[str, object], *, route: Route = CHAT
    ) -> dict[str, object]:
        """Make the same call from an event loop; it takes a thread until it is answered."""
        self._check(route)
        return await asyncio.shield(
            in_thread(self._threads.calls, lambda: self.call(body, route=route))
        )

    def on(self, moment: Moment, callback: Callable[[BudgetEvent], object]) -> None:
        """Call back when a budget's spend passes a threshold, or when it refuses a call.

        Each crossing is told once per window in this process, in the thread that saw it. A callback
        that raises is logged and breaks nothing.

        Raises:
            InvalidRequestError: if there is no such moment, or nothing to call.
        """
        self._watch.on(moment, callback)

    def close(self) -> None:
        """Settle what is under way, deliver the outbox and close the ledger."""
        self._threads.shutdown()
        self._host.close()

    def __enter__(self) -> "Budgets":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, route: str) -> None:
        self._threads.check_open()
        if route not in get_args(Route):
            message = f"there is no such route; there are: {', '.join(get_args(Route))}"
            raise InvalidRequestError(message, "route")

    def _thresholds_of(self, budget_id: str) -> Sequence[int]:
        policy = self._host.gateway.policy
        budgets = () if policy is None else policy.budgets
        found = (one.alerts_ppm for one in budgets if one.budget_id == budget_id)
        return next(found, ())


class _AgentItself:
    """Stands where a host has its model server: in a step, the agent calls the model."""

    name = "in-process"

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Say that there is nothing to call."""
        del route, body
        return UpstreamNotSent(
            "set SPENDGATE_UPSTREAM_URL, or call the model yourself within Budgets.step"
        )

    stream = call
