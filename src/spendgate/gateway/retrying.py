"""Another attempt after a failure: planned, waited for, and paid by a hold of its own.

The first attempt's hold has ended before. Where no further attempt is planned or affordable, the
last failure is the answer: a caller that asked for nothing but an answer isn't refused for a retry.
"""

import logging
import random
import time

from spendgate.gateway.admission import Admission
from spendgate.gateway.attempts import Failure, next_attempt
from spendgate.gateway.lanes import Lanes
from spendgate.gateway.outcome import Ending
from spendgate.gateway.reply import FailedAttempt, SpendNote
from spendgate.gateway.reserving import Reserving

_log = logging.getLogger(__name__)


class Retrying:
    """The further attempts of one request; `elapsed` counts from its making."""

    def __init__(self, reserving: Reserving, lanes: Lanes) -> None:
        self._reserving = reserving
        self._lanes = lanes
        self._started_at = time.monotonic()

    async def after(
        self, admission: Admission, ending: Ending, note: SpendNote
    ) -> Admission | None:
        """Return the next attempt with its money held, or None if this ending is the answer."""
        if ending.cause is None and not ending.is_key_renewed:
            return None  # an answer, or a fault of the request that every server would find
        granted, prepared = admission.granted, admission.prepared
        failure = Failure(
            asked=prepared.request.model,
            served=granted.candidate.model,
            upstream=admission.server.name,
            cause=ending.cause,
            elapsed_seconds=time.monotonic() - self._started_at,
            retry_after_seconds=ending.retry_after_seconds,
            may_repeat=ending.is_key_renewed,
        )
        # Only spreads waits, so it need not be unguessable.
        attempt = next_attempt(prepared.plan, failure, spread=random.random())  # noqa: S311
        if attempt is None:
            return None
        _log.info("%s failed: %s; trying again", admission.hold_id, ending.problem)
        await self._lanes.rest(attempt.wait_seconds)
        failed = FailedAttempt(
            admission.hold_id, granted.candidate.model, ending.status, note.cost_nano
        )
        return await self._reserving.again(admission, attempt, failed)
