"""Idempotency keys: one request id per caller and key, and the first answers kept for a while."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping

from spendgate.domain.scope import Dimension
from spendgate.gateway.reply import Reply

_PRINCIPAL = (Dimension.ORG, Dimension.TEAM, Dimension.AGENT, Dimension.USER)


def keyed_request_id(key: str, scopes: Mapping[str, str]) -> str:
    """Return the request id of an idempotency key, which belongs to the caller that sent it."""
    principal = [scopes.get(name, "") for name in _PRINCIPAL]
    digest = hashlib.sha256("\x1f".join([*principal, key]).encode()).hexdigest()
    return f"key-{digest[:32]}"


class KeptAnswers:
    """The last answers to calls with a key, in this process's memory, oldest dropped first."""

    def __init__(self, kept_max: int) -> None:
        self._kept_max = kept_max
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[str, Reply]] = OrderedDict()

    def put(self, request_id: str, fingerprint: str, reply: Reply) -> None:
        """Keep an answer."""
        with self._lock:
            self._answers[request_id] = (fingerprint, reply)
            while len(self._answers) > self._kept_max:
                self._answers.popitem(last=False)

    def get(self, request_id: str, fingerprint: str) -> Reply | None:
        """Return the answer to the same request, or None."""
        with self._lock:
            kept = self._answers.get(request_id)
        return kept[1] if kept is not None and kept[0] == fingerprint else None
