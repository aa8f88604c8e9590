"""Idempotency keys: one request id per caller and key, and the first answers kept for a while.

The ledger makes sure that a key pays once, on whichever host; the answers themselves are in this
process's memory alone, because no completion is ever stored. So a repeated call gets the first
answer where its process still has it, and else a 409 that says what was paid.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from spendgate.domain.scope import PRINCIPAL
from spendgate.gateway.reply import Reply


def keyed_request_id(key: str, scopes: Mapping[str, str]) -> str:
    """Return the request id of an idempotency key, which belongs to the caller that sent it."""
    principal = [scopes.get(name, "") for name in PRINCIPAL]
    digest = hashlib.sha256("\x1f".join([*principal, key]).encode()).hexdigest()
    return f"key-{digest[:32]}"


class _Kept(NamedTuple):
    fingerprint: str
    reply: Reply
    size_bytes: int


class KeptAnswers:
    """The last answers to calls with a key, in this process's memory, oldest dropped first."""

    def __init__(self, kept_max: int, bytes_max: int) -> None:
        self._kept_max = kept_max
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0

    def put(self, request_id: str, fingerprint: str, reply: Reply) -> None:
        """Keep an answer; one that is larger than all the room there is isn't kept."""
        if self._kept_max == 0:
            return
        size_bytes = len(json.dumps(reply.body))
        size_bytes += sum(len(chunk.data) for chunk in reply.chunks or ())
        if size_bytes > self._bytes_max:
            return
        with self._lock:
            self._drop(request_id)
            self._answers[request_id] = _Kept(fingerprint, reply, size_bytes)
            self._bytes += size_bytes
            while len(self._answers) > self._kept_max or self._bytes > self._bytes_max:
                self._drop(next(iter(self._answers)))

    def get(self, request_id: str, fingerprint: str) -> Reply | None:
        """Return the answer to the same request, marked as a replay, or None."""
        with self._lock:
            kept = self._answers.get(request_id)
        if kept is None or kept.fingerprint != fingerprint:
            return None
        return replace(kept.reply, is_replay=True)

    def _drop(self, request_id: str) -> None:
        dropped = self._answers.pop(request_id, None)
        if dropped is not None:
            self._bytes -= dropped.size_bytes
