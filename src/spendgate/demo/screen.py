"""What a run shows while it goes: steps with their times, and a live view of the traffic."""

import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from spendgate.demo.traffic import CallLog, Standing

WIDTH_WITHOUT_TERMINAL = 160
_LINE_SECONDS = 5.0
"""Between two lines where no terminal redraws them, such as in a CI log."""
_BUDGETS_SHOWN = 8
_BAR_CELLS = 20


def open_console(*, to_stderr: bool = False) -> Console:
    """Return where a run is shown; as wide as its tables where no terminal is."""
    console = Console(stderr=to_stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=to_stderr, highlight=False, width=WIDTH_WITHOUT_TERMINAL)
    return console


@contextmanager
def step(console: Console, text: str) -> Generator[None]:
    """Show that something runs, for how long, and that it is done."""
    started = time.monotonic()
    if console.is_terminal:
        with Live(
            get_renderable=lambda: Text(f"… {text}  {time.monotonic() - started:.0f} s"),
            console=console,
            transient=True,
            refresh_per_second=4,
        ):
            yield
    else:
        yield
    say(console, f"✓ {text}  {time.monotonic() - started:.1f} s")


def say(console: Console, text: str) -> None:
    """Print one line as it is; names in it are data and no markup."""
    console.print(Text(text), soft_wrap=True)


@dataclass(slots=True)
class Watch:
    """A view of the traffic so far; `tick` is called often and draws seldom."""

    console: Console
    log: CallLog
    title: str = ""
    calls_expected: int | None = None
    started: float = field(default_factory=time.monotonic)
    _before: Counter[str] = field(default_factory=Counter[str])
    _drawn_at: float = 0.0
    _live: Live | None = None

    @contextmanager
    def running(self) -> Generator["Watch"]:
        """Draw while the traffic runs, and once at its end."""
        self.started = self._drawn_at = time.monotonic()
        self._before = self.log.outcomes.copy()
        if self.console.is_terminal:
            with Live(console=self.console, get_renderable=self._view, transient=True) as live:
                self._live = live
                yield self
            self._live = None
        else:
            yield self
        say(self.console, self._line())

    def tick(self) -> None:
        """Print a line now and then where no terminal redraws itself."""
        now = time.monotonic()
        if self._live is None and now - self._drawn_at >= _LINE_SECONDS:
            self._drawn_at = now
            say(self.console, self._line())

    def _line(self) -> str:
        outcomes = self.log.outcomes.copy() - self._before
        calls = outcomes.total()
        seconds = max(time.monotonic() - self.started, 0.001)
        share = "" if self.calls_expected is None else f" of {self.calls_expected}"
        parts = [f"{name} {count}" for name, count in sorted(outcomes.items())]
        return (
            f"  {self.title}: {seconds:.0f} s, {calls}{share} calls, {calls / seconds:.0f}/s: "
            f"{', '.join(parts)}"
        )

    def _view(self) -> RenderableType:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("budget", "spent", "limit", ""):
            table.add_column(column, justify="right" if column in {"spent", "limit"} else "left")
        for name, standing in _fullest(self.log.standings.copy()):
            spent = f"{standing.spent_usd:.4f}"
            table.add_row(Text(name), spent, f"{standing.limit_usd}", _bar(standing))
        return Group(Text(self._line()), table)


def checks_table(rows: Sequence[tuple[bool, str, str]]) -> Table:
    """Show what holds and what doesn't."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "check", "figures"):
        table.add_column(column, overflow="fold")
    for holds, name, detail in rows:
        mark = Text("✓", "green") if holds else Text("✗ FAILED", "bold red")
        table.add_row(mark, Text(name), Text(detail))
    return table


def figures_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()
) -> Table:
    """Show rows of text; `numbers` are the columns to align right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _fullest(standings: dict[str, Standing]) -> list[tuple[str, Standing]]:
    """Return the fullest value of each budget, fullest first."""
    best: dict[str, tuple[str, Standing]] = {}
    for name, standing in standings.items():
        budget = name.partition(" ")[0]
        known = best.get(budget)
        if known is None or _used(standing) > _used(known[1]):
            best[budget] = (name, standing)
    ordered = sorted(best.values(), key=lambda one: _used(one[1]), reverse=True)
    return ordered[:_BUDGETS_SHOWN]


def _used(standing: Standing) -> float:
    return float(standing.spent_usd / standing.limit_usd)


def _bar(standing: Standing) -> Text:
    used = _used(standing)
    cells = min(_BAR_CELLS, round(used * _BAR_CELLS))
    colour = "red" if used >= 0.95 else "yellow" if used >= 0.8 else "green"
    bar = "━" * cells + "·" * (_BAR_CELLS - cells)
    return Text(f"{bar} {used:4.0%}", colour)
