"""Run the simulator until it is told to stop."""

from collections.abc import Mapping
from pathlib import Path

import uvicorn

from spendgate.simulator.app import create_app
from spendgate.simulator.settings import SimulatorSettings

# Calls that hang would keep a stopping server waiting for ever.
_SHUTDOWN_SECONDS = 3


def run(
    port: int,
    latency_ms: float = 0.0,
    bill_file: Path | None = None,
    host: str = "127.0.0.1",
    *,
    ms_per_token: float = 0.0,
    mean_output_tokens: int = 250,
    bytes_per_token: int = 4,
    fault_rate: float = 0.0,
    simulate: Mapping[str, object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; the bill file is complete when this returns."""
    settings = SimulatorSettings(
        latency_ms=latency_ms,
        ms_per_token=ms_per_token,
        bill_file=bill_file,
        mean_output_tokens=mean_output_tokens,
        bytes_per_token=bytes_per_token,
        fault_rate=fault_rate,
        simulate=simulate or {},
    )
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
