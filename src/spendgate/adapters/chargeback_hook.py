"""Tell an internal billing system what a period came to, signed, with a key that makes it once."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from spendgate.adapters.cloud_event import CONTENT_TYPE
from spendgate.adapters.secret_reference import read_secret
from spendgate.adapters.signed_webhook import key_bytes, new_client, post_signed
from spendgate.domain.chargeback import Period
from spendgate.domain.notifier import NotifierSpec
from spendgate.errors import CredentialsError

WAITS_SECONDS = (0.5, 2.0)
"""Before the second and the third try of one run; the next run tries again."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """What one organisation and team pay; None where calls named none."""

    org_id: str | None
    team_id: str | None
    cost_usd: Decimal
    dbu: Decimal | None


@dataclass(frozen=True, slots=True)
class Statement:
    """One version of a billed period."""

    idempotency_key: str
    period: Period
    version: int
    total_usd: Decimal
    tenants: Sequence[Tenant]
    made_at: datetime
    reason: str | None = None


def statement_event(statement: Statement, source: str) -> bytes:
    """Write a statement as a CloudEvent; the same statement is the same text."""
    is_first = statement.version == 1
    event = {
        "specversion": "1.0",
        "id": statement.idempotency_key,
        "source": source,
        "type": "chargeback.period_closed" if is_first else "chargeback.period_restated",
        "subject": f"period/{statement.period.name}",
        "time": _time(statement.made_at),
        "datacontenttype": "application/json",
        "data": {
            "idempotency_key": statement.idempotency_key,
            "period_start": _time(statement.period.start),
            "period_end": _time(statement.period.end),
            "version": statement.version,
            "reason": statement.reason,
            "currency": "USD",
            "total_usd": _number(statement.total_usd),
            "tenants": [
                {
                    "org_id": one.org_id,
                    "team_id": one.team_id,
                    "cost_usd": _number(one.cost_usd),
                    "dbu": None if one.dbu is None else _number(one.dbu),
                }
                for one in statement.tenants
            ],
        },
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def send_statement(
    notifier: NotifierSpec,
    statement: Statement,
    source: str,
    clock: Callable[[], datetime],
    rest: Callable[[float], None] = time.sleep,
) -> str | None:
    """Send a statement, trying a few times; return None, or why it didn't arrive."""
    try:
        place = read_secret(notifier.to, "its address")
        key = key_bytes(read_secret(notifier.key or "env:", "its key"))
    except CredentialsError as error:
        return str(error)
    except ValueError as error:
        return f"its key: {error}"
    body = statement_event(statement, source)
    name = statement.idempotency_key
    headers = {"content-type": CONTENT_TYPE, "idempotency-key": name}
    with new_client() as client:
        for wait_seconds in (*WAITS_SECONDS, None):
            failure = post_signed(client, place, key, name, body, clock(), headers)
            if failure is None:
                return None
            if wait_seconds is None or not failure.is_down:
                return failure.said
            rest(wait_seconds)
    raise AssertionError("the last try has returned")


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _number(amount: Decimal) -> str:
    return format(amount, "f")
