"""Who serves a model, under which name, and when a name asks for the router."""

from datetime import UTC, datetime

import pytest

from spendgate.domain.decision import Candidate, Decision, Granted
from spendgate.domain.event import CallFacts
from spendgate.domain.reservation import ReserveRequest, completed_facts
from spendgate.domain.upstream import (
    Retries,
    Router,
    UpstreamSpec,
    longest_seconds,
    serving,
    url_without_user,
)

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("models", "aliases", "model", "is_served"),
    [
        (("*",), {}, "anything", True),
        (("llama-3-8b",), {}, "llama-3-8b", True),
        (("llama-3-8b",), {}, "llama-3-8B", False),
        (("databricks-*",), {}, "databricks-gpt-5", True),
        (("databricks-*",), {}, "gpt-5", False),
        ((), {"mine": "theirs"}, "mine", True),
        ((), {"mine": "theirs"}, "theirs", False),
        ((), {}, "mine", False),
    ],
)
def test_a_server_serves_what_it_is_named_for(
    models: tuple[str, ...], aliases: dict[str, str], model: str, is_served: bool
) -> None:
    spec = UpstreamSpec("u", models=models, aliases=aliases)

    assert spec.serves(model) is is_served


def test_a_server_is_told_its_own_name_of_a_model() -> None:
    spec = UpstreamSpec("u", aliases={"mine": "theirs"})

    assert [spec.own_name(one) for one in ("mine", "other")] == ["theirs", "other"]


def test_servers_of_a_model_keep_their_order() -> None:
    first, other, last = (
        UpstreamSpec("b"),
        UpstreamSpec("c", models=("x",)),
        UpstreamSpec("a", models=("m*",)),
    )

    assert serving((first, other, last), "mixtral") == (first, last)
    assert serving((), "mixtral") == ()


def test_only_a_router_with_candidates_takes_its_name() -> None:
    router = Router(candidates=("a",))

    assert router.routes("auto")
    assert not router.routes("a")
    assert not Router().routes("auto")


def test_the_facts_of_a_hold_name_who_serves_it_and_at_which_price() -> None:
    facts = CallFacts(1, NOON, {}, "big", "big", "first", "global", "v1", "allow", ())
    request = ReserveRequest("r#1", "fp", (), {}, "big", facts, 1, NOON)
    plain = Candidate("big", 0, 0, 1, 0, "v2")
    placed = Candidate("small", 0, 0, 1, 0, "v3", upstream="second", geo="in_geo")

    granted = [
        completed_facts(request, Granted(decision, candidate, 1, 0, (), ()))
        for decision, candidate in ((Decision.ALLOW, plain), (Decision.DOWNGRADE, placed))
    ]

    assert [(f.model, f.upstream, f.geo, f.price_version, f.decision) for f in granted] == [
        ("big", "first", "global", "v2", "allow"),
        ("small", "second", "in_geo", "v3", "downgrade"),
    ]


@pytest.mark.parametrize(
    ("specs", "router", "seconds"),
    [
        ((), Router(), 100),
        ((UpstreamSpec("u"),), Router(), 160),
        ((UpstreamSpec("u", timeout_seconds=30), UpstreamSpec("v")), Router(), 160),
        ((UpstreamSpec("u", timeout_seconds=900), UpstreamSpec("v")), Router(), 960),
        ((), Router(fallbacks={"a": ("b",)}), 160),
        ((), Router(retries=Retries(attempts_max=3, total_seconds=5)), 105),
    ],
)
def test_a_call_takes_its_last_attempt_longer_than_attempts_may_begin(
    specs: tuple[UpstreamSpec, ...], router: Router, seconds: float
) -> None:
    assert longest_seconds(specs, router, 100) == seconds


def test_a_url_without_a_user_stays_as_it_is() -> None:
    assert url_without_user("http://127.0.0.1:8000/v1") == "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    "url", ["http://me:hunter2@h/v1", "https://me@h", "me:hunter2@h/v1", "http://me:hunter2/x@h"]
)
def test_a_url_with_a_user_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="set SPENDGATE_UPSTREAM_API_KEY") as told:
        url_without_user(url)

    assert "hunter2" not in str(told.value)
