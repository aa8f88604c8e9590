"""The metrics page: what an attempt's labels say."""

from dataclasses import replace

import pytest
from tests.integration.telemetry.test_backends import CALL

from spendgate.adapters.gate_metrics import GateMetrics, LedgerFigures
from spendgate.errors import LedgerUnavailableError


def away() -> LedgerFigures:
    raise LedgerUnavailableError("no ledger here")


@pytest.mark.parametrize(
    ("source", "label"), [("reported", "reported"), ("reserved", "reserved"), (None, "none")]
)
def test_an_attempt_that_cost_nothing_is_told_from_one_charged_in_full(
    source: str | None, label: str
) -> None:
    metrics = GateMetrics(away, dict)

    metrics.ended(replace(CALL, usage_source=source), 0.0)

    (line,) = [
        line
        for line in metrics.text().decode().splitlines()
        if line.startswith("spendgate_attempts_total{")
    ]
    assert f'usage="{label}"' in line
    assert line.endswith(" 1.0")
