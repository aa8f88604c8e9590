"""Settings of one simulator process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Say how fast, how long-winded and how faulty the simulated provider is."""

    latency_ms: float = 0.0
    """Time before the first byte of every answer."""

    ms_per_token: float = 0.0
    """Further time per completion token; in a stream, between its tokens."""

    bill_file: Path | None = None
    """Where the bill is kept up to date, if anywhere."""

    mean_output_tokens: int = 250
    """Mean of the (exponential) length of an answer nobody caps."""

    bytes_per_token: int = 4
    """Prompt bytes per token, rounded up; 1 is the worst case a real tokenizer can reach."""

    fault_rate: float = 0.0
    """Share of calls answered by 429, 500 and 503 in turn, unbilled."""

    simulate: Mapping[str, object] = field(default_factory=dict[str, object])
    """Directives for every call (see `directive.py`), under those a call brings."""

    def __post_init__(self) -> None:
        if self.latency_ms < 0 or self.ms_per_token < 0:
            raise ValueError("latency_ms and ms_per_token must be at least 0")
        if self.mean_output_tokens < 1 or self.bytes_per_token < 1:
            raise ValueError("mean_output_tokens and bytes_per_token must be at least 1")
        if not 0 <= self.fault_rate <= 1:
            raise ValueError(f"fault_rate must be between 0 and 1, not {self.fault_rate}")
