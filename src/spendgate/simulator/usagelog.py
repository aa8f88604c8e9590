"""The provider's own record of each call, as a platform keeps it in its usage tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spendgate.simulator.usage import Usage
from spendgate.simulator.wire import encode

SUFFIX = ".calls.jsonl"
"""What stands behind the bill's name: `bill.json` has its calls in `bill.calls.jsonl`."""
SOMEBODY = "somebody"
"""Who made a call whose body names no `user`."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call as the platform lists it; `usage` is None where nothing was generated."""

    request_id: str
    at_micros: int
    endpoint: str
    requester: str
    client_request_id: str
    usage_context: Mapping[str, str]
    is_streaming: bool
    status: int
    usage: Usage | None
    billed_nano_usd: int

    def line(self) -> bytes:
        """Write it as one line of JSON."""
        usage = self.usage
        return encode(
            {
                "request_id": self.request_id,
                "at_micros": self.at_micros,
                "endpoint": self.endpoint,
                "requester": self.requester,
                "client_request_id": self.client_request_id,
                "usage_context": self.usage_context,
                "is_streaming": self.is_streaming,
                "status": self.status,
                "input_tokens": None if usage is None else usage.prompt_tokens,
                "output_tokens": None if usage is None else usage.output_tokens,
                "billed_nano_usd": self.billed_nano_usd,
            }
        )


def append_calls(records: Iterable[CallRecord], bill_file: Path) -> None:
    """Write records behind those of earlier runs: a platform forgets no call at a restart."""
    text = b"".join(record.line() + b"\n" for record in records)
    with bill_file.with_suffix(SUFFIX).open("ab") as log:
        log.write(text)
