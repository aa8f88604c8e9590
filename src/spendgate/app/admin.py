"""The guard of the administration: everything under `/api` that is no model call needs a token.

What a caller may do with its own spend token is another app's, which checks that token itself.
"""

import hmac
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from spendgate.app.model_calls import headers_of, send_reply
from spendgate.gateway.reply import Reply, error_reply

API = "/api"
_JWT = "eyJ"
"""How every signed token begins: the base64 of `{"`."""


class AdminGuard:
    """Lets administration requests through to an app only with the configured token."""

    def __init__(
        self,
        app: ASGIApp,
        token: SecretStr | None,
        *,
        open_paths: AbstractSet[str],
        by_spend_token: Mapping[str, ASGIApp],
    ) -> None:
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()
        self._open_paths = open_paths
        self._by_spend_token = by_spend_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it before anything looks at it."""
        path: str = scope.get("path", "")
        is_administration = path == API or path.startswith(f"{API}/")
        if scope["type"] == "http" and is_administration and path not in self._open_paths:
            headers = headers_of(scope)
            refused = self._refusal(headers.get("authorization", ""))
            if refused is not None:
                own = self._by_spend_token.get(path)
                if own is not None and _has_spend_token(headers):
                    await own(scope, receive, send)
                    return
                await send_reply(send, refused)
                return
        await self._app(scope, receive, send)

    def _refusal(self, authorization: str) -> Reply | None:
        if not self._token:
            message = "administration is switched off; set SPENDGATE_ADMIN_TOKEN to switch it on"
            return error_reply(403, "admin_disabled", message)
        scheme, _, given = authorization.partition(" ")
        # Both sides in full, whatever they are: the time tells nothing of the token.
        is_right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
        if scheme.lower() == "bearer" and is_right:
            return None
        message = "this path needs the header Authorization: Bearer SPENDGATE_ADMIN_TOKEN"
        return error_reply(401, "invalid_admin_token", message, param="authorization")


def _has_spend_token(headers: Mapping[str, str]) -> bool:
    _, _, bearer = headers.get("authorization", "").partition(" ")
    return "x-spend-token" in headers or bearer.strip().startswith(_JWT)
