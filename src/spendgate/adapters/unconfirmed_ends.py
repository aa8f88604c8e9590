"""Ends of holds that a server's crash could still take back, until they are found durable."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from spendgate.adapters.hold_rows import HoldEnd
from spendgate.errors import SpendgateError

_log = logging.getLogger(__name__)
ENDS_MAX = 10_000
"""Ends kept in memory; beyond them each end waits for the disk itself."""
_AT_ONCE = 500
_PAUSE_SECONDS = 0.05
_RETRY_SECONDS = 1.0


class UnconfirmedEnds:
    """A bounded ring of one process and the thread that empties it."""

    def __init__(self, confirm: Callable[[Sequence[HoldEnd]], None]) -> None:
        self._confirm = confirm
        self._ends: deque[HoldEnd] = deque()
        self._lock = threading.Lock()
        self._confirming = threading.Lock()
        self._has_some = threading.Event()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def is_full(self) -> bool:
        """True when no more can be kept."""
        return len(self._ends) >= ENDS_MAX

    def add(self, ends: Sequence[HoldEnd]) -> None:
        """Keep ends that were committed without waiting for the disk."""
        if not ends:
            return
        with self._lock:
            self._ends.extend(ends)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._empty_forever, name="spendgate-confirm", daemon=True
                )
                self._thread.start()
        self._has_some.set()

    def empty(self) -> None:
        """Confirm everything now.

        Raises:
            LedgerUnavailableError: if the server doesn't answer; what is left is kept.
        """
        with self._confirming:
            while some := list(islice(self._ends, _AT_ONCE)):
                self._confirm(some)
                for _ in some:
                    self._ends.popleft()

    def close(self) -> None:
        """Confirm what is left, as far as the server answers, and end the thread."""
        self._is_closing.set()
        self._has_some.set()
        if self._thread is not None:
            self._thread.join()
        self._try_to_empty()

    def _empty_forever(self) -> None:
        while True:
            self._has_some.wait()
            self._has_some.clear()
            while self._ends:
                if self._is_closing.wait(_PAUSE_SECONDS):
                    return
                if not self._try_to_empty() and self._is_closing.wait(_RETRY_SECONDS):
                    return
            if self._is_closing.is_set():
                return

    def _try_to_empty(self) -> bool:
        try:
            self.empty()
        except SpendgateError as error:
            # They are looked at again: until then their holds cover them.
            _log.warning("%d ended holds are not confirmed yet: %s", len(self._ends), error)
            return False
        return True
