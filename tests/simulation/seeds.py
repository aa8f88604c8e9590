"""Run seeds on all cores: `make seeds SEEDS=100000`, or one again: `make seeds SEED=42`."""

import argparse
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from tests.ledgers.broken import BROKEN
from tests.simulation.world import Run, SeedFailedError, simulate

from spendgate.prove.postgres_server import PostgresServer

_CHUNK = 50
_STORES = ("memory", "sqlite", "postgres")


def main() -> int:
    """Answer 0 if every seed's money was right, 1 at the first that was wrong, 2 if misasked."""
    asked = _asked()
    logging.disable(logging.CRITICAL)  # what the gate warns of is what is being simulated
    console = Console()
    seeds = range(asked.start, asked.start + asked.seeds)
    if asked.seed is not None:
        seeds = range(asked.seed, asked.seed + 1)
    if asked.broken:
        _show_the_broken(console, seeds, asked.jobs)
        return 0
    total: Counter[str] = Counter()
    steps = 0
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=len(seeds) == 1) as progress:
        task = progress.add_task("seeds", total=len(seeds))
        with PostgresServer(fsync=False) if asked.store == "postgres" else nullcontext() as server:
            for run in _runs(seeds, asked.store, asked.jobs, server):
                if isinstance(run, str):
                    console.print(run, markup=False, highlight=False, soft_wrap=True)
                    return 1
                total.update(run.counts)
                steps += run.steps
                if asked.seed is not None:
                    console.print(f"seed {run.seed}: {run.steps} steps, fingerprint {run.digest}")
                progress.advance(task)
    console.print(f"{len(seeds)} seeds, {steps} steps, no wrong money", highlight=False)
    for name, count in sorted(total.items()):
        console.print(f"  {name:<20} {count:>12,}", highlight=False)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")  # without the usage: one line, for `make`


def _asked() -> argparse.Namespace:
    parser = _Parser(prog="seeds", description=__doc__)
    parser.add_argument("--seed", type=_number, help="replay this one and print its fingerprint")
    parser.add_argument("--seeds", type=_count, default=10_000, help="how many to run")
    parser.add_argument("--start", type=_number, default=0, help="the first one")
    parser.add_argument("--store", choices=_STORES, default="memory")
    parser.add_argument("--broken", action="store_true", help="count what broken ledgers cost")
    parser.add_argument("--jobs", type=_count, default=os.cpu_count() or 1)
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return int(text)


def _runs(
    seeds: range, store: str, jobs: int, server: PostgresServer | None
) -> Iterator[Run | str]:
    jobs = min(jobs, len(seeds))
    places = [store if server is None else server.new_database() for _ in range(jobs)]
    if jobs == 1:
        yield from (_run((seed, places[0])) for seed in seeds)
        return
    free: multiprocessing.Queue[str] = multiprocessing.Queue()
    for place in places:
        free.put(place)
    with multiprocessing.Pool(jobs, initializer=_take_place, initargs=(free,)) as pool:
        yield from pool.imap_unordered(_run, ((seed, None) for seed in seeds), chunksize=_CHUNK)


def _show_the_broken(console: Console, seeds: range, jobs: int) -> None:
    """Print, per broken ledger, how many seeds catch it and which first."""
    with multiprocessing.Pool(jobs, initializer=_quiet) as pool:
        for name in BROKEN:
            work = ((name, seed) for seed in seeds)
            caught = [
                seed
                for seed, is_caught in zip(
                    seeds, pool.imap(_catches, work, chunksize=_CHUNK), strict=True
                )
                if is_caught
            ]
            first = caught[0] if caught else "none"
            console.print(
                f"{name:<36} caught by {len(caught):>5} of {len(seeds)} seeds, first {first}",
                highlight=False,
            )


def _catches(work: tuple[str, int]) -> bool:
    name, seed = work
    try:
        simulate(seed, BROKEN[name])
    except SeedFailedError:
        return True
    return False


def _quiet() -> None:
    logging.disable(logging.CRITICAL)


_place: list[str] = []
"""Where this process of the pool keeps its ledgers."""


def _take_place(free: "multiprocessing.Queue[str]") -> None:
    _quiet()
    _place.append(free.get())


def _run(work: tuple[int, str | None]) -> Run | str:
    seed, place = work
    try:
        return simulate(seed, store=place or _place[0])
    except SeedFailedError as error:
        return str(error)


if __name__ == "__main__":
    raise SystemExit(main())
