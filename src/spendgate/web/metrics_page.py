"""`GET /metrics` of both hosts, before everything else that looks at a request."""

import asyncio
import hmac
from collections.abc import Callable

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from spendgate.adapters.json_bytes import json_bytes
from spendgate.web.answer import failure, send_answer

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsPage:
    """Answers the page, and passes everything else on."""

    def __init__(self, app: ASGIApp, text: Callable[[], bytes], token: SecretStr | None) -> None:
        self._app = app
        self._text = text
        self._token = None if token is None else token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        if not self._is_allowed(scope):
            message = "this page needs the header Authorization: Bearer SPENDGATE_METRICS_TOKEN"
            reply = failure(401, message, "authorization")
            await send_answer(send, reply.status, json_bytes(reply.body))
            return
        # The ledger is asked, and its host's loop has other things to do meanwhile.
        body = await asyncio.to_thread(self._text)
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _is_allowed(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        sent = [value for name, value in headers if name.lower() == b"authorization"]
        scheme, _, given = (sent[0] if len(sent) == 1 else b"").partition(b" ")
        is_right = hmac.compare_digest(given.strip(), self._token)
        return scheme.lower() == b"bearer" and is_right
