"""Run all benchmarks: `make bench`, or `python -m bench ledger shared serving app burst forecast`.

`python -m bench scale` takes half an hour and disk, so that it runs only when it is named.
"""

import json
import os
import platform
import sqlite3
import sys
import timeit
from pathlib import Path

from bench import app, burst, forecast, ledger, scale, serving, shared_ledger

_ALL = {
    "ledger": ledger.run,
    "shared": shared_ledger.run,
    "serving": serving.run,
    "app": app.run,
    "burst": burst.run,
    "forecast": forecast.run,
}


def main() -> None:
    """Print the machine, then each benchmark's figures as JSON."""
    names = sys.argv[1:] or list(_ALL)
    print(json.dumps({"machine": _machine()}, indent=1))
    for name in names:
        part, _, sizes = name.partition(":")
        found = scale.run(sizes) if part == "scale" else _ALL[part]()
        print(json.dumps({name: found}, indent=1), flush=True)


def _machine() -> dict[str, object]:
    load = os.getloadavg()[0]
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "python, seconds for a fixed piece of work": _python_seconds(),
        "sqlite": sqlite3.sqlite_version,
        "load before": round(load, 2),
    }


def _python_seconds() -> float:
    """Time a fixed piece of plain Python: interpreters differ by a third in how they were built."""
    setup = "def grown(x): return {'a': x, 'b': str(x)}"
    return round(min(timeit.repeat("grown(1)['b']", setup, number=1_000_000, repeat=5)), 3)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


main()
