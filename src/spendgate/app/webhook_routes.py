"""Webhooks in: what other meters tell of becomes a charge on the same budgets.

Each request proves that its sender has the secret, over the bytes as they came and before anything
parses them. Without a secret a route is off.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from starlette.routing import Route

from spendgate.adapters.signed_webhook import ID, key_bytes, signature_fault
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.app.admin_endpoint import Asked, Endpoint, Told
from spendgate.app.webhook_body import helicone_spend, usage_spend
from spendgate.config import Settings
from spendgate.domain.money import format_usd
from spendgate.errors import HostError, InvalidRequestError
from spendgate.gateway.elsewhere import SpendElsewhere, book_elsewhere
from spendgate.gateway.reply import Reply, error_reply

HELICONE = "/webhook/helicone"
USAGE = "/webhooks/usage"
SIGNATURE = "helicone-signature"
BODY_BYTES_MAX = 65_536
OWN_CALL = "this call went through the gate and is charged already"


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """The secrets of the senders; None switches a route off."""

    helicone: bytes | None = field(default=None, repr=False)
    usage: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "WebhookKeys":
        """Read the secrets of the settings; an empty one is none.

        Raises:
            HostError: if a secret can't be used.
        """
        helicone, usage = settings.helicone_webhook_secret, settings.webhook_secret
        try:
            return cls(
                helicone.get_secret_value().encode() or None if helicone else None,
                key_bytes(usage) if usage and usage.get_secret_value() else None,
            )
        except ValueError as error:
            raise HostError(f"SPENDGATE_WEBHOOK_SECRET: {error}") from None


class WebhookRoutes:
    """The routes over one ledger."""

    def __init__(
        self, keys: WebhookKeys, ledger: Callable[[], StoredLedger], clock: Callable[[], datetime]
    ) -> None:
        self._keys, self._ledger, self._clock = keys, ledger, clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        helicone, usage = (
            # What a sender adds to its URL is its own.
            Endpoint(handler, bytes_max=BODY_BYTES_MAX, guard=guard, parameters=None)
            for handler, guard in (
                (self._helicone, self._helicone_refusal),
                (self._usage, self._usage_refusal),
            )
        )
        return [
            Route(HELICONE, helicone.__call__, methods=["POST"]),
            Route(USAGE, usage.__call__, methods=["POST"]),
        ]

    def _helicone_refusal(self, headers: Mapping[str, str], body: bytes) -> Reply | None:
        key = self._keys.helicone
        if key is None:
            return _off("SPENDGATE_HELICONE_WEBHOOK_SECRET")
        expected = hmac.new(key, body, hashlib.sha256).hexdigest().encode()
        given = headers.get(SIGNATURE, "").strip().lower().encode("utf-8", "replace")
        if hmac.compare_digest(given, expected):
            return None
        message = f"{SIGNATURE} must be the body's HMAC-SHA256 with our secret, in hex"
        return error_reply(401, "invalid_signature", message, param=SIGNATURE)

    def _usage_refusal(self, headers: Mapping[str, str], body: bytes) -> Reply | None:
        key = self._keys.usage
        if key is None:
            return _off("SPENDGATE_WEBHOOK_SECRET")
        fault = signature_fault(key, headers, body, self._clock())
        if fault is None:
            return None
        name, message = fault
        return error_reply(401, "invalid_signature", message, param=name)

    def _helicone(self, asked: Asked) -> Told:
        spend = helicone_spend(asked.raw, self._clock())
        # The gate logs its own calls to Helicone under their request ids: those come back here.
        hold_id = f"{asked.body['requestId']}#1"
        if self._ledger().hold_record(hold_id) is not None:
            return Told({"hold_id": hold_id, "changed": False, "message": OWN_CALL})
        return self._booked(spend, "scopeKey")

    def _usage(self, asked: Asked) -> Told:
        spend = usage_spend(asked.raw, asked.headers[ID], self._clock())
        return self._booked(spend, "scope")

    def _booked(self, spend: SpendElsewhere, payer_field: str) -> Told:
        ledger = self._ledger()
        try:
            booked = book_elsewhere(ledger, ledger.policies.policy(), spend, self._clock())
        except InvalidRequestError as error:
            raise InvalidRequestError(str(error), payer_field) from None
        return Told(
            {
                "adjustment_id": booked.adjustment_id,
                "changed": booked.is_new,
                "amount_usd": format_usd(booked.amount_nano),
                "budgets": list(booked.budget_ids),
            }
        )


def _off(setting: str) -> Reply:
    return error_reply(
        403, "webhook_disabled", f"this webhook is off; set {setting} to switch it on"
    )
