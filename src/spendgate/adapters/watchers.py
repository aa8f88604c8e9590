"""Who watches this process's gate, as the settings say: the metrics page and other backends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pydantic import SecretStr

from spendgate.adapters.gate_metrics import GateMetrics, LedgerFigures
from spendgate.adapters.telemetry import Backend, Recorder, TelemetryFanOut
from spendgate.config import Settings
from spendgate.errors import HostError

if TYPE_CHECKING:
    from spendgate.adapters.otlp_metrics import OtlpMetrics
    from spendgate.adapters.zerobus_landing import Journal


@dataclass(frozen=True, slots=True)
class Watchers:
    """What hears of every call, and the page that shows the counts."""

    telemetry: TelemetryFanOut
    metrics: GateMetrics
    otlp_metrics: "OtlpMetrics | None" = None

    def close(self, seconds: float) -> None:
        """Deliver what waits, for at most about so long."""
        self.telemetry.close(seconds)
        if self.otlp_metrics is not None:
            self.otlp_metrics.close(seconds)


def open_watchers(
    settings: Settings, figures: Callable[[], LedgerFigures], journal: "Journal"
) -> Watchers:
    """Open what the settings name; `journal` has the events of ended holds.

    Raises:
        HostError: if a backend lacks its other half, or its package isn't installed.
    """
    backends: list[Backend] = []
    otlp_metrics: OtlpMetrics | None = None
    seconds = settings.telemetry_timeout_seconds
    if settings.otlp_endpoint is not None:
        headers = parse_headers(settings.otlp_headers)
        backends.append(_otlp(settings, settings.otlp_endpoint, headers))
        otlp_metrics = _otlp_metrics(settings, settings.otlp_endpoint, headers)
    if settings.langfuse_public_key is not None or settings.langfuse_secret_key is not None:
        backends.append(_langfuse(settings))
    if settings.helicone_api_key is not None:
        from spendgate.adapters.helicone_log import HeliconeLog  # noqa: PLC0415

        backends.append(
            HeliconeLog(settings.helicone_url, settings.helicone_api_key, timeout_seconds=seconds)
        )
    if settings.mlflow_experiment is not None:
        from spendgate.adapters.mlflow_traces import MlflowTraces  # noqa: PLC0415

        backends.append(MlflowTraces(settings.mlflow_experiment))
    if settings.zerobus_endpoint is not None:
        backends.append(_zerobus(settings, settings.zerobus_endpoint, journal))
    return _watchers(settings, figures, backends, otlp_metrics)


def parse_headers(text: SecretStr | None) -> Mapping[str, str]:
    """Read `name=value,name=value`, the form of OTEL_EXPORTER_OTLP_HEADERS.

    Raises:
        HostError: if a part has no name; the value isn't repeated.
    """
    headers: dict[str, str] = {}
    for part in (text.get_secret_value() if text else "").split(","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise HostError("SPENDGATE_OTLP_HEADERS: write it like name=value,name=value")
        headers[name.strip()] = value.strip()
    return headers


def _otlp(settings: Settings, endpoint: str, headers: Mapping[str, str]) -> Backend:
    _need_otlp()
    from spendgate.adapters.otlp_traces import otlp_traces  # noqa: PLC0415

    return otlp_traces(
        endpoint,
        headers,
        service=settings.telemetry_service,
        timeout_seconds=settings.telemetry_timeout_seconds,
    )


def _otlp_metrics(settings: Settings, endpoint: str, headers: Mapping[str, str]) -> "OtlpMetrics":
    from spendgate.adapters.otlp_metrics import OtlpMetrics  # noqa: PLC0415

    return OtlpMetrics(
        endpoint,
        headers,
        service=settings.telemetry_service,
        timeout_seconds=settings.telemetry_timeout_seconds,
        interval_seconds=settings.telemetry_metrics_seconds,
    )


def _langfuse(settings: Settings) -> Backend:
    if settings.langfuse_public_key is None or settings.langfuse_secret_key is None:
        raise HostError("Langfuse needs both LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
    _need_otlp()
    from spendgate.adapters.otlp_traces import langfuse_traces  # noqa: PLC0415

    return langfuse_traces(
        settings.langfuse_host,
        settings.langfuse_public_key,
        settings.langfuse_secret_key.get_secret_value(),
        service=settings.telemetry_service,
        timeout_seconds=settings.telemetry_timeout_seconds,
    )


def _zerobus(settings: Settings, endpoint: str, journal: "Journal") -> Backend:
    from spendgate.adapters.zerobus_landing import ZerobusLanding, stream_opener  # noqa: PLC0415

    workspace, table = settings.zerobus_workspace_url, settings.zerobus_table
    client, secret = settings.zerobus_client_id, settings.zerobus_client_secret
    if workspace is None or table is None or client is None or secret is None:
        raise HostError(
            "SPENDGATE_ZEROBUS_ENDPOINT needs SPENDGATE_ZEROBUS_TABLE, _WORKSPACE_URL, _CLIENT_ID "
            "and _CLIENT_SECRET too"
        )
    seconds = settings.telemetry_timeout_seconds
    opener = stream_opener(endpoint, workspace, table, (client, secret), timeout_seconds=seconds)
    return ZerobusLanding(journal, opener)


def _need_otlp() -> None:
    if find_spec("opentelemetry.exporter") is None:
        raise HostError("traces by OTLP need an extra: install spendgate[telemetry]")


def _watchers(
    settings: Settings,
    figures: Callable[[], LedgerFigures],
    backends: list[Backend],
    otlp_metrics: "OtlpMetrics | None",
) -> Watchers:
    fan_out: list[TelemetryFanOut] = []
    metrics = GateMetrics(
        figures,
        lambda: fan_out[0].lost if fan_out else {},
        shared_folder=settings.metrics_folder,
    )
    recorders: list[Recorder] = [metrics]
    if otlp_metrics is not None:
        recorders.append(otlp_metrics)
    made = TelemetryFanOut(recorders, backends, queue_max=settings.telemetry_queue_max)
    fan_out.append(made)
    return Watchers(made, metrics, otlp_metrics)
