"""Helicone's asynchronous log: one request per call, without prompt and answer."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import httpx
from pydantic import SecretStr

from spendgate.adapters.semantic_names import PROMPT_NAME, PROMPT_VERSION, exact_usd
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.call_report import CallReport

_PATH = "/custom/v1/log"


class HeliconeLog:
    """Helicone as a backend."""

    name = "helicone"

    def __init__(self, url: str, key: SecretStr, *, timeout_seconds: float) -> None:
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            headers={"authorization": f"Bearer {key.get_secret_value()}"},
            timeout=timeout_seconds,
            trust_env=False,
        )

    def send(self, reports: Sequence[CallReport]) -> None:
        """Log calls one by one, as Helicone wants them.

        Raises:
            SinkUnavailableError: at the first that isn't taken; those after it aren't tried.
        """
        for report in reports:
            answer = self._client.post(_PATH, json=_entry(report))
            if not answer.is_success:
                raise SinkUnavailableError(f"Helicone answered {answer.status_code}")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _entry(report: CallReport) -> Mapping[str, object]:
    request = {
        "model": report.model,
        "max_tokens": report.max_tokens_granted,
        "stream": report.is_stream,
        **report.parameters,
    }
    return {
        "providerRequest": {
            "url": "custom-model-nopath",
            "json": request,
            "meta": {name: value for name, value in _meta(report).items() if value is not None},
        },
        "providerResponse": {
            "json": {"id": report.response_id, "model": report.model, "usage": _usage(report)},
            "status": report.status,
            "headers": {},
        },
        "timing": {"startTime": _time(report.started_at), "endTime": _time(report.ended_at)},
    }


def _meta(report: CallReport) -> Mapping[str, str | None]:
    scopes = {
        f"Helicone-Property-{name.capitalize()}": value for name, value in report.scopes.items()
    }
    return {
        "Helicone-Request-Id": report.request_id if report.attempt == 1 else None,
        "Helicone-User-Id": report.scopes.get("user"),
        "Helicone-Session-Id": report.scopes.get("session"),
        "Helicone-Prompt-Id": report.tags.get(PROMPT_NAME),
        "Helicone-Property-PromptVersion": report.tags.get(PROMPT_VERSION),
        **scopes,
        "Helicone-Property-HoldId": report.hold_id,
        "Helicone-Property-Decision": report.decision,
        "Helicone-Property-CostUsd": exact_usd(report.cost_nano),
        "Helicone-Property-ModelRequested": report.model_requested,
    }


def _usage(report: CallReport) -> Mapping[str, object] | None:
    usage = report.usage
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _time(at: datetime) -> Mapping[str, int]:
    whole = int(at.timestamp())
    return {"seconds": whole, "milliseconds": at.microsecond // 1000}
