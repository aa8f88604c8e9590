"""Run the simulator: `python -m spendgate.simulator --port PORT`."""

import argparse
from pathlib import Path

from spendgate.simulator.directive import read_directives
from spendgate.simulator.server import run
from spendgate.simulator.wire import BadCallError, JsonObject, decode_object


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m spendgate.simulator",
        description="An OpenAI-compatible model server that bills independently.",
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before the first byte")
    parser.add_argument("--ms-per-token", type=float, default=0.0, help="per completion token")
    parser.add_argument("--bill", type=Path, help="keep GET /bill in this file, its calls beside")
    parser.add_argument("--mean-output-tokens", type=int, default=250)
    parser.add_argument(
        "--bytes-per-token", type=int, default=4, help="of the prompt; 1 is the worst case"
    )
    parser.add_argument(
        "--fault-rate", type=float, default=0.0, help="share of calls answered 429, 500 or 503"
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


def _directives(text: str) -> JsonObject:
    try:
        directives = decode_object(text, "--simulate")
        read_directives([directives])
    except BadCallError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return directives


if __name__ == "__main__":
    main()
