"""What each telemetry backend really gets over HTTP for one call."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import SecretStr
from tests.integration.telemetry.receiver import Receiver, receiving

from spendgate.adapters.helicone_log import HeliconeLog
from spendgate.adapters.mlflow_traces import MlflowTraces
from spendgate.adapters.otlp_metrics import OtlpMetrics
from spendgate.adapters.otlp_traces import langfuse_traces, otlp_traces
from spendgate.domain.usage import TokenUsage
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.call_report import CallReport

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
CALL = CallReport(
    hold_id="r-1#1",
    request_id="r-1",
    attempt=1,
    route="chat/completions",
    is_stream=False,
    scopes={"org": "acme", "agent": "triage-bot", "user": "u-1", "session": "s-1"},
    tags={"prompt_name": "triage", "prompt_version": "3"},
    model_requested="big",
    model="small",
    upstream="main",
    decision="downgrade",
    status=200,
    error_code=None,
    usage=TokenUsage(100, 20, cache_read_tokens=40, cache_write_tokens=10, reasoning_tokens=5),
    usage_source="reported",
    cost_nano=1_230_000,
    reserved_nano=5_000_000,
    price_version="v1",
    parameters={"temperature": 0.5},
    max_tokens_granted=400,
    response_id="chatcmpl-1",
    finish_reasons=("stop",),
    budget_ids=("org-monthly",),
    started_at=NOON,
    ended_at=NOON + timedelta(seconds=2),
)
FAILED = replace(
    CALL, hold_id="r-1#2", attempt=2, status=429, error_code="overloaded", usage=None, cost_nano=0
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def attributes(span: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        is_list = kind == "array_value"
        found[one.key] = [each.string_value for each in value.values] if is_list else value
    return found


def spans_of(body: bytes) -> list[Any]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans
    ]


def test_opentelemetry_gets_a_span_per_attempt_in_one_trace(receiver: Receiver) -> None:
    backend = otlp_traces(receiver.url, {"x-key": "k"}, service="gate", timeout_seconds=5)

    backend.send([CALL, FAILED])

    ((headers, body),) = receiver.wait_for("/v1/traces")
    first, second = spans_of(body)
    known = attributes(first)
    assert headers["x-key"] == "k"
    assert first.trace_id == second.trace_id
    assert first.span_id != second.span_id
    assert first.name == "chat small"
    assert first.end_time_unix_nano - first.start_time_unix_nano == 2 * 10**9
    assert known["gen_ai.request.model"] == "big"
    assert known["gen_ai.response.model"] == "small"
    assert known["gen_ai.usage.input_tokens"] == 100
    assert known["gen_ai.usage.cache_write.input_tokens"] == 10
    assert known["gen_ai.usage.reasoning.output_tokens"] == 5
    assert known["spendgate.cost.nano_usd"] == 1_230_000
    assert known["spendgate.scope.agent"] == "triage-bot"
    assert known["spendgate.budget.ids"] == ["org-monthly"]
    assert attributes(second)["error.type"] == "overloaded"
    assert "gen_ai.usage.input_tokens" not in attributes(second)


def test_langfuse_gets_a_generation_with_exact_cost_and_its_prompts_version(
    receiver: Receiver,
) -> None:
    backend = langfuse_traces(receiver.url, "pk", "sk", service="gate", timeout_seconds=5)

    backend.send([CALL])

    ((headers, body),) = receiver.wait_for("/api/public/otel/v1/traces")
    known = attributes(*spans_of(body))
    usage = json.loads(known["langfuse.observation.usage_details"])
    assert headers["authorization"] == f"Basic {base64.b64encode(b'pk:sk').decode()}"
    assert known["langfuse.observation.type"] == "generation"
    assert known["langfuse.observation.model.name"] == "small"
    assert json.loads(known["langfuse.observation.cost_details"]) == {"total": 0.00123}
    assert sum(usage.values()) == 120, "Langfuse adds the parts up"
    assert known["langfuse.observation.prompt.name"] == "triage"
    assert known["langfuse.observation.prompt.version"] == 3
    assert json.loads(known["langfuse.observation.model.parameters"]) == {
        "temperature": 0.5,
        "max_tokens": 400,
    }
    assert (known["user.id"], known["session.id"]) == ("u-1", "s-1")


def test_helicone_gets_figures_and_properties_and_no_text(receiver: Receiver) -> None:
    backend = HeliconeLog(receiver.url, SecretStr("hk"), timeout_seconds=5)

    backend.send([CALL])
    backend.close()

    ((headers, body),) = receiver.wait_for("/custom/v1/log")
    sent = json.loads(body)
    assert headers["authorization"] == "Bearer hk"
    assert sent["providerRequest"]["url"] == "custom-model-nopath"
    assert sent["providerRequest"]["meta"]["Helicone-User-Id"] == "u-1"
    assert sent["providerRequest"]["meta"]["Helicone-Prompt-Id"] == "triage"
    assert sent["providerRequest"]["meta"]["Helicone-Property-CostUsd"] == "0.001230000"
    assert sent["providerResponse"]["json"]["usage"]["total_tokens"] == 120
    assert sent["timing"]["endTime"]["seconds"] - sent["timing"]["startTime"]["seconds"] == 2
    assert set(sent["providerRequest"]["json"]) == {"model", "max_tokens", "stream", "temperature"}


def test_a_backend_that_answers_an_error_is_named() -> None:
    with receiving(status=400) as refusing:
        helicone = HeliconeLog(refusing.url, SecretStr("hk"), timeout_seconds=5)
        otlp = otlp_traces(refusing.url, {}, service="gate", timeout_seconds=5)

        with pytest.raises(SinkUnavailableError, match="Helicone answered 400"):
            helicone.send([CALL])
        with pytest.raises(SinkUnavailableError, match="otlp did not take 1 spans"):
            otlp.send([CALL])
        helicone.close()


def test_metrics_by_otlp_have_tokens_time_and_cost(receiver: Receiver) -> None:
    metrics = OtlpMetrics(
        receiver.url, {}, service="gate", timeout_seconds=5, interval_seconds=3600
    )

    metrics.answered("admitted", 0.001)
    metrics.ended(CALL, 0.001)
    metrics.close(10)

    ((_, body),) = receiver.wait_for("/v1/metrics")
    request = ExportMetricsServiceRequest.FromString(body)
    found = {
        one.name: one
        for each in request.resource_metrics
        for s in each.scope_metrics
        for one in s.metrics
    }
    tokens = {
        attributes(point)["gen_ai.token.type"]: point.sum
        for point in found["gen_ai.client.token.usage"].histogram.data_points
    }
    assert tokens == {"input": 100, "output": 20}
    assert found["gen_ai.client.operation.duration"].histogram.data_points[0].sum == 2
    assert found["spendgate.cost"].sum.data_points[0].as_double == pytest.approx(0.00123)
    assert found["spendgate.requests"].sum.data_points[0].as_int == 1


# MLflow uses what its SQLAlchemy has deprecated, and warns of its own models as it loads.
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_mlflow_gets_a_trace_with_our_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("gate", artifact_location=str(tmp_path / "artifacts"))
    backend = MlflowTraces(experiment)

    backend.send([CALL, FAILED])
    backend.close()

    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    by_hold = {one.info.trace_metadata["spendgate.hold_id"]: one for one in traces}
    trace = by_hold["r-1#1"]
    assert trace.info.trace_metadata["mlflow.trace.user"] == "u-1"
    assert trace.info.trace_metadata["mlflow.trace.session"] == "s-1"
    assert trace.info.tags["spend.agent"] == "triage-bot"
    assert trace.info.token_usage == {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    (span,) = trace.data.spans
    assert span.attributes["mlflow.llm.cost"] == {"total_cost": 0.00123}
    assert (span.end_time_ns or 0) - span.start_time_ns == 2 * 10**9
    assert str(by_hold["r-1#2"].info.state) == "ERROR"
