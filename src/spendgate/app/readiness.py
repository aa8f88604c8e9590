"""`GET /ready`: whether this process may be sent calls, which needs its ledger."""

import asyncio
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spendgate.adapters.json_bytes import json_bytes
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError

PATH = "/ready"
REMEMBERED_SECONDS = 1.0
"""How long an answer is given again: many probes don't make the ledger busier."""


class Readiness:
    """Asks the ledger one cheap question, whose store bounds how long an answer may take."""

    def __init__(
        self, look: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._lock = asyncio.Lock()
        self._is_ready = False
        self._asked_at: float | None = None

    def routes(self) -> list[Route]:
        """Return the one route."""
        return [Route(PATH, self._tell, methods=["GET"])]

    async def _tell(self, _request: Request) -> Response:
        async with self._lock:  # probes that come together share one look
            if self._asked_at is None or self._clock() - self._asked_at >= REMEMBERED_SECONDS:
                self._is_ready = await asyncio.to_thread(self._answers)
                self._asked_at = self._clock()
            is_ready = self._is_ready
        status = 200 if is_ready else 503
        told = (
            {"status": "ready"}
            if is_ready
            else {"status": "unavailable", "error": "ledger_unavailable"}
        )
        headers = {"Cache-Control": "no-store"}
        return Response(json_bytes(told), status, headers, media_type="application/json")

    def _answers(self) -> bool:
        try:
            self._look()
        except (LedgerUnavailableError, LedgerBrokenError):
            return False
        return True
