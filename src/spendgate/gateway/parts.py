"""What all ways through one gate share."""

from collections.abc import Callable
from dataclasses import dataclass

from spendgate.domain.upstream import UpstreamSpec
from spendgate.gateway.current_rules import CurrentRules
from spendgate.gateway.draining import Draining
from spendgate.gateway.hard_stops import HardStops
from spendgate.gateway.idempotency import KeptAnswers
from spendgate.gateway.outage import Outage
from spendgate.gateway.ports import Clock, Ledger, Telemetry, TokenVerifier
from spendgate.gateway.repetition import Repetitions
from spendgate.gateway.terms import Terms


@dataclass(frozen=True, slots=True)
class GateParts:
    """The ledger, the rules, and what else is one per process."""

    ledger: Ledger
    rules: CurrentRules
    clock: Clock
    new_id: Callable[[], str]
    default_server: UpstreamSpec | None
    """Serves the models that the policy names no server for."""

    verifier: TokenVerifier | None
    terms: Terms
    kept: KeptAnswers
    repetitions: Repetitions
    draining: Draining
    outage: Outage
    stops: HardStops
    telemetry: Telemetry
