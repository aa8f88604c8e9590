"""A small stage for one fault: a store that can die, a clock in the hand, a provider that bills."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from tests.ledgers.crashing import ProcessDied, Trap
from tests.simulation.provider import USD_PER_MILLION, price_book

from spendgate.domain.budget import Budget, parse_window
from spendgate.domain.event import Charge
from spendgate.domain.reservation import Settlement
from spendgate.domain.scope import Scope
from spendgate.gateway.admission import Admission
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.outcome import judge
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamOutcome
from spendgate.gateway.reply import Reply
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, Host

HOLD_SECONDS = 60.0
_BOOK = price_book()


class HonestProvider:
    """Bills ten tokens in and five out for every request that reaches it."""

    name = "provider"

    def __init__(self) -> None:
        self.invoice: dict[str, int] = {}
        self.is_mute = False

    def stream(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        usd_in, _, usd_out = USD_PER_MILLION[body["model"]]
        nano = int((10 * usd_in + 5 * usd_out) * 1000)
        assert body["client_request_id"] not in self.invoice
        self.invoice[body["client_request_id"]] = nano
        if self.is_mute:
            return UpstreamLost("time-out")
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return UpstreamAnswer(200, {"id": "x", "choices": [], "usage": usage})


@dataclass
class Stage:
    """One ledger, as many processes over it as a scenario needs, and the time of day."""

    ledger: Any
    trap: Trap
    at: datetime
    provider: HonestProvider = field(default_factory=HonestProvider)
    _ids: Any = field(default_factory=count)

    def budget(self, limit_nano: int, window: str = "lifetime", tz: str = "UTC") -> None:
        """Give every user so much; a call is taken whole or not at all."""
        scope, spec = Scope.parse("user:*"), parse_window(window)
        self.ledger.policies.put_budgets(
            [Budget("users", scope, limit_nano, spec, tz=tz, fit=False)]
        )

    def process(self, ledger: Any = None, skew_seconds: float = 0.0) -> Gateway:
        """Start another process with an empty memory and a clock of its own."""
        return Gateway(
            ledger or self.ledger,
            self.provider,
            lambda: _BOOK,
            clock=lambda: self.at + timedelta(seconds=skew_seconds),
            new_id=lambda: f"id{next(self._ids)}",
            terms=Terms(held_wait_seconds=0.0, hold_seconds=HOLD_SECONDS),
        )

    def admit(self, gateway: Gateway, key: str | None = None) -> Admission | Reply:
        """Ask for one call of ann's."""
        return gateway.admit(CHAT, self.body(key), host=Host.ASGI)

    def body(self, key: str | None = None) -> dict[str, Any]:
        """Write one call of ann's."""
        own = {"user": "ann"} | ({} if key is None else {"idempotency_key": key})
        return {
            "model": "big",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 100,
            "custom_inputs": own,
        }

    def admitted(self, gateway: Gateway, key: str | None = None) -> Admission:
        """Ask for one call and get it."""
        admission = self.admit(gateway, key)
        assert isinstance(admission, Admission), admission.body
        return admission

    def finish(self, gateway: Gateway, admission: Admission) -> Reply:
        """Make the call and finish it."""
        outcome = self.provider.call(CHAT, admission.body)
        return gateway.finish(admission, judge(outcome, bills_5xx=True))

    def die(self, point: str, gateway: Gateway, key: str | None = None) -> None:
        """Ask for a call in a process that dies at a point of the commit."""
        self.trap.set(point)
        try:
            self.admit(gateway, key)
        except ProcessDied:
            return
        finally:
            self.trap.set(None)
        raise AssertionError(f"nobody came by {point!r}")

    def wait(self, **parts: float) -> None:
        self.at += timedelta(**parts)

    def sweep(self) -> int:
        return self.ledger.sweep(self.at)

    def correct(self, hold_id: str) -> None:
        """Settle a hold by the provider's own records; what isn't there was never billed."""
        nano = self.provider.invoice.get(hold_id, 0)
        charge = Charge(cost_nano=nano, usage_source="external")
        self.ledger.settle([Settlement(hold_id, charge, self.at)])

    @property
    def billed(self) -> int:
        return sum(self.provider.invoice.values())

    @property
    def spent(self) -> int:
        return sum(row.spent_nano for row in self.ledger.balances())

    @property
    def held(self) -> int:
        return sum(row.held_nano for row in self.ledger.balances())

    @property
    def by_period(self) -> dict[str, tuple[int, int]]:
        """Return spent and held per window."""
        return {row.period: (row.spent_nano, row.held_nano) for row in self.ledger.balances()}

    def assert_sound(self) -> None:
        assert self.ledger.audit().problems == ()
