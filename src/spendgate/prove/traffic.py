"""Clients that repeat a call under its idempotency key until somebody says how it ended."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import cast

import httpx

from spendgate.demo.traffic import LOST, CallLog, CallRecord, Order
from spendgate.gateway.json_object import JsonObject, json_object
from spendgate.prove.cast import Client
from spendgate.prove.fleet import Fleet

PATH = "/v1/chat/completions"
_ANSWER_SECONDS = 4.0
_CALL_SECONDS = 90.0
"""When even a patient client gives up; no gate is away for so long."""
_UPSTREAM_TRIES = 2
_REFUSALS_IN_A_ROW = 2


@dataclass(frozen=True, slots=True)
class RefusedBy:
    """The budget that a refusal names."""

    budget_id: str
    scope: str


@dataclass(slots=True)
class Traffic:
    """All calls of a run."""

    log: CallLog = field(default_factory=CallLog)
    retries: Counter[str] = field(default_factory=Counter[str])
    """Tries that were made again, by what came back."""

    refused_at_last: dict[str, tuple[RefusedBy, CallRecord]] = field(
        default_factory=dict[str, tuple[RefusedBy, CallRecord]]
    )
    """By client and value: the budget that ended its last round, and the refused call."""

    lock: threading.Lock = field(default_factory=threading.Lock)


class Caller:
    """One client at work."""

    def __init__(
        self, client: Client, fleet: Fleet, traffic: Traffic, http: httpx.Client, seed: int
    ) -> None:
        self._client = client
        self._fleet = fleet
        self._traffic = traffic
        self._http = http
        self._draw = random.Random(f"{seed}:{client.name}")  # noqa: S311 - for variety, no secret
        self._calls = 0

    @property
    def spends_the_whole(self) -> bool:
        """Whether only the company's budget ends it."""
        return self._client.team == "org"

    def work(self, is_over: Callable[[], bool]) -> None:
        """Call and rest, until the storm is over; a budget that is empty is asked again later."""
        while not is_over():
            record, _ = self._call(is_last_round=False)
            rest = self._draw.uniform(0.05, 0.25) if record.is_answered else 0.3
            time.sleep(rest)

    def spend_the_rest(self, deadline: float) -> None:
        """Call until every value of this client is refused by an empty budget."""
        refusals: Counter[str] = Counter()
        while time.monotonic() < deadline:
            record, refused_by = self._call(is_last_round=True)
            value = record.scopes.get("session", self._client.name)
            refusals[value] = refusals[value] + 1 if refused_by is not None else 0
            if refused_by is not None:
                with self._traffic.lock:
                    self._traffic.refused_at_last[value] = refused_by, record
            values = 2 if self._client.team == "sessions" else 1
            ended = [one for one, count in refusals.items() if count >= _REFUSALS_IN_A_ROW]
            if len(ended) == values:
                return

    def _call(self, *, is_last_round: bool) -> tuple[CallRecord, RefusedBy | None]:
        """Make one call with one key, as often as it takes."""
        self._calls += 1
        order = self._client.order(self._draw, self._calls, is_last_round=is_last_round)
        body = _request(order, f"{self._client.name}-{self._calls}")
        sent_at, deadline = datetime.now(UTC), time.monotonic() + _CALL_SECONDS
        request_id, failures = None, 0
        while True:
            record, answer = self._try(order, body, sent_at)
            request_id = record.request_id or request_id
            failures += record.code == "upstream_error"
            if not _may_help(record, failures) or time.monotonic() >= deadline:
                break
            with self._traffic.lock:
                self._traffic.retries[record.code or "unknown"] += 1
            time.sleep(self._draw.uniform(0.1, 0.5))
        record = replace(record, request_id=request_id)
        self._traffic.log.add(record, json_object(answer.get("spend")))
        budget = json_object(answer.get("budget"))
        if record.code != "budget_exhausted":
            return record, None
        return record, RefusedBy(str(budget.get("budget_id")), str(budget.get("scope")))

    def _try(
        self, order: Order, body: JsonObject, sent_at: datetime
    ) -> tuple[CallRecord, JsonObject]:
        with self._fleet.some_gate(self._draw) as url:
            status, answer = (LOST, _lost("no gate")) if url is None else self._post(url, body)
        record = CallRecord.of(order, sent_at, status, answer)
        return replace(record, part=self._client.team), answer

    def _post(self, url: str, body: JsonObject) -> tuple[int, JsonObject]:
        try:
            answer = self._http.post(f"{url}{PATH}", json=body)
            return answer.status_code, json_object(cast("object", answer.json()))
        except httpx.TransportError as error:
            return LOST, _lost(type(error).__name__)
        except ValueError:
            return LOST, _lost("no JSON")


def open_client(callers: int) -> httpx.Client:
    """Open the connections that all callers share."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=2 * callers)
    return httpx.Client(timeout=_ANSWER_SECONDS, limits=limits, trust_env=False)


def _request(order: Order, key: str) -> JsonObject:
    own = {
        **order.payer.scopes,
        "idempotency_key": key,
        "extra_body": {"simulate": order.simulate},
    }
    return {**order.body, "model": order.model, "custom_inputs": own}


def _may_help(record: CallRecord, failures: int) -> bool:
    """Tell whether another try can end differently: an end that is known needs none."""
    if record.code == "upstream_error":
        return record.retryable and failures < _UPSTREAM_TRIES
    return record.status == LOST or record.retryable


def _lost(why: str) -> JsonObject:
    return {"error": {"code": f"lost ({why})"}}
