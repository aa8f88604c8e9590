"""What aggregate remembers between runs: its rounds, and the budgets that it summed for.

A round sums some hours again. Its number is written down before it begins, so that a round which
was killed is repeated under its number, which changes nothing twice. The log lives in the folder of
the stream's checkpoint, because one without the other is worth nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

FILE_NAME = "spendgate-rounds.json"

HourRange = tuple[int, int]
"""Whole hours [start, end), in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RoundLog:
    """The state of a checkpoint."""

    round_id: int = 0
    """The last round that was begun."""
    batch_id: int | None = None
    """The batch of the event stream that the round was for; None for one of its own."""
    todo: tuple[HourRange, ...] = ()
    """What a round of its own sums again; empty when it is done."""
    redefined: tuple[str, ...] = ()
    """Budgets whose former sums that round drops first."""
    definitions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Scope, window and zone per budget, as the sums have them."""
    unknown: Mapping[str, int] = field(default_factory=dict[str, int])
    """Budgets that events are charged to but no policy had, with the first hour of such events."""

    bad_round: int | None = None
    """The last round that had events for the quarantine."""
    events: int = 0
    """Rows of `spend_events` at the end of the last run; retention may have removed some since."""
    state_round: int | None = None
    """The last round whose sums are in `budget_state`; None in logs of older versions."""
    state_at: datetime | None = None
    """The time that `budget_state` was last made for."""
    state_basis: str = ""
    """What all its rows were made of beside their sums; empty: all must be made again."""

    def for_batch(self, batch_id: int) -> "RoundLog":
        """Begin the round of a batch, or the same one again if it had begun."""
        if self.batch_id == batch_id:
            return self
        return replace(self, round_id=self.round_id + 1, batch_id=batch_id)

    def of_its_own(self, todo: tuple[HourRange, ...], redefined: tuple[str, ...]) -> "RoundLog":
        """Begin a round that no batch asks for."""
        return replace(self, round_id=self.round_id + 1, todo=todo, redefined=redefined)

    def with_unknown(self, first_hours: Mapping[str, int]) -> "RoundLog":
        """Note budgets that no policy has."""
        merged = dict(self.unknown)
        for budget_id, hour in first_hours.items():
            merged[budget_id] = min(hour, merged.get(budget_id, hour))
        return replace(self, unknown=merged)

    def done(self, definitions: Mapping[str, str]) -> "RoundLog":
        """End the round; the sums are those of these definitions now."""
        unknown = {name: hour for name, hour in self.unknown.items() if name not in definitions}
        summed = {**self.definitions, **definitions}
        return replace(self, todo=(), redefined=(), definitions=summed, unknown=unknown)


_CODEC = TypeAdapter(RoundLog)


def read_log(checkpoint: Path) -> RoundLog | None:
    """Return what a checkpoint remembers; None if there is none."""
    try:
        text = (checkpoint / FILE_NAME).read_text("utf-8")
    except FileNotFoundError:
        return None
    return _CODEC.validate_json(text)


def write_log(checkpoint: Path, log: RoundLog) -> None:
    """Remember; a reader finds the old text or the new one."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    fresh = checkpoint / f"{FILE_NAME}.new"
    fresh.write_bytes(_CODEC.dump_json(log))
    fresh.replace(checkpoint / FILE_NAME)
