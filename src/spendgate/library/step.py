"""One model call of an agent: its money is held before, and charged by the agent's report after."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from spendgate.errors import StepError
from spendgate.gateway.admission import Admission
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.json_object import JsonObject, json_list, json_object
from spendgate.gateway.outcome import Ending, Verb
from spendgate.gateway.reply import Reply, budget_object
from spendgate.gateway.waiting import Wait, run_on
from spendgate.gateway.wire import Host
from spendgate.library.aside import aside
from spendgate.library.refusal import error_of
from spendgate.library.reported import added, reported_usage
from spendgate.library.task_threads import TaskThreads
from spendgate.library.watch import Watch

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
_Admitting = Coroutine[Any, Any, Admission | Reply]
_NEVER_SENT = Ending(Verb.VOID, 502, problem="the agent didn't send the call")
_BROKEN = Ending(Verb.EXPIRE, 500, problem="the step broke off without a report")


class Step:
    """Holds one call's money while it is entered, with `with` or `async with`; used once.

    Inside, call `model` with at most `max_tokens` and without `tools_disabled` (or send `body`),
    then `report` the response. Without a report the whole hold is charged, also after an exception,
    unless `not_sent` says that nothing was sent.
    """

    def __init__(
        self, gateway: Gateway, watch: Watch, threads: TaskThreads, route: str, request: JsonObject
    ) -> None:
        self._gateway = gateway
        self._watch = watch
        self._threads = threads
        self._route = route
        self._request = request
        self._admission: Admission | None = None
        self._is_entered = False
        self._is_unsent = False
        self._reports: list[object] = []
        self._spend: JsonObject | None = None

    @property
    def model(self) -> str:
        """The model to call: the one asked for, or a cheaper one."""
        return self._admitted.granted.candidate.model

    @property
    def max_tokens(self) -> int:
        """The most output tokens that are paid for."""
        return self._admitted.granted.tokens

    @property
    def tools_disabled(self) -> tuple[str, ...]:
        """Tools that the budgets no longer pay for."""
        return self._admitted.granted.tools_disabled

    @property
    def is_narrowed(self) -> bool:
        """Whether less was granted than asked: another model, fewer tokens or fewer tools."""
        admitted = self._admitted
        is_other = self.model != admitted.prepared.call.model
        return is_other or admitted.max_tokens_source == "fit" or bool(self.tools_disabled)

    @property
    def body(self) -> dict[str, object]:
        """The request with model, `max_tokens` and tools as granted: ready for the model's API."""
        return self._admitted.callers_body

    @property
    def hold_id(self) -> str:
        """The hold that pays; as `client_request_id` it names the call in Databricks' tables."""
        return self._admitted.hold_id

    @property
    def spend(self) -> JsonObject | None:
        """The `spend` object, once the step has ended."""
        return self._spend

    def report(self, answer: object) -> None:
        """Say what the call used: a response with `usage`, or the usage itself.

        Reports add up. One that can't be read charges the whole hold.

        Raises:
            StepError: if the step isn't entered or has ended.
        """
        if self._spend is not None:
            raise StepError("the step has ended; report inside of its with block")
        assert self._admitted  # noqa: S101 - raises where the step isn't entered
        self._reports.append(answer)

    def not_sent(self) -> None:
        """Say that no model was called: the hold is released. A report outweighs this.

        Raises:
            StepError: if the step isn't entered.
        """
        assert self._admitted  # noqa: S101 - raises where the step isn't entered
        self._is_unsent = True

    def __enter__(self) -> "Step":
        self._enter_once()
        self._admission = aside(self._admit, self._release)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        aside(lambda: self._end(is_broken=kind is not None))

    async def __aenter__(self) -> "Step":
        self._enter_once()
        work = self._gateway.admitting(
            self._route, self._request, host=Host.ENDPOINT, may_stream=True
        )
        while isinstance(found := await self._run_in_thread(work), Wait):
            # Without a thread: those who wait for money would take all that others need.
            try:
                await asyncio.sleep(found.seconds)
            except BaseException:
                work.close()
                raise
        self._admission = found
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._threads.end(lambda: self._end(kind is not None))

    @property
    def _admitted(self) -> Admission:
        if self._admission is None:
            raise StepError("the step isn't entered; use it with `with` or `async with`")
        return self._admission

    def _enter_once(self) -> None:
        self._threads.check_open()
        if self._is_entered:
            raise StepError("a step pays for one call; make a new one for each")
        self._is_entered = True

    async def _run_in_thread(self, work: _Admitting) -> Admission | Wait:
        try:
            future = self._threads.admissions.submit(self._run_on, work)
        except RuntimeError:
            work.close()
            self._threads.check_open()  # closed while it waited for money
            raise
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            future.add_done_callback(partial(self._give_back, work))
            raise

    def _run_on(self, work: _Admitting) -> Admission | Wait:
        found = run_on(work)
        return found if isinstance(found, Wait) else self._looked_at(found)

    def _admit(self) -> Admission:
        admitted = self._gateway.admit(
            self._route, self._request, host=Host.ENDPOINT, may_stream=True
        )
        return self._looked_at(admitted)

    def _looked_at(self, admitted: Admission | Reply) -> Admission:
        if isinstance(admitted, Reply):
            raise refused(admitted, self._watch)
        self._watch.see(budget_object(one) for one in admitted.granted.positions)
        return admitted

    def _end(self, is_broken: bool) -> None:
        reply = self._gateway.finish(self._admitted, self._ending(is_broken))
        self._spend = json_object(reply.body.get("spend"))
        self._watch.see(json_list(self._spend.get("budgets")))

    def _ending(self, is_broken: bool) -> Ending:
        if not self._reports:
            if self._is_unsent:
                return _NEVER_SENT
            if is_broken:
                return _BROKEN
        write_ttl = self._admitted.prepared.offers.write_ttl
        usage = added([reported_usage(one, write_ttl) for one in self._reports])
        if usage is None:
            _log.warning("a step without a readable report is charged in full")
        return Ending(Verb.SETTLE, 200, body={}, usage=usage)

    def _give_back(self, work: _Admitting, future: "Future[Admission | Wait]") -> None:
        """Release the hold of a step whose task was cancelled while it asked for the money."""
        if not future.cancelled() and future.exception() is None:
            found = future.result()
            if isinstance(found, Wait):
                work.close()
            else:
                self._release(found)

    def _release(self, admission: Admission) -> None:
        self._gateway.finish(admission, _NEVER_SENT)


def refused(reply: Reply, watch: Watch) -> Exception:
    """Return a refusal's exception, after telling who listens."""
    spend = json_object(reply.body.get("spend"))
    watch.see(json_list(spend.get("budgets")))
    budget = json_object(reply.body.get("budget"))
    if budget and not reply.body.get("retryable"):
        watch.stopped(budget)
    return error_of(reply) or StepError("the gate answered without admitting the call")


def in_thread(threads: Executor, work: Callable[[], Answer]) -> "asyncio.Future[Answer]":
    """Run what may block in a thread, for a task to await."""
    return asyncio.wrap_future(threads.submit(work))
