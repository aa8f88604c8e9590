"""Fault scenario 8: the embedded ledger's disk is lost, and the home's tables are left."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spendgate import Budgets
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.bootstrap import new_request_id, open_ledger, open_price_book, utc_now
from spendgate.config import Settings
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.money import format_usd
from spendgate.domain.usage import TokenUsage
from spendgate.errors import LedgerBrokenError
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import EventBatch, UpstreamAnswer, UpstreamOutcome
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, Host
from spendgate.web.server import check_settings

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""
HAIKU = "databricks-claude-haiku-4-5"
USD = 10**9
LIMITS = {"org": USD // 20, "users": USD // 50, "day": USD // 25}
POLICY = """
budgets:
  - {id: org, scope: {org: acme}, limit_usd: 0.05, window: lifetime}
  - {id: users, scope: {user: "*"}, limit_usd: 0.02, window: {rolling: 24h}, fit: false}
  - {id: day, scope: {}, limit_usd: 0.04, window: {rolling: 24h}}
"""


class BillingModel:
    """A model server that uses every token it is given, and writes its own bill."""

    name = "billing"

    def __init__(self) -> None:
        self.bill: dict[str, int] = {}

    def stream(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        tokens = int(body["max_tokens"])
        user = body["usage_context"]["user"]
        # 10 input tokens at $1 and the output at $5 per million.
        self.bill[user] = self.bill.get(user, 0) + 10 * 1000 + tokens * 5000
        usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
        return UpstreamAnswer(200, {"id": "x", "model": HAIKU, "choices": [], "usage": usage})

    @property
    def total(self) -> int:
        return sum(self.bill.values())


class Process:
    """One process with its own connection to the ledger."""

    def __init__(self, home: Path, model: BillingModel) -> None:
        self.ledger = open_ledger(Settings(home=home))
        self._gateway = Gateway(
            self.ledger,
            model,
            lambda: open_price_book(Settings(), self.ledger),
            clock=utc_now,
            new_id=new_request_id,
            verifier=None,
            terms=Terms(held_wait_seconds=0),
        )

    def call(self, user: str, key: str | None = None, **more: str) -> Any:
        own = {"org": "acme", "user": user, **more}
        own |= {} if key is None else {"idempotency_key": key}
        body = {
            "model": HAIKU,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 1000,
            "custom_inputs": own,
        }
        return self._gateway.handle(CHAT, body, host=Host.ASGI)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "budgets.yml"
    file.write_text(POLICY)
    return file


@pytest.fixture
def model() -> BillingModel:
    return BillingModel()


@pytest.fixture
def unseen(run: Run, home: Path, policy: Path, model: BillingModel) -> int:
    """Ann's first calls are in the tables; one more of hers and Bob's are lost with the disk."""
    run("budget", "import", str(policy))
    process = Process(home, model)
    assert process.call("ann", key="once").status == 200
    assert process.call("ann").status == 200
    run("job", "drain")
    flushed = model.total
    for user in ("ann", "bob"):
        assert process.call(user).status == 200
    process.ledger.close()
    for path in home.glob("ledger.db*"):
        if path.suffix != ".lock":
            path.unlink()
    return model.total - flushed


def spend_all_there_is(home: Path, model: BillingModel) -> None:
    process = Process(home, model)
    for user in ("bob", "ann", "carl", "dora", "emil"):
        while process.call(user).status == 200:
            pass
    process.ledger.close()


def test_scenario_08_the_disk_of_the_embedded_ledger_is_lost_and_every_limit_holds(
    run: Run, home: Path, policy: Path, model: BillingModel, unseen: int
) -> None:
    told = run(
        *("audit", "--restore", "--unflushed-usd", format_usd(unseen)),
        *("--budgets", str(policy), "--json"),
    ).json

    assert (told["problems"], told["events_read"], told["holds_restored"]) == ([], 2, 2)
    assert {one["budget_id"] for one in told["cuts"]} == set(LIMITS)
    spend_all_there_is(home, model)
    assert max(model.bill.values()) <= LIMITS["users"]
    assert model.total <= min(LIMITS["org"], LIMITS["day"])
    assert run("audit", "--json").json["problems"] == []


def test_scenario_08_without_anything_of_the_ledger_no_host_starts_from_zero(
    run: Run, home: Path, policy: Path, model: BillingModel, unseen: int
) -> None:
    """The disk took the lock's file along, so that only the tables know."""
    (home / "ledger.db.lock").unlink()
    settings = Settings(home=home, upstream_url="http://127.0.0.1:9")
    run("budget", "import", str(policy))

    with pytest.raises(LedgerBrokenError, match="hold spend that it doesn't know"):
        check_settings(settings)
    with pytest.raises(LedgerBrokenError, match="spendgate audit --restore"):
        Budgets(policy, home=home)
    found = {one["check"]: one for one in run("doctor", "--json", code=1).json}
    assert found["ledger"]["status"] == "fail"
    assert "spendgate audit --restore" in found["ledger"]["detail"]

    run("audit", "--restore", "--unflushed-usd", format_usd(unseen))
    check_settings(settings)
    spend_all_there_is(home, model)
    assert model.total <= min(LIMITS["org"], LIMITS["day"])


def test_scenario_08_a_ledger_that_was_rebuilt_from_nothing_that_counts_may_serve(
    run: Run, home: Path, policy: Path
) -> None:
    """All that the tables have is in windows that are over."""
    at = utc_now() - timedelta(days=30)
    facts = CallFacts(1, at, {"org": "acme"}, "m", "m", "s", "global", "v1", "allow", ("org",))
    charge = Charge(TokenUsage(10, 5), 7)
    old = SpendEvent("r1#1:1", "r1#1", EventKind.SETTLED, at, facts, charge, 7, 7)
    DeltaSink(home / "delta").append("lost", EventBatch(1, (old,), ()))
    minute = policy.with_name("minute.yml")
    minute.write_text("budgets: [{id: org, scope: {org: acme}, limit_usd: 1, window: minute}]")
    settings = Settings(home=home, upstream_url="http://127.0.0.1:9")
    run("budget", "import", str(minute))
    with pytest.raises(LedgerBrokenError):
        check_settings(settings)

    run("audit", "--restore", "--unflushed-usd", "0")

    check_settings(settings)


def test_scenario_08_with_too_small_a_bound_the_loss_is_overspent(
    run: Run, home: Path, policy: Path, model: BillingModel, unseen: int
) -> None:
    """What the test above would see if the bound weren't cut from the limits."""
    run("audit", "--restore", "--unflushed-usd", "0", "--budgets", str(policy))

    spend_all_there_is(home, model)

    assert model.total > LIMITS["day"]


def test_scenario_08_nothing_that_came_back_is_delivered_twice(
    run: Run, home: Path, policy: Path, model: BillingModel, unseen: int
) -> None:
    run("audit", "--restore", "--unflushed-usd", format_usd(unseen), "--budgets", str(policy))
    drained = run("job", "drain", "--json").json
    process = Process(home, model)
    repeated = process.call("ann", key="once")
    assert process.call("carl").status == 200
    process.ledger.close()
    run("job", "drain")

    rows = run("sql", "SELECT event_id, cost_usd FROM spend_events", "--json").json
    assert drained["events"] == 0
    assert repeated.status == 409  # the key's hold is known: the call isn't made again
    assert len({one["event_id"] for one in rows}) == len(rows) == 3
    (total,) = run("sql", "SELECT sum(cost_usd) AS usd FROM spend_events", "--json").json
    assert total["usd"] == format_usd(model.total - unseen)


def test_scenario_08_an_operator_books_what_was_found_out_and_lifts_the_cut(
    run: Run, home: Path, policy: Path, model: BillingModel, unseen: int
) -> None:
    told = run(
        *("audit", "--restore", "--unflushed-usd", format_usd(unseen), "--json"),
        *("--budgets", str(policy)),
    ).json
    doctor = {one["check"]: one for one in run("doctor", "--json").json}
    for user in ("ann", "bob"):
        run(
            *("adjust", "--charge", format_usd(unseen // 2), "--scope", f"org:acme,user:{user}"),
            *("--external", "--reason", "the provider's bill"),
        )
    for one in told["cuts"]:
        run(*one["lift_with"].replace('"…"', "reconciled").split()[1:])

    rows = run("spend", "show", "--json").json
    assert doctor["policy"]["status"] == "warn"
    assert "cut by a restore: day, org, users" in doctor["policy"]["detail"]
    assert {one["scope"]: one["limit_usd"] for one in rows} == {
        "org:acme": "0.05", "all": "0.04", "user:ann": "0.02", "user:bob": "0.02",
    }  # fmt: skip
    assert {one["scope"]: one["spent_usd"] for one in rows}["user:bob"] == format_usd(
        model.bill["bob"]
    )
    spend_all_there_is(home, model)
    assert max(model.bill.values()) <= LIMITS["users"]
    assert model.total <= min(LIMITS["org"], LIMITS["day"])


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ([], 2, "in the last 7 days calls that began within"),
        (["--unflushed-usd", "-1"], 2, "below 0"),
        (["--unflushed-usd", "inf"], 2, "not a finite amount"),
        (["--unflushed-usd", "1", "--forget", "org"], 2, "'org' is in the policy"),
    ],
)
def test_a_restore_that_can_t_be_done_is_told_and_leaves_the_ledger_missing(
    run: Run, home: Path, policy: Path, unseen: int, arguments: list[str], code: int, problem: str
) -> None:
    told = run("audit", "--restore", *arguments, "--budgets", str(policy), code=code)

    assert problem in told.err
    assert not (home / "ledger.db").exists()
    assert (
        "audit --restore" in run("budget", "set", "b", "--limit", "1", "--scope", "all", code=1).err
    )


def test_a_budget_that_the_policy_lacks_stops_the_restore_unless_it_may_be_forgotten(
    run: Run, home: Path, tmp_path: Path, unseen: int
) -> None:
    less = tmp_path / "less.yml"
    less.write_text("".join(line for line in POLICY.splitlines(True) if "id: users" not in line))
    restore = ("audit", "--restore", "--unflushed-usd", "0", "--budgets", str(less))

    told = run(*restore, code=1)

    assert "budgets that the policy lacks: users (last charged " in told.err
    assert not (home / "ledger.db").exists()
    run(*restore, "--forget", "users")
    rows = run("spend", "show", "--json").json
    assert {one["budget_id"] for one in rows} == {"org", "day"}


def deliver_a_call(run: Run, home: Path, policy: Path, model: BillingModel) -> None:
    run("budget", "import", str(policy))
    process = Process(home, model)
    process.call("ann")
    process.ledger.close()
    run("job", "drain")


def test_a_ledger_that_has_spend_is_never_restored_over(
    run: Run, home: Path, policy: Path, model: BillingModel
) -> None:
    deliver_a_call(run, home, policy, model)
    before = run("spend", "show", "--json").json

    told = run("audit", "--restore", "--unflushed-usd", "1", code=1)

    assert "has spend already" in told.err
    assert run("spend", "show", "--json").json == before


def test_a_ledger_whose_first_call_is_in_flight_is_never_restored_over(
    run: Run, home: Path, policy: Path, model: BillingModel
) -> None:
    deliver_a_call(run, home, policy, model)
    for path in home.glob("ledger.db*"):
        path.unlink()
    run("budget", "import", str(policy))
    process = Process(home, model)
    assert process.call("ann", operation="reserve").status == 200
    process.ledger.close()

    told = run("audit", "--restore", "--unflushed-usd", "1", code=1)

    assert "has spend already" in told.err


def test_budgets_set_in_a_fresh_ledger_are_filled_in_place(
    run: Run, home: Path, policy: Path, unseen: int
) -> None:
    (home / "ledger.db.lock").unlink()
    run("budget", "import", str(policy))

    run("audit", "--restore", "--unflushed-usd", "0")

    rows = run("spend", "show", "--json").json
    assert {one["scope"]: one["spent_usd"] for one in rows} == {
        "org:acme": "0.010020000", "all": "0.010020000", "user:ann": "0.010020000",
    }  # fmt: skip
    assert run("audit", "--json").json["problems"] == []


def test_what_can_t_be_restored_so_is_told(run: Run, home: Path) -> None:
    assert "there is no table spend_events" in run("audit", "--restore", code=1).err
    assert not (home / "ledger.db.lock").exists()
    shared = ("audit", "--restore", "--ledger", "postgresql://127.0.0.1:9/x")
    assert "only an embedded ledger" in run(*shared, code=1).err
    assert "go with --restore" in run("audit", "--unflushed-usd", "1", code=2).err
