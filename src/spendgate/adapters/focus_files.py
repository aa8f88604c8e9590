"""A FOCUS data set as files: CSV for people and other tools, Parquet with its types kept."""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

import csv
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spendgate.errors import HostError

ROWS_AT_ONCE = 10_000


def check_folder(folder: Path) -> None:
    """Make the folder that files are wanted in.

    Raises:
        HostError: if it can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"--out {folder} can't be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HostError(f"--out {folder} can't be written; name another folder")


def write_focus(charges: pa.Table, folder: Path, name: str) -> list[Path]:
    """Write `name.csv` and `name.parquet`, each whole or not at all; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _whole(folder / f"{name}.csv", lambda path: _write_csv(charges, path)),
        _whole(folder / f"{name}.parquet", lambda path: pq.write_table(charges, path)),
    ]


def _whole(path: Path, write) -> Path:
    part = path.with_name(f".{path.name}.part")
    write(part)
    return part.replace(path)


def _write_csv(charges: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(charges.column_names)
        for batch in charges.to_batches(ROWS_AT_ONCE):
            writer.writerows(_rows(batch))


def _rows(batch: pa.RecordBatch) -> Iterable[list[str]]:
    columns = [column.to_pylist() for column in batch.columns]
    return ([_text(value) for value in row] for row in zip(*columns, strict=True))


def _text(value: object) -> str:
    """Write a value as FOCUS wants it: no exponent, times in UTC, nothing for null."""
    match value:
        case None:
            return ""
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            return str(value)
