"""A process: its own way to the ledger, which can break at every commit, and its own gateway."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.ledgers.crashing import BEFORE_COMMIT, ProcessDied
from tests.simulation.scheduler import Steps

from spendgate.domain.reservation import ReserveRequest, Settlement
from spendgate.errors import LedgerUnavailableError, SinkUnavailableError
from spendgate.gateway.admission import Admission
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.outcome import Ending, Verb, judge
from spendgate.gateway.ports import EventBatch
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, Host

if TYPE_CHECKING:
    from tests.simulation.traffic import Ticket
    from tests.simulation.world import World

_PAUSE_SECONDS = 400.0


class WorkerLedger:
    """The ledger as one process sees it; the auditor hears of what was committed."""

    def __init__(self, world: "World", owner: str) -> None:
        self._world = world
        self._owner = owner
        self.is_dead = False

    @property
    def ledger_id(self) -> str:
        return self._world.ledger.ledger_id

    @property
    def policies(self) -> Any:
        self._reach()
        return self._world.ledger.policies

    def reserve(self, requests: Sequence[ReserveRequest]) -> Any:
        def heard(verdicts: Any) -> None:
            for request, verdict in zip(requests, verdicts, strict=True):
                self._world.auditor.reserved(request, verdict)

        return self._commit(lambda: self._world.ledger.reserve(requests), heard, "reserve")

    def settle(self, settlements: Sequence[Settlement]) -> Any:
        def heard(settled: Any) -> None:
            for one, said in zip(settlements, settled, strict=True):
                self._world.auditor.ended("settle", one.hold_id, one.charge.cost_nano, said)

        return self._commit(lambda: self._world.ledger.settle(settlements), heard, "settle")

    def void(self, hold_ids: Sequence[str], at: datetime) -> Any:
        return self._end("void", lambda: self._world.ledger.void(hold_ids, at), hold_ids)

    def expire(self, hold_ids: Sequence[str], at: datetime) -> Any:
        return self._end("expire", lambda: self._world.ledger.expire(hold_ids, at), hold_ids)

    def sweep(self, at: datetime, limit: int = 500) -> int:
        return self._commit(
            lambda: self._world.ledger.sweep(at, limit),
            lambda swept: self._world.auditor.swept(at, swept),
            "sweep",
        )

    def record(self, decisions: Any) -> None:
        self._commit(lambda: self._world.ledger.record(decisions), lambda _: None, "record")

    def positions(self, claims: Any) -> Any:
        self._reach()
        return self._world.ledger.positions(claims)

    def policy_version(self) -> int:
        self._reach()
        return self._world.ledger.policy_version()

    def claim_batch(self, limit: int) -> EventBatch | None:
        outbox = self._world.ledger.outbox
        return self._commit(lambda: outbox.claim_batch(limit), lambda _: None, "claim")

    def confirm_batch(self, number: int) -> None:
        outbox = self._world.ledger.outbox
        self._commit(lambda: outbox.confirm_batch(number), lambda _: None, "confirm")

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        """Append to the sink, which can be away, or its writer die on either side."""
        world, weather = self._world, self._world.plan.weather
        self._live()
        if world.is_sink_out or world.scheduler.chance(weather.sink_unavailable):
            raise SinkUnavailableError("simulated")
        self._maybe_die(weather.death_before_append, "before an append")
        world.sink.append(ledger_id, batch)
        world.scheduler.note(f"{self._owner} appended {world.batch(batch.number)}")
        self._maybe_die(weather.death_after_append, "after an append")

    def _end(self, verb: str, act: Callable[[], Any], hold_ids: Sequence[str]) -> Any:
        def heard(settled: Any) -> None:
            for hold_id, said in zip(hold_ids, settled, strict=True):
                self._world.auditor.ended(verb, hold_id, None, said)

        return self._commit(act, heard, verb)

    def _commit(self, act: Callable[[], Any], heard: Callable[[Any], None], what: str) -> Any:
        world, weather = self._world, self._world.plan.weather
        self._reach()
        dies = world.scheduler.chance(weather.death_before_commit)
        world.trap.set(BEFORE_COMMIT if dies else None)
        try:
            done = act()
            if dies and world.trap.sprung is None:
                raise ProcessDied(BEFORE_COMMIT)  # it had nothing to commit, and no other trace
        except ProcessDied:
            self.is_dead = True
            world.scheduler.note(f"{self._owner} rolls back {what}")
            raise
        finally:
            world.trap.set(None)
        told = world.batch(done.number) if isinstance(done, EventBatch) else _brief(done)
        world.scheduler.note(f"{self._owner} {what}: {told}")
        heard(done)
        self._maybe_die(weather.death_after_commit, f"after {what}")
        if world.scheduler.chance(weather.lost_commit_answer):
            raise LedgerUnavailableError("simulated: the answer to a commit was lost")
        return done

    def _reach(self) -> None:
        self._live()
        world = self._world
        if world.is_store_out or world.scheduler.chance(world.plan.weather.ledger_unavailable):
            raise LedgerUnavailableError("simulated: unreachable")

    def _live(self) -> None:
        if self.is_dead:
            raise ProcessDied(f"{self._owner} is dead already")

    def _maybe_die(self, probability: float, where: str) -> None:
        if self._world.scheduler.chance(probability):
            self.is_dead = True
            raise ProcessDied(where)


class Worker:
    """One process of the host, alive or being restarted."""

    def __init__(self, world: "World", number: int, skew_seconds: float) -> None:
        self._world = world
        self.name = f"worker-{number}"
        self.skew_seconds = skew_seconds
        self.is_up = False

    def start(self) -> None:
        """Start with an empty memory."""
        world = self._world
        self.is_up = True
        self.ledger: Any = WorkerLedger(world, self.name)
        self.gateway = Gateway(
            self.ledger,
            world.provider,
            lambda: world.book,
            clock=lambda: world.wall(self.skew_seconds),
            new_id=world.new_id,
            terms=Terms(held_wait_seconds=0.0, hold_seconds=world.plan.hold_seconds),
        )
        world.scheduler.spawn(self.name, self._chores())

    def serve(self, body: dict[str, Any], ticket: "Ticket") -> Steps:
        """Answer one request as `Gateway.handle` does, with time and trouble between its steps."""
        world, weather = self._world, self._world.plan.weather
        random, chance = world.scheduler.random, world.scheduler.chance
        admitted = self.gateway.admit(CHAT, body, host=Host.ASGI)
        if not isinstance(admitted, Admission):
            ticket.reply = admitted
            return
        yield from self._between()
        ending = Ending(Verb.EXPIRE, 500, problem="the call was cut off inside the gate")
        if not chance(weather.cut_inside_the_gate):
            outcome = world.provider.call(CHAT, admitted.body)
            yield random.choice([0.2, 2.0, 2.0, 10.0, 45.0])
            ending = judge(outcome, bills_5xx=True)
        if chance(weather.pause_past_ttl):
            yield _PAUSE_SECONDS
        yield from self._between()
        reply = self.gateway.finish(admitted, ending)
        if chance(weather.finish_twice):
            yield from self._between()
            reply = self.gateway.finish(admitted, ending)
        if reply.status == 200:
            world.auditor.replied(admitted.hold_id, reply.body, world.provider.invoice)
        yield random.uniform(0.0, 30.0) if chance(weather.reply_late) else 0.1
        if not chance(weather.reply_dropped):
            ticket.reply = reply

    def _between(self) -> Steps:
        world = self._world
        yield world.scheduler.random.uniform(0.0, 2.0)
        if world.scheduler.chance(world.plan.weather.death_between_steps):
            self.ledger.is_dead = True
            raise ProcessDied("between two steps")

    def _chores(self) -> Steps:
        world = self._world
        while True:
            yield world.scheduler.random.uniform(20.0, 60.0)
            try:
                self.gateway.refresh()
                self.gateway.settle_late()
                self.ledger.sweep(world.wall(self.skew_seconds))
            except LedgerUnavailableError as error:
                world.scheduler.note(f"{self.name}: {error}")


def _brief(done: Any) -> str:
    if isinstance(done, list):
        return ", ".join(_brief(one) for one in done)
    amount = getattr(done, "amount_nano", getattr(done, "needed_nano", None))
    if amount is not None:
        return f"{type(done).__name__} {amount}"
    if hasattr(done, "moved"):
        return f"{done.hold_id} {done.state} {done.charged_nano}{' moved' if done.moved else ''}"
    return str(done)
