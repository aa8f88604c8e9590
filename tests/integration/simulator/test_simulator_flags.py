"""What the simulator's command line takes, and how it refuses the rest."""

import sys

import pytest

from spendgate.simulator.__main__ import main


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--port", "99999", "'99999' must be a whole number from 0 to 65535"),
        ("--port", "http", "'http' must be a whole number from 0 to 65535"),
        ("--fault-rate", "5", "'5' must be a number from 0 to 1"),
        ("--fault-rate", "nan", "'nan' must be a number from 0 to 1"),
        ("--fault-rate", "often", "'often' must be a number from 0 to 1"),
        ("--bytes-per-token", "0", "'0' must be a whole number from 1 to 1000000"),
        ("--mean-output-tokens", "-5", "'-5' must be a whole number from 1 to 1000000"),
        ("--latency-ms", "-1", "'-1' must be a number from 0 to 3600000"),
        ("--ms-per-token", "inf", "'inf' must be a number from 0 to 3600000"),
    ],
)
def test_a_flag_out_of_its_range_is_one_clear_line(
    flag: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [flag, value] if flag == "--port" else ["--port", "0", flag, value]
    monkeypatch.setattr(sys, "argv", ["simulator", *given])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"python -m spendgate.simulator: error: argument {flag}: {message}"
