"""A trace is read exactly, or refused with the line that is wrong."""

from pathlib import Path

import pytest

from spendgate.demo.trace_file import Arrival, read_trace
from spendgate.errors import InvalidRequestError

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = "2023-11-16 18:15:46.6805900,374,44\n"


def trace(folder: Path, text: str | bytes) -> Path:
    file = folder / "trace.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_calls_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    file = trace(tmp_path, f"{HEADER}2023-11-16 18:15:48.1805900,1,0\n{GOOD}")

    assert read_trace(file) == [Arrival(0.0, 374, 44), Arrival(1.5, 1, 0)]


def test_a_limit_reads_the_first_calls_alone(tmp_path: Path) -> None:
    file = trace(tmp_path, f"{HEADER}{GOOD}{GOOD}this line is never read")

    assert len(read_trace(file, limit=2)) == 2


def test_a_file_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    file = trace(tmp_path, f"\ufeff{HEADER}{GOOD}".replace("\n", "\r\n").encode())

    assert read_trace(file) == [Arrival(0.0, 374, 44)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: no column TIMESTAMP"),
        ("TIMESTAMP,ContextTokens\n", "line 1: no column GeneratedTokens"),
        (HEADER, "holds no calls"),
        (f"{HEADER}{GOOD}yesterday,1,1\n", "line 3: TIMESTAMP 'yesterday' is no time"),
        (f"{HEADER}2023-11-16 18:15:46,0,1\n", "line 2: ContextTokens '0' is no whole number"),
        (f"{HEADER}2023-11-16 18:15:46,1.5,1\n", "line 2: ContextTokens '1.5' is no whole number"),
        (f"{HEADER}2023-11-16 18:15:46,1,-1\n", "line 2: GeneratedTokens '-1' is no whole number"),
        (f"{HEADER}2023-11-16 18:15:46,1,1000001\n", "from 0 to 1000000"),
        (f"{HEADER}2023-11-16 18:15:46,1\n", "line 2: GeneratedTokens is missing"),
        (f"{HEADER}2023-11-16 18:15:46,1,²\n", "line 2: GeneratedTokens '²' is no whole number"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_trace(trace(tmp_path, text))

    assert problem in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"none\.csv can't be read"):
        read_trace(tmp_path / "none.csv")
