"""A trace of a model service: when calls came, and how many tokens each took and gave."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from spendgate.errors import InvalidRequestError

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
TOKENS_MAX = 1_000_000
"""Of one call; beyond any model's context, so that more is a slip of the file."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call of a trace."""

    offset_seconds: float
    """After the first call of the trace."""

    context_tokens: int
    generated_tokens: int


def read_trace(file: Path, limit: int | None = None) -> list[Arrival]:
    """Read the first calls of a trace, all by default, in the order of their times.

    Raises:
        InvalidRequestError: naming file, line and column, if it is no such trace.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(islice(_rows(file, lines), limit))
    except OSError as error:
        raise InvalidRequestError(f"{file} can't be read: {error.strerror}", "file") from None
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{file} is not UTF-8 text", "file") from None
    except csv.Error as error:
        raise InvalidRequestError(f"{file} is no CSV: {error}", "file") from None
    if not rows:
        raise InvalidRequestError(f"{file} holds no calls", "file")
    start = min(at for at, _, _ in rows)
    arrivals = [Arrival((at - start).total_seconds(), given, made) for at, given, made in rows]
    return sorted(arrivals, key=lambda one: one.offset_seconds)


def _rows(file: Path, lines: Iterator[str]) -> Iterator[tuple[datetime, int, int]]:
    reader = csv.DictReader(lines)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InvalidRequestError(
            f"{file}, line 1: no column {missing[0]}; a trace has {', '.join(COLUMNS)}", "file"
        )
    for row in reader:
        place = f"{file}, line {reader.line_num}"
        yield (
            _instant(place, row["TIMESTAMP"]),
            _tokens(place, row, "ContextTokens", 1),
            _tokens(place, row, "GeneratedTokens", 0),
        )


def _instant(place: str, text: str | None) -> datetime:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        message = f"{place}: TIMESTAMP {_short(text)} is no time like 2023-11-16 18:15:46.68"
        raise InvalidRequestError(message, "TIMESTAMP") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _tokens(place: str, row: dict[str, str], column: str, least: int) -> int:
    text = row[column]
    number = int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else -1
    if not least <= number <= TOKENS_MAX:
        message = (
            f"{place}: {column} {_short(text)} is no whole number from {least} to {TOKENS_MAX}"
        )
        raise InvalidRequestError(message, column)
    return number


def _short(text: str | None) -> str:
    return "is missing; it" if text is None else repr(text[:30])
