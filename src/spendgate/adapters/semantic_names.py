"""The names under which telemetry backends know a call's figures: all strings in one place.

OpenTelemetry's GenAI conventions as of 2026-09 (still in development): buckets are inclusive, and
there is no name for a cost, so ours are under `spendgate.`. Langfuse's names are those of its
OpenTelemetry endpoint.
"""

import json
from collections.abc import Mapping, Sequence

from spendgate.domain.money import NANO_PER_USD, format_usd
from spendgate.domain.scope import Dimension
from spendgate.gateway.call_report import CallReport
from spendgate.gateway.wire import EMBEDDINGS

Value = str | bool | int | float | Sequence[str]

PROMPT_NAME = "prompt_name"
PROMPT_VERSION = "prompt_version"
"""Tags of a call by which its spend is attributed to a version of a prompt."""


def operation(report: CallReport) -> str:
    """Return `gen_ai.operation.name`."""
    return "embeddings" if report.route == EMBEDDINGS else "chat"


def genai_attributes(report: CallReport) -> dict[str, Value]:
    """Return a call's attributes by OpenTelemetry's names, and ours for money."""
    user, session = report.scopes.get("user"), report.scopes.get("session")
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": operation(report),
        "gen_ai.provider.name": report.upstream,
        "gen_ai.request.model": report.model_requested,
        "gen_ai.request.stream": report.is_stream,
        "gen_ai.request.max_tokens": report.max_tokens_granted,
        "gen_ai.request.temperature": report.parameters.get("temperature"),
        "gen_ai.request.top_p": report.parameters.get("top_p"),
        "gen_ai.request.seed": report.parameters.get("seed"),
        "gen_ai.request.choice.count": report.parameters.get("n"),
        "gen_ai.request.frequency_penalty": report.parameters.get("frequency_penalty"),
        "gen_ai.request.presence_penalty": report.parameters.get("presence_penalty"),
        "gen_ai.response.model": report.model,
        "gen_ai.response.id": report.response_id,
        "gen_ai.response.finish_reasons": report.finish_reasons or None,
        "gen_ai.conversation.id": session,
        "gen_ai.agent.id": report.scopes.get("agent"),
        "gen_ai.prompt.name": report.tags.get(PROMPT_NAME),
        "gen_ai.prompt.version": report.tags.get(PROMPT_VERSION),
        "user.id": user,
        "session.id": session,
        "error.type": _error_type(report),
        "http.response.status_code": report.status,
        "spendgate.request.id": report.request_id,
        "spendgate.hold.id": report.hold_id,
        "spendgate.attempt": report.attempt,
        "spendgate.decision": report.decision,
        "spendgate.budget.ids": report.budget_ids,
        "spendgate.cost.usd": usd(report.cost_nano),
        "spendgate.cost.nano_usd": report.cost_nano,
        "spendgate.reserved.nano_usd": report.reserved_nano,
        "spendgate.usage.source": report.usage_source,
        "spendgate.price.version": report.price_version,
        **{f"spendgate.scope.{name}": report.scopes.get(name) for name in Dimension},
        **{f"spendgate.tag.{name}": value for name, value in report.tags.items()},
        **_usage(report),
    }
    return {name: value for name, value in found.items() if value is not None}


def langfuse_attributes(report: CallReport) -> dict[str, Value]:
    """Return a call's attributes as a generation of Langfuse, with exact cost and usage."""
    parameters = {**report.parameters, "max_tokens": report.max_tokens_granted}
    own: dict[str, Value] = {
        "langfuse.trace.name": report.scopes.get("agent", "spendgate"),
        "langfuse.trace.tags": [f"{name}:{value}" for name, value in report.scopes.items()],
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": report.model,
        "langfuse.observation.model.parameters": json.dumps(parameters),
        "langfuse.observation.cost_details": json.dumps({"total": usd(report.cost_nano)}),
        "langfuse.observation.level": "ERROR" if _error_type(report) else "DEFAULT",
        "langfuse.observation.metadata.decision": report.decision,
        "langfuse.observation.metadata.hold_id": report.hold_id,
    }
    if report.usage is not None:
        own["langfuse.observation.usage_details"] = json.dumps(_disjoint_usage(report))
    name, version = report.tags.get(PROMPT_NAME), report.tags.get(PROMPT_VERSION)
    if name is not None and version is not None and version.isdecimal():
        own["langfuse.observation.prompt.name"] = name
        own["langfuse.observation.prompt.version"] = int(version)
    return {**genai_attributes(report), **own}


def usd(nano: int) -> float:
    """Return nano-USD as the float that telemetry wants; the ledger's integer stays the truth."""
    return nano / NANO_PER_USD


def exact_usd(nano: int) -> str:
    """Return nano-USD as a decimal text."""
    return format_usd(nano)


def _usage(report: CallReport) -> Mapping[str, int]:
    usage = report.usage
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_write.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def _disjoint_usage(report: CallReport) -> Mapping[str, int]:
    """Split usage into parts that add up: Langfuse sums whatever keys it gets."""
    assert report.usage is not None  # noqa: S101 - the caller has looked
    usage = report.usage
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    parts = {
        "input": usage.input_tokens - cached,
        "input_cache_read": usage.cache_read_tokens,
        "input_cache_write": usage.cache_write_tokens,
        "output": usage.output_tokens - usage.reasoning_tokens,
        "output_reasoning": usage.reasoning_tokens,
    }
    always = ("input", "output")
    return {name: count for name, count in parts.items() if count or name in always}


def _error_type(report: CallReport) -> str | None:
    if report.status < 400:
        return None
    return report.error_code or str(report.status)
