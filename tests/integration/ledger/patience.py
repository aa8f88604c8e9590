"""How long a test waits for what other threads and processes do."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 60


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; it fails after a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)
