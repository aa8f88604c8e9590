"""The knobs of the gate, taken from the settings at the edge."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """How calls are priced, held and ended; units as the names say."""

    geo: str = "global"
    default_max_tokens: int = 4096
    expected_output_tokens: int = 256
    held_wait_seconds: float = 2.0
    hold_seconds: float = 320.0
    bills_5xx: bool = True
    answers_kept_max: int = 1000
    draining_max: int = 256
    answers_bytes_max: int = 64 * 1024 * 1024
