"""What Spark says when something is missing, and what we make of it."""

import pytest

from spendgate.jobs.platform_errors import explained


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        (
            "[INSUFFICIENT_PERMISSIONS] User does not have SELECT on Table 'c.s.spend_events'.",
            "User does not have SELECT on Table 'c.s.spend_events'.; grant",
        ),
        ("[SCHEMA_NOT_FOUND] The schema `c`.`s` cannot be found.\nplan", "cannot be found.; run"),
        (
            "[STREAM_FAILED] Query terminated: [TABLE_OR_VIEW_NOT_FOUND] The table or view t",
            "The table or view t; run the job setup",
        ),
        ("[DELTA_VERSION_NOT_FOUND] Cannot time travel", "aggregate with --rebuild"),
    ],
)
def test_what_is_missing_is_named_with_the_way_out(text: str, way_out: str) -> None:
    assert way_out in str(explained(RuntimeError(text)))


def test_other_failures_stay_what_they_are() -> None:
    assert explained(RuntimeError("[DIVIDE_BY_ZERO] no")) is None
