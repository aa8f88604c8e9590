"""Periods of chargeback: a month by default, whole hours always, a name per version."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from spendgate.domain.chargeback import (
    Period,
    PeriodError,
    idempotency_key,
    period_of,
    restatement_reason,
)

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("as_of", "name"), [(NOW, "2026-02"), (datetime(2026, 1, 1, tzinfo=UTC), "2025-12")]
)
def test_by_default_it_is_the_month_before(as_of: datetime, name: str) -> None:
    assert period_of(None, None, as_of).name == name


def test_a_start_alone_means_to_the_end_of_its_month() -> None:
    period = period_of(MARCH + timedelta(days=1), None, NOW)

    assert period == Period(MARCH + timedelta(days=1), datetime(2026, 4, 1, tzinfo=UTC))
    assert period.name == "20260302T00_20260401T00"


def test_edges_in_other_zones_are_the_same_instants() -> None:
    berlin = timezone(timedelta(hours=1))

    period = period_of(MARCH.astimezone(berlin), None, NOW)

    assert (period.name, period.start.tzinfo) == ("2026-03", UTC)


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        (None, NOW, "--until needs --since"),
        (NOW, None, "--since 2026-03-10T12:30:00[+]00:00 is no whole hour"),
        (MARCH, NOW, "--until .* is no whole hour"),
        (MARCH, MARCH, "isn't after --since"),
        (datetime(2026, 4, 1, tzinfo=UTC), None, "--since .* is in the future"),
    ],
)
def test_a_period_that_cant_be_billed_is_refused(
    since: datetime | None, until: datetime | None, said: str
) -> None:
    with pytest.raises(PeriodError, match=said):
        period_of(since, until, NOW)


def test_each_version_of_a_period_has_a_name_of_its_own() -> None:
    february = period_of(None, None, NOW)

    assert idempotency_key("l1", february, 2) == "chargeback-l1-2026-02-v2"


@pytest.mark.parametrize(
    ("after", "said"), [("9.5", "changed it by -0.500000000 USD"), ("10", "the same total")]
)
def test_a_restatement_says_by_how_much(after: str, said: str) -> None:
    assert said in restatement_reason(Decimal("10.000000000"), Decimal(after))
