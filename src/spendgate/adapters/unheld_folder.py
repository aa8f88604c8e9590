"""Calls that went out while the ledger was away, a small file each, until they are booked.

A file is replaced as a whole and synced, so that a process or a machine that dies leaves what was
known of each call. Every process of a home books what it finds due there.
"""

import json
import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from spendgate.adapters.event_codec import (
    decode_charge,
    decode_facts,
    dump,
    encode_charge,
    encode_facts,
    from_micros,
    to_micros,
)
from spendgate.domain.adjustment import Booking
from spendgate.domain.budget import BalanceKey
from spendgate.domain.hold import EventKind, HoldState
from spendgate.domain.outage import UnheldCall

_log = logging.getLogger(__name__)
_SUFFIX = ".json"


class UnheldFolder:
    """The folder `unheld` of a home; made when the first call needs it."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "unheld"

    def put(self, call: UnheldCall) -> None:
        """Write a call's file anew."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(call.hold_id)
        draft = path.with_suffix(f".{os.getpid()}")
        with draft.open("w", encoding="utf-8") as file:
            file.write(_encoded(call))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def remove(self, hold_id: str) -> None:
        """Delete a call's file; another process may have done it."""
        self._path(hold_id).unlink(missing_ok=True)

    def due(self, at: datetime) -> Sequence[UnheldCall]:
        """Read what is due; a file that can't be read is told and left for a person."""
        return [call for call in self._calls() if call.due_at <= at]

    def count(self) -> int:
        """Count the calls that wait."""
        return len(list(self._folder.glob(f"*{_SUFFIX}")))

    def _calls(self) -> list[UnheldCall]:
        found: list[UnheldCall] = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                found.append(_decoded(path.read_text(encoding="utf-8")))
            except FileNotFoundError:
                continue  # another process has booked it
            except (OSError, ValueError, KeyError, TypeError):
                _log.exception("%s can't be read; its call isn't booked", path.name)
        return found

    def _path(self, hold_id: str) -> Path:
        return self._folder / f"{quote(hold_id, safe='')}{_SUFFIX}"


def _encoded(call: UnheldCall) -> str:
    booking = call.booking
    return dump(
        {
            "hold_id": call.hold_id,
            "end": call.end.value,
            "at": to_micros(call.at),
            "due_at": to_micros(call.due_at),
            "amount_nano": booking.amount_nano,
            "keys": [list(key) for key in booking.keys],
            "facts": encode_facts(booking.facts),
            "charge": encode_charge(booking.charge),
            "kind": booking.kind.value,
        }
    )


def _decoded(text: str) -> UnheldCall:
    raw = json.loads(text)
    booking = Booking(
        amount_nano=raw["amount_nano"],
        keys=tuple(BalanceKey(*key) for key in raw["keys"]),
        facts=decode_facts(raw["facts"]),
        charge=decode_charge(raw["charge"]),
        kind=EventKind(raw["kind"]),
    )
    end, at, due_at = HoldState(raw["end"]), from_micros(raw["at"]), from_micros(raw["due_at"])
    return UnheldCall(raw["hold_id"], end, booking, at, due_at)
