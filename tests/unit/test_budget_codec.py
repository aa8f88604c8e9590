"""Budgets as JSON: what a ledger stores reads back as the same budget, to the nano-dollar."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.adapters.budget_codec import (
    budget_as_json,
    decode_budget,
    decode_defaults,
    decode_raise,
    encode_budget,
    encode_defaults,
    encode_raise,
    parse_budget,
    parse_raise,
    raise_as_json,
)
from spendgate.domain.budget import (
    CUT,
    PPM,
    Budget,
    DowngradeStep,
    Mode,
    ModelLimits,
    Policy,
    PolicyDefaults,
    Raise,
    Refusal,
)
from spendgate.domain.loop import LoopGuard
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.domain.rollover import CALENDAR
from spendgate.domain.scope import Scope
from spendgate.domain.window import WindowKind, parse_window
from spendgate.errors import PolicyError

LIMIT_NANO_MAX = 9_200_000_000 * 10**9
MINIMAL: dict[str, object] = {"id": "b", "scope": {"org": "acme"}, "limit_usd": 1}

names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="*"),
    min_size=1,
    max_size=20,
)
dimensions = st.sampled_from(["org", "team", "agent", "user", "session", "task", "tag.centre"])
scopes = st.dictionaries(dimensions, names | st.just("*"), max_size=3).map(Scope.of)
windows = st.sampled_from(
    ["minute", "hour", "day", "week", "month", "lifetime", "rolling:24h", "rolling:7d"]
).map(parse_window)
instants = st.datetimes(timezones=st.just(UTC))


words = st.sampled_from(["trusted", "asserted"])
guards = st.builds(LoopGuard, st.integers(1, 10_000), st.integers(1, 1440))


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    hard = draw(st.integers(1, PPM))
    limit, window = draw(st.integers(1, LIMIT_NANO_MAX - 1)), draw(windows)
    scope, idle = draw(scopes), st.none() | st.integers(3600, 10**7)
    ends = {"session", "task"} & set(scope.dimensions)
    may_be_idle = ends and window.kind is WindowKind.LIFETIME
    carries = st.integers(0, LIMIT_NANO_MAX - limit) if window.kind in CALENDAR else st.just(0)
    return Budget(
        budget_id=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,20}", fullmatch=True)),
        scope=scope,
        limit_nano=limit,
        window=window,
        tz=draw(st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"])),
        soft_cap_ppm=draw(st.integers(1, hard)),
        hard_cap_ppm=hard,
        auto_downgrade=draw(
            st.sampled_from([(), (DowngradeStep(("a", "b"), "c"), DowngradeStep(("c",), "d"))])
        ),
        disable_tools=draw(st.lists(names, max_size=2).map(tuple)),
        alerts_ppm=tuple(sorted(draw(st.sets(st.integers(1, 2 * PPM), max_size=3)))),
        routes=draw(st.lists(names, max_size=2).map(tuple)),
        mode=draw(st.sampled_from(Mode)),
        fit=draw(st.booleans()),
        min_output_tokens=draw(st.integers(1, 10**6)),
        trust={one: draw(words) for one in scope.dimensions if draw(st.booleans())},
        refusal=draw(st.sampled_from(Refusal)),
        on_client_abort=draw(st.sampled_from(["drain", "close"])),
        loop_guard=draw(st.none() | guards),
        expires_at=draw(st.none() | instants),
        rollover_max_nano=draw(carries),
        idle_ttl_seconds=draw(idle) if may_be_idle else None,
        source=draw(st.sampled_from(["file", "people"])),
    )


@given(budgets())
def test_a_stored_budget_reads_back_as_itself(budget: Budget) -> None:
    assert decode_budget(encode_budget(budget)) == budget


@given(budgets())
def test_what_is_shown_can_be_written_back(budget: Budget) -> None:
    shown = json.loads(json.dumps(budget_as_json(budget)))

    assert parse_budget(shown, where="here", source=budget.source) == budget


@given(st.integers(1, LIMIT_NANO_MAX), st.none() | instants)
def test_a_stored_raise_reads_back_as_itself(amount_nano: int, expires_at: datetime | None) -> None:
    raised = Raise("r-1", "b", amount_nano, "launch", expires_at, "people")

    assert decode_raise(encode_raise(raised)) == raised


def test_stored_defaults_and_model_facts_read_back_as_themselves() -> None:
    defaults = PolicyDefaults(100, "allow", 0.5, LoopGuard(5, 10), ("mail",))
    models = {"m": ModelLimits(image_tokens=5, output_tokens_max=9), "n": ModelLimits()}
    notifiers = (
        NotifierSpec("mail", "env:MAIL_URL"),
        NotifierSpec("bills", "secret:a/b", NotifierKind.WEBHOOK, "env:KEY", ("raised",)),
    )

    policy = Policy(defaults=defaults, models=models, notifiers=notifiers)

    assert decode_defaults(encode_defaults(policy)) == policy


def test_a_limit_is_read_exactly_from_any_kind_of_number() -> None:
    read = [
        parse_budget(MINIMAL | {"limit_usd": one}, where="here").limit_nano
        for one in (0.1, "0.1", Decimal("0.1"), "1e-1")
    ]

    assert read == [100_000_000] * 4


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        (True, "must be a number"),
        (0, "must be above 0"),
        ("-0.01", "must be above 0"),
        ("0.0000000001", "more than nine decimals"),
        ("9200000000.000000001", "more than a ledger can hold"),
        ("1e999999", "more than a ledger can hold"),
        (float("nan"), "not a finite number"),
        ("ten", "is no number"),
        ([1], "must be a number"),
    ],
)
def test_a_limit_that_is_no_amount_is_refused(limit: object, problem: str) -> None:
    with pytest.raises(PolicyError, match=f"limit_usd: .*{problem}"):
        parse_budget(MINIMAL | {"limit_usd": limit}, where="here")


def test_the_largest_limit_is_accepted() -> None:
    budget = parse_budget(MINIMAL | {"limit_usd": "9200000000"}, where="here")

    assert budget.limit_nano == LIMIT_NANO_MAX


def test_a_stored_cut_lowers_the_limit_it_was_made_for() -> None:
    cut = Raise("restore-b", "b", -5, "restored", None, CUT)

    assert decode_raise(encode_raise(cut)) == cut
    assert raise_as_json(cut)["amount_usd"] == "-0.000000005"


def test_a_raise_without_an_id_is_named_after_its_content() -> None:
    row = {"raises": "b", "amount_usd": "5", "reason": "launch"}

    first, again = (parse_raise(row, where="here") for _ in range(2))
    other = parse_raise(row | {"amount_usd": "6"}, where="here")

    assert first == again
    assert first.raise_id != other.raise_id


def test_a_time_with_another_offset_is_kept_as_utc() -> None:
    budget = parse_budget(MINIMAL | {"expires_at": "2030-01-01T01:00:00+02:00"}, where="here")

    assert budget.expires_at == datetime(2029, 12, 31, 23, tzinfo=UTC)
    assert str(budget.expires_at).endswith("+00:00")


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"id": "b"}'])
def test_a_damaged_stored_budget_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="stored budget"):
        decode_budget(text)


def test_a_star_within_a_value_is_refused_anew_and_still_read_where_it_was_stored() -> None:
    row = MINIMAL | {"scope": {"agent": "bot-*"}}

    with pytest.raises(PolicyError, match=r"here: scope: agent 'bot-\*': a \* within a value"):
        parse_budget(row, where="here")

    assert decode_budget(json.dumps(row)).scope.text == "agent:bot-*"
