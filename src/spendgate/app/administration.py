"""What the administration's routes ask for: budgets, spend, explanations and models."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from spendgate.adapters.budget_admin import VALUES_MAX, BudgetAdmin
from spendgate.adapters.price_book import price_row_json
from spendgate.adapters.spend_sums import spend_sums
from spendgate.adapters.standing import standing
from spendgate.bootstrap import (
    build_admin,
    build_minter,
    open_price_book,
    utc_now,
)
from spendgate.config import Settings
from spendgate.domain.decision import Status
from spendgate.domain.money import format_usd
from spendgate.domain.scope import Identity, Scope
from spendgate.errors import HostError, InvalidRequestError, NotThereError, SpendgateError
from spendgate.gateway.explanation import vouched
from spendgate.gateway.json_object import is_object, json_object
from spendgate.gateway.reply import budget_object
from spendgate.gateway.wire import CHAT
from spendgate.running_host import RunningHost

Json = Mapping[str, object]


class Explainer(Protocol):
    """The part of a gate that explains."""

    def explain(self, route: str, body: Mapping[str, object]) -> dict[str, object]:
        """Say what would happen to a request."""
        ...


@dataclass(frozen=True, slots=True)
class Administration:
    """Everything that the routes need, over one ledger."""

    settings: Settings
    budgets: BudgetAdmin
    gate: Explainer

    @classmethod
    def of(cls, settings: Settings, host: RunningHost) -> "Administration":
        """Return the administration of a running host."""
        return cls(settings, build_admin(settings, host.ledger), host.gateway)

    def now(self) -> datetime:
        """Return the time."""
        return utc_now()

    def explain(self, route: str, body: Json) -> dict[str, object]:
        """Say what would happen to a request and why; nothing is held or sent.

        Raises:
            SpendgateError: what the call would have been refused with.
        """
        own = body.get("custom_inputs", {})
        if not is_object(own):
            raise InvalidRequestError("custom_inputs must be an object", "custom_inputs")
        asked = vouched(json_object(own), build_minter(self.settings), utc_now())
        return self.gate.explain(route, {**body, "custom_inputs": asked})

    def standing(self) -> list[dict[str, object]]:
        """Return where every budget stands, of a wildcard the dearest values."""
        return standing(self.budgets.ledger, utc_now(), values_max=VALUES_MAX)

    def sums(self, names: list[str], since: datetime | None) -> list[dict[str, object]]:
        """Return sums of the home's events.

        Raises:
            NotThereError: if this host has no tables.
        """
        try:
            return spend_sums(self.settings.delta_folder, names, since)
        except HostError:
            message = "this host keeps no tables; ask spend_events in SQL where the job drains to"
            raise NotThereError(message) from None

    def models(self, who: Mapping[str, str], max_tokens: int) -> list[dict[str, object]]:
        """Return every priced model, and where somebody is named whether a short call fits."""
        ledger = self.budgets.ledger
        book, now = open_price_book(self.settings, ledger), utc_now()
        found: list[dict[str, object]] = []
        for name in book.models():
            price = book.price_for(name, geo=self.settings.geo, at=now)
            if price is not None:
                shown = price_row_json(price) | {"price_version": price.version}
                found.append(shown | self._fit(name, str(price.kind), who, max_tokens))
        return found

    def usage(self, scope: Scope) -> dict[str, object]:
        """Return the budgets of somebody, the tightest first, in the recipes' words.

        Raises:
            NotThereError: if no budget covers it.
        """
        ledger = self.budgets.ledger
        claims = ledger.policies.policy().claims(Identity(scope.identity.values), utc_now())
        if not claims:
            raise NotThereError(f"no budget covers {scope.text}")
        positions = sorted(ledger.positions(claims), key=lambda one: one.available_nano)
        first = positions[0]
        (kind, key), *_ = scope.parts
        return {
            "scopeType": kind,
            "scopeKey": key,
            "limit": format_usd(first.limit_nano),
            "spent": format_usd(first.spent_nano),
            "remaining": format_usd(first.available_nano),
            "exceeded": first.status is Status.HARD,
            "budgets": [budget_object(one) for one in positions],
        }

    def _fit(
        self, model: str, kind: str, who: Mapping[str, str], max_tokens: int
    ) -> dict[str, object]:
        if not who or kind != "chat":
            return {"fits": None}
        body = {
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": max_tokens,
            "custom_inputs": {**who, "model": model},
        }
        try:
            told = self.explain(CHAT, body)
        except SpendgateError:
            return {"fits": False}
        fits = told["decision"] != "refuse" and told.get("model_served") == model
        return {"fits": fits, "decision": told["decision"]}
