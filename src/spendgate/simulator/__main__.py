"""Run the simulator: `python -m spendgate.simulator --port PORT`."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from spendgate.simulator.directive import read_directives
from spendgate.simulator.server import run
from spendgate.simulator.wire import BadCallError, JsonObject, decode_object

PORT_MAX = 65_535
MS_MAX = 3_600_000
TOKENS_MAX = 1_000_000


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m spendgate.simulator",
        description="An OpenAI-compatible model server that bills independently.",
    )
    parser.add_argument("--port", type=_whole(0, PORT_MAX), required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--latency-ms", type=_number(0, MS_MAX), default=0.0, help="before the first byte"
    )
    parser.add_argument(
        "--ms-per-token", type=_number(0, MS_MAX), default=0.0, help="per completion token"
    )
    parser.add_argument("--bill", type=Path, help="keep GET /bill in this file, its calls beside")
    parser.add_argument("--mean-output-tokens", type=_whole(1, TOKENS_MAX), default=250)
    parser.add_argument(
        "--bytes-per-token",
        type=_whole(1, TOKENS_MAX),
        default=4,
        help="of the prompt; 1 is the worst case",
    )
    parser.add_argument(
        "--fault-rate",
        type=_number(0, 1),
        default=0.0,
        help="share of calls answered 429, 500 or 503",
    )
    parser.add_argument(
        "--simulate",
        type=_directives,
        help='JSON directives for every call, such as {"no_usage": true}',
    )
    flags = parser.parse_args()
    run(
        flags.port,
        flags.latency_ms,
        flags.bill,
        flags.host,
        ms_per_token=flags.ms_per_token,
        mean_output_tokens=flags.mean_output_tokens,
        bytes_per_token=flags.bytes_per_token,
        fault_rate=flags.fault_rate,
        simulate=flags.simulate,
    )


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} must be a number from {least} to {most}")
        return number

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} must be a whole number from {least} to {most}"
            )
        return number

    return read


def _directives(text: str) -> JsonObject:
    try:
        directives = decode_object(text, "--simulate")
        read_directives([directives])
    except BadCallError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return directives


if __name__ == "__main__":
    main()
