"""Events into the landing table by Databricks' Zerobus, seconds after they happened.

It is a backend of the telemetry: its queue is bounded, a call never waits for it, and what it loses
is counted and logged. What is sent is the ledger's own journal, so that money is never told another
way. A stream repeats rows after a failure; they are merged by `event_id`, and the drain job
delivers what never came.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# The SDK ships no types for its Python half.

import json
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from pydantic import SecretStr

from spendgate.adapters.event_codec import dump, to_micros
from spendgate.adapters.event_rows import event_row
from spendgate.domain.event import SpendEvent
from spendgate.errors import HostError, SinkUnavailableError
from spendgate.gateway.call_report import CallReport

_log = logging.getLogger(__name__)
IN_FLIGHT_MAX = 1000
"""Records that the service may owe an acknowledgement for; a batch waits for its own."""
REOPEN_SECONDS = 30.0
"""How long no stream is opened after one failed, so that a dead service costs nothing."""
COMMIT_SECONDS = 1.0
"""How long an end that isn't in the journal yet is waited for: a shared ledger commits behind."""

Journal = Callable[[Sequence[str]], Sequence[SpendEvent]]
"""Returns the events of some holds."""


class LandingStream(Protocol):
    """What is used of the SDK's stream."""

    def ingest_records_offset(self, payloads: list[str]) -> int | None:
        """Queue records as one batch; returns its offset."""
        ...

    def wait_for_offset(self, offset: int) -> None:
        """Block until all up to an offset is durable."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class ZerobusLanding:
    """Sends the ends of this host's calls; one thread at a time."""

    name = "zerobus"

    def __init__(
        self,
        journal: Journal,
        open_stream: Callable[[], LandingStream],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._journal = journal
        self._open_stream = open_stream
        self._clock = clock
        self._sleep = sleep
        self._stream: LandingStream | None = None
        self._closed_until = clock()
        self.unseen = 0
        """Ends that weren't in the journal in time; the drain job delivers them."""

    def send(self, reports: Sequence[CallReport]) -> None:
        """Stream the events of ended calls, and wait until they are durable.

        Raises:
            SinkUnavailableError: if the service doesn't take them now.
        """
        records = [record_of(event) for event in self._events({one.hold_id for one in reports})]
        if not records:
            return
        if self._clock() < self._closed_until:
            raise SinkUnavailableError("Zerobus failed a moment ago")
        try:
            self._stream = self._stream or self._open_stream()
            offset = self._stream.ingest_records_offset(records)
            if offset is not None:
                self._stream.wait_for_offset(offset)
        except Exception as error:
            # Whatever the SDK raises, also of types that it doesn't name: start anew, later.
            self._closed_until = self._clock() + REOPEN_SECONDS
            self._drop_stream()
            raise SinkUnavailableError(f"Zerobus: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the stream; what was sent is acknowledged already."""
        self._drop_stream()

    def _events(self, hold_ids: set[str]) -> Sequence[SpendEvent]:
        found = self._journal(sorted(hold_ids))
        if missing := hold_ids - {one.hold_id for one in found}:
            self._sleep(COMMIT_SECONDS)
            more = self._journal(sorted(missing))
            found = (*found, *more)
            if unseen := missing - {one.hold_id for one in more}:
                self.unseen += len(unseen)
                _log.warning(
                    "%d ends so far weren't in the journal when they were to be streamed; the "
                    "drain job delivers them",
                    self.unseen,
                )
        return found

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            stream.close()
        except Exception as error:  # noqa: BLE001 - it is given up, and its rows are counted
            _log.info("closing a stream of Zerobus: %s", type(error).__name__)


def record_of(event: SpendEvent) -> str:
    """Return an event as a record of the landing table; times are microseconds there."""
    row = event_row(event)
    row["tags"] = dict(event.facts.tags)
    return dump(
        {
            "event_id": event.event_id,
            "occurred_at": to_micros(event.facts.occurred_at),
            "recorded_at": to_micros(event.recorded_at),
            "body": json.dumps(row, default=_plain, ensure_ascii=False, separators=(",", ":")),
        }
    )


def stream_opener(
    endpoint: str,
    workspace_url: str,
    table: str,
    credentials: tuple[str, SecretStr],
    *,
    timeout_seconds: float,
) -> Callable[[], LandingStream]:
    """Return what opens a stream of JSON records to a table, by the SDK.

    Raises:
        HostError: if the SDK isn't installed.
    """
    try:
        from zerobus.sdk.shared import (  # noqa: PLC0415 - an extra
            RecordType,
            StreamConfigurationOptions,
            TableProperties,
        )
        from zerobus.sdk.sync import ZerobusSdk  # noqa: PLC0415
    except ImportError:
        raise HostError("SPENDGATE_ZEROBUS_ENDPOINT needs spendgate[zerobus]") from None
    millis = round(timeout_seconds * 1000)
    # The SDK's own limits are a minute and five, its queue a million: too long for a dashboard.
    options = StreamConfigurationOptions(
        record_type=RecordType.JSON,
        max_inflight_records=IN_FLIGHT_MAX,
        recovery_retries=1,
        recovery_timeout_ms=millis,
        server_lack_of_ack_timeout_ms=millis,
        flush_timeout_ms=millis,
    )
    client_id, secret = credentials
    workspace_url = workspace_url if "://" in workspace_url else f"https://{workspace_url}"

    def opened() -> LandingStream:
        sdk = ZerobusSdk(endpoint, workspace_url, application_name="spendgate")
        return sdk.create_stream(
            client_id, secret.get_secret_value(), TableProperties(table), options
        )

    return opened


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} is in no row")
