"""Calls through the served model, and a log of what each one sent and was answered."""

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httpx

from spendgate.gateway.json_object import JsonObject, json_list, json_object

LOST = 0
"""Status of a call whose answer never came."""
_CONNECTIONS_MAX = 512
_TIMEOUT_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for a call, as its client says."""

    scopes: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Order:
    """One call to be made."""

    payer: Payer
    model: str
    body: JsonObject
    """The request without `custom_inputs`."""

    simulate: JsonObject = field(default_factory=dict[str, object])
    """Directives for the model server; empty sends none."""

    part: str = "crowd"
    """Which part of the run it belongs to."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call as its client saw it; the evidence that the proof starts from."""

    part: str
    scopes: Mapping[str, str]
    tags: Mapping[str, str]
    model_requested: str
    sent_at: datetime
    answered_at: datetime
    status: int
    request_id: str | None = None
    code: str | None = None
    retryable: bool = False
    decision: str | None = None
    model_served: str | None = None
    cost_usd: str | None = None
    tools_disabled: tuple[str, ...] = ()

    @classmethod
    def of(cls, order: Order, sent_at: datetime, status: int, answer: JsonObject) -> "CallRecord":
        """Read what came back for an order just now."""
        spend, error = json_object(answer.get("spend")), json_object(answer.get("error"))
        code = str(error["code"]) if "code" in error else None
        return cls(
            part=order.part,
            scopes=order.payer.scopes,
            tags=order.payer.tags,
            model_requested=order.model,
            sent_at=sent_at,
            answered_at=datetime.now(UTC),
            status=status,
            request_id=_text(spend.get("request_id")),
            code=code or (None if status == HTTPStatus.OK else f"http_{status}"),
            retryable=answer.get("retryable") is True,
            decision=_text(spend.get("decision")),
            model_served=_text(spend.get("model_served")),
            cost_usd=_text(spend.get("cost_usd")),
            tools_disabled=tuple(map(str, json_list(spend.get("tools_disabled")))),
        )

    @property
    def is_answered(self) -> bool:
        """Whether the model's answer arrived."""
        return self.status == HTTPStatus.OK and self.code is None

    @property
    def latency_seconds(self) -> float:
        """How long the client waited."""
        return (self.answered_at - self.sent_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget as the latest answer showed it."""

    spent_usd: Decimal
    limit_usd: Decimal


class CallLog:
    """All records of a run, and running counts of them for whoever watches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[CallRecord] = []
        self.outcomes: Counter[str] = Counter()
        """Calls by decision, or by error code."""

        self.standings: dict[str, Standing] = {}
        """By budget and scope, such as `agents agent:a-1`."""

    def add(self, record: CallRecord, spend: JsonObject) -> None:
        """Keep a record; `spend` is the answer's spend object."""
        shown = {
            f"{one['budget_id']} {one['scope']}": Standing(
                Decimal(str(one["spent_usd"])), Decimal(str(one["limit_usd"]))
            )
            for one in map(json_object, json_list(spend.get("budgets")))
        }
        with self._lock:
            self._records.append(record)
            self.outcomes[record.code or record.decision or "unknown"] += 1
            for name, standing in shown.items():
                known = self.standings.get(name)
                # Answers overtake each other; what is spent only grows in a run.
                if known is None or known.spent_usd <= standing.spent_usd:
                    self.standings[name] = standing

    @property
    def records(self) -> list[CallRecord]:
        """A copy of the records so far."""
        with self._lock:
            return list(self._records)

    def write(self, path: Path) -> None:
        """Write one JSON object per line."""
        with path.open("w", encoding="utf-8") as lines:
            for record in self.records:
                lines.write(json.dumps(asdict(record), default=_as_text) + "\n")


class Endpoint:
    """A client of the served model, safe for many threads; it never retries by itself."""

    def __init__(self, url: str, log: CallLog) -> None:
        limits = httpx.Limits(
            max_connections=_CONNECTIONS_MAX, max_keepalive_connections=_CONNECTIONS_MAX
        )
        self._http = httpx.Client(
            base_url=url, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False
        )
        self._log = log

    def call(self, order: Order) -> CallRecord:
        """Make one call and record it, whatever comes back."""
        payer = order.payer
        own: dict[str, object] = {"model": order.model, **payer.scopes}
        if payer.tags:
            own["tags"] = payer.tags
        if order.simulate:
            own["extra_body"] = {"simulate": order.simulate}
        sent_at = datetime.now(UTC)
        status, answer = self._post({**order.body, "custom_inputs": own})
        record = CallRecord.of(order, sent_at, status, answer)
        self._log.add(record, json_object(answer.get("spend")))
        return record

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _post(self, body: JsonObject) -> tuple[int, JsonObject]:
        try:
            answer = self._http.post("/invocations", json=body)
        except httpx.TransportError as error:
            return LOST, {"error": {"code": f"lost ({type(error).__name__})"}}
        try:
            return answer.status_code, json_object(cast("object", answer.json()))
        except ValueError:
            return answer.status_code, {}


def chat_body(
    prompt: object, *, max_tokens: int | None = None, tools: Sequence[JsonObject] = ()
) -> dict[str, object]:
    """Write a chat request of one user message."""
    body: dict[str, object] = {"messages": [{"role": "user", "content": prompt}]}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if tools:
        body["tools"] = list(tools)
    return body


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
