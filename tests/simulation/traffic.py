"""What goes on around the workers: clients, chores of the shared kind, operators, bad luck."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.simulation.plan import NANO_PER_CALL
from tests.simulation.scheduler import Steps
from tests.simulation.worker import WorkerLedger

from spendgate.domain.budget import Raise
from spendgate.domain.event import Charge
from spendgate.domain.reservation import Settlement
from spendgate.domain.scope import Scope
from spendgate.errors import LedgerUnavailableError, SinkUnavailableError
from spendgate.gateway.drain import flush_outbox
from spendgate.gateway.reply import Reply

if TYPE_CHECKING:
    from tests.simulation.world import World

TRIES_MAX = 3
_RETRYABLE = {409, 429, 500, 502, 503, 504}


@dataclass
class Ticket:
    """Where a reply arrives, if it does."""

    reply: Reply | None = None


def client(world: "World", number: int) -> Steps:
    """Make calls one after the other, and repeat what failed or was never answered."""
    random, weather = world.scheduler.random, world.plan.weather
    key = None
    for call in range(world.plan.calls_per_client):
        yield random.expovariate(1 / 20)
        is_reused = key is not None and random.random() < 0.05
        if not is_reused:
            key = f"k{number}-{call}" if random.random() < 0.6 else None
        body = _body(world, number, key)
        for _ in range(TRIES_MAX):
            ticket = Ticket()
            world.send(body, ticket)
            if world.scheduler.chance(weather.request_twice):
                world.send(body, ticket if key else Ticket())
            for patience in (3.0, 10.0, 40.0):
                yield patience
                if ticket.reply is not None:
                    break
            status = ticket.reply.status if ticket.reply else 0
            if status and status not in _RETRYABLE:
                break
            yield random.uniform(1.0, 30.0)


def flusher(world: "World") -> Steps:
    """Deliver the outbox every now and then; who dies is replaced."""
    ledger: Any = WorkerLedger(world, "flusher")
    while True:
        yield world.scheduler.random.uniform(10.0, 60.0)
        try:
            flush_outbox(ledger, ledger, ledger.ledger_id, world.plan.flush_limit)
        except (LedgerUnavailableError, SinkUnavailableError) as error:
            world.scheduler.note(f"flusher: {error}")


def reconciler(world: "World") -> Steps:
    """Correct what expired by the provider's own records, which come late."""
    ledger: Any = WorkerLedger(world, "reconciler")
    while True:
        yield world.scheduler.random.uniform(60.0, 200.0)
        expired = {one.hold_id for one in world.sink.events if one.kind.value == "expired"}
        for row in list(world.provider.invoice):
            if row.hold_id in expired and row.at < world.scheduler.now - 60.0:
                try:
                    ledger.settle([evidence(world, row.hold_id, row.nano)])
                except LedgerUnavailableError as error:
                    world.scheduler.note(f"reconciler: {error}")
                yield 0.1


def evidence(world: "World", hold_id: str, nano: int) -> Settlement:
    """Say what the provider's records say."""
    return Settlement(hold_id, Charge(cost_nano=nano, usage_source="external"), world.wall())


def operator(world: "World") -> Steps:
    """Change limits, pause and resume scopes, grant temporary raises."""
    random, weather = world.scheduler.random, world.plan.weather
    policies, auditor = world.ledger.policies, world.auditor
    while True:
        yield random.uniform(20.0, 80.0)
        if random.random() < weather.limit_change:
            plan = random.choice(world.plan.budgets)
            limit = random.randint(1, plan.limit_nano * 2)
            policies.put_budgets([plan.as_budget(limit)])
            auditor.limits[plan.budget_id] = limit
            world.scheduler.note(f"operator sets {plan.budget_id} to {limit}")
        if random.random() < weather.temporary_raise:
            plan = random.choice(world.plan.budgets)
            until = world.wall() + timedelta(seconds=random.choice([30, 300, 4000]))
            name, nano = world.new_id(), random.randint(1, NANO_PER_CALL)
            policies.put_raise(Raise(name, plan.budget_id, nano, "simulated", until))
            auditor.raises.append((plan.budget_id, nano, until))
        if random.random() < weather.pause_scope:
            scope = random.choice([("user", "ann"), ("user", "bob"), ("agent", "triage")])
            policies.pause(Scope.parse(":".join(scope)), "simulated", world.wall())
            auditor.paused.add(scope)
            yield random.uniform(5.0, 40.0)
            policies.resume(Scope.parse(":".join(scope)))
            auditor.paused.discard(scope)


def bad_luck(world: "World") -> Steps:
    """Jump clocks, cut off the store and the sink, kill workers."""
    random, weather = world.scheduler.random, world.plan.weather
    while True:
        yield random.uniform(10.0, 60.0)
        if random.random() < weather.clock_jump:
            world.jump_seconds += random.choice([-3600, -300, 300, 1500, 3600, 86_400])
            world.scheduler.note(f"the clock says {world.wall():%m-%d %H:%M}")
        if random.random() < weather.kill:
            world.die(random.choice(world.workers).name)
        if random.random() < weather.store_outage:
            world.is_store_out = True
            yield random.uniform(5.0, 60.0)
            world.is_store_out = False
        if random.random() < weather.sink_outage:
            world.is_sink_out = True
            yield random.uniform(30.0, 200.0)
            world.is_sink_out = False


def _body(world: "World", number: int, key: str | None) -> dict[str, Any]:
    random = world.scheduler.random
    own = {"org": "acme", "agent": "triage", "user": random.choice(["ann", "bob", "cy"])}
    if random.random() < 0.6:
        own["session"] = f"s{number}"
    if key is not None:
        own["idempotency_key"] = key
    return {
        "model": random.choice(["big", "big", "small"]),
        "messages": [{"role": "user", "content": "x" * random.randint(1, 60)}],
        "max_tokens": random.choice([16, 50, 200, 300]),
        "custom_inputs": own,
    }
