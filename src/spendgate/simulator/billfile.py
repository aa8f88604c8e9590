"""Keep a copy of the bill in a file, and its calls beside it, so that both outlive the process."""

import asyncio
import os
import time
from pathlib import Path

from spendgate.simulator.bill import Bill
from spendgate.simulator.usagelog import append_calls
from spendgate.simulator.wire import encode

INTERVAL_SECONDS = 0.2
# A long bill takes long to write: at most a twentieth of the time goes into it.
_REST_FACTOR = 19


async def keep_bill(bill: Bill, path: Path) -> None:
    """Write the bill whenever it changed, until cancelled; then write it once more."""
    written = bill.revision
    rest = INTERVAL_SECONDS
    try:
        while True:
            await asyncio.sleep(rest)
            started = time.monotonic()
            if bill.revision != written:
                written = write_bill(bill, path)
            rest = max(INTERVAL_SECONDS, _REST_FACTOR * (time.monotonic() - started))
    finally:
        write_bill(bill, path)


def write_bill(bill: Bill, path: Path) -> int:
    """Replace the file at once, so that a reader never sees half a bill; tell its revision.

    Calls go first: what is billed is listed.
    """
    append_calls(bill.take_records(), path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(encode(bill.statement()))
    part.replace(path)
    return bill.revision
