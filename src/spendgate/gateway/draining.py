"""Streams whose clients have left: how many are read on to their end, and how many at most."""

import threading


class Draining:
    """Counts; safe for many threads."""

    def __init__(self, streams_max: int) -> None:
        self._streams_max = streams_max
        self._lock = threading.Condition()
        self.now = 0
        """Streams being read on for nobody."""

        self.drained = 0
        """Streams that were read on to their end."""

        self.closed = 0
        """Streams that were closed when their client left, and charged in full."""

    def enter(self) -> bool:
        """Take a place; False if all are taken, and the stream is closed instead."""
        with self._lock:
            if self.now >= self._streams_max:
                return False
            self.now += 1
            return True

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self.now -= 1
            self.drained += 1
            self._lock.notify_all()

    def close(self) -> None:
        """Count a stream that wasn't read on."""
        with self._lock:
            self.closed += 1

    def wait(self, seconds: float) -> bool:
        """Wait until no stream is read on any more, but not longer; say whether that is so."""
        with self._lock:
            return self._lock.wait_for(lambda: self.now == 0, timeout=seconds)
