"""Who pays (DESIGN §2.1): what a token vouches for, and how much of the rest is believed."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from spendgate.adapters.spend_token import AUDIENCE, SpendTokenVerifier, mint_token
from spendgate.gateway.wire import Host

KEY = "a key that is long enough for HS256, really"
FAR = datetime(2099, 1, 1, tzinfo=UTC)  # tokens expire by the real clock, not by the test's


def token(models: list[str] | None = None, tags: Any = None, **scopes: str) -> str:
    return mint_token(KEY, scopes, ttl_seconds=600, now=datetime.now(UTC), tags=tags, models=models)


def signed(key: str = KEY, algorithm: str = "HS256", **claims: object) -> str:
    payload = {"aud": AUDIENCE, "jti": "1", "exp": FAR, "user": "alice", **claims}
    return jwt.encode(
        {name: value for name, value in payload.items() if value is not None}, key, algorithm
    )


@pytest.fixture
def keyed(gate: Callable[..., Any]) -> Callable[..., Any]:
    """Open a gate with a signing key."""
    return lambda *budgets, **terms: gate(*budgets, verifier=SpendTokenVerifier(KEY), **terms)


def paid_by(reply: Any) -> list[str]:
    assert reply.status == 200, reply.body
    return [one["scope"] for one in reply.body["spend"]["budgets"]]


def code(reply: Any) -> tuple[int, str, str | None]:
    error = reply.body["error"]
    return reply.status, error["code"], error["param"]


def test_without_a_key_what_the_body_says_is_believed(gate: Callable[..., Any]) -> None:
    opened = gate()

    assert paid_by(opened.chat()) == ["user:alice"]


def test_the_asgi_host_takes_scopes_from_headers_and_the_body_outranks_them(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(id="agents", scope={"agent": "*"}), budget())
    headers = {"x-spend-agent": "triage", "x-spend-user": "bob", "x-other": "no"}

    assert paid_by(opened.chat(host=Host.ASGI, headers=headers)) == ["agent:triage", "user:alice"]


@pytest.mark.parametrize("own", [{}, {"tags": {"cost_center": "4711"}}])
def test_a_call_without_any_scope_pays_as_anonymous(
    gate: Callable[..., Any], own: dict[str, Any]
) -> None:
    opened = gate()

    assert paid_by(opened.chat(own={"user": None, **own})) == ["user:anonymous"]
    assert opened.events[0].facts.scopes == {"user": "anonymous"}


def test_a_session_alone_isnt_anonymous(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(scope={"session": "*"}))

    assert paid_by(opened.chat(own={"user": None, "session": "s-1"})) == ["session:s-1"]


def test_a_tag_may_have_a_budget(gate: Callable[..., Any], budget: Callable[..., Any]) -> None:
    opened = gate(budget(scope={"tag.cost_center": "*"}))

    reply = opened.chat(own={"tags": {"cost_center": "4711"}})

    assert paid_by(reply) == ["tag.cost_center:4711"]
    assert opened.events[0].facts.tags == {"cost_center": "4711"}


@pytest.mark.parametrize("garbage", ["garbage", "a.b.c", signed()])
def test_a_spend_token_is_refused_where_no_key_can_check_it(
    gate: Callable[..., Any], garbage: str
) -> None:
    opened = gate()

    assert code(opened.chat(own={"spend_token": garbage})) == (
        401,
        "invalid_spend_token",
        "spend_token",
    )
    assert opened.upstream.bodies == []


def test_a_bearer_is_no_spend_token_where_no_key_is_configured(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat(host=Host.ASGI, headers={"authorization": "Bearer sk-any"})

    assert paid_by(reply) == ["user:alice"]


@pytest.mark.parametrize("place", ["body", "bearer", "lower-case bearer", "header"])
def test_a_token_says_who_pays(keyed: Callable[..., Any], place: str) -> None:
    opened = keyed()
    spend_token = token(user="carol")
    own = {"user": None, **({"spend_token": spend_token} if place == "body" else {})}
    headers = {
        "body": {},
        "bearer": {"authorization": f"Bearer {spend_token}"},
        "lower-case bearer": {"authorization": f"bearer {spend_token}"},
        "header": {"x-spend-token": spend_token},
    }[place]

    assert paid_by(opened.chat(own=own, host=Host.ASGI, headers=headers)) == ["user:carol"]


def test_a_token_in_the_body_outranks_the_bearer(keyed: Callable[..., Any]) -> None:
    opened = keyed()
    own = {"user": None, "spend_token": token(user="carol")}

    reply = opened.chat(own=own, headers={"authorization": f"Bearer {token(user='dave')}"})

    assert paid_by(reply) == ["user:carol"]


@pytest.mark.parametrize(
    "bad",
    [
        "garbage",
        "a.b.c",
        "..",
        signed(key="another key that is long enough for HS256"),
        signed(aud="somebody else"),
        signed(aud=None),
        signed(exp=datetime(2020, 1, 1, tzinfo=UTC)),
        signed(exp=None),
        signed(jti=None),
        signed(user=None),
        signed(user="*"),
        signed(user=7),
        signed(user=""),
        signed(user="a\nb"),
        signed(tags=["x"]),
        signed(tags={"a": 1}),
        signed(models="big"),
        jwt.encode({"aud": AUDIENCE, "jti": "1", "exp": FAR, "user": "alice"}, "", "none"),
        signed(key=KEY * 2, algorithm="HS512"),
    ],
)
def test_a_bad_token_is_refused_and_not_repeated(keyed: Callable[..., Any], bad: str) -> None:
    opened = keyed()

    reply = opened.chat(own={"spend_token": bad})

    assert code(reply) == (401, "invalid_spend_token", "spend_token")
    assert bad not in str(reply.body) or len(bad) < 3
    assert opened.upstream.bodies == []
    assert opened.ledger.balances() == []


def test_with_a_key_a_token_is_required(keyed: Callable[..., Any]) -> None:
    opened = keyed()

    assert code(opened.chat())[:2] == (401, "invalid_spend_token")
    basic = opened.chat(headers={"authorization": "Basic abc"})
    assert code(basic)[:2] == (401, "invalid_spend_token")


def test_a_body_that_contradicts_the_token_is_refused(keyed: Callable[..., Any]) -> None:
    opened = keyed()

    reply = opened.chat(own={"user": "alice", "spend_token": token(user="carol")})

    assert code(reply) == (403, "scope_forbidden", "custom_inputs.user")
    assert opened.upstream.bodies == []


def test_a_body_that_repeats_the_token_is_fine(keyed: Callable[..., Any]) -> None:
    opened = keyed()

    reply = opened.chat(own={"user": "carol", "spend_token": token(user="carol")})

    assert paid_by(reply) == ["user:carol"]


@pytest.mark.parametrize("dimension", ["org", "team", "agent", "user"])
def test_what_a_token_must_carry_isnt_believed_from_the_body(
    keyed: Callable[..., Any], budget: Callable[..., Any], dimension: str
) -> None:
    opened = keyed(budget(scope={}), budget(id="own", scope={dimension: "*"}))
    vouched = {"org", "team", "agent", "user"} - {dimension}
    now = datetime.now(UTC)
    spend_token = mint_token(KEY, dict.fromkeys(vouched, "x"), ttl_seconds=600, now=now)

    reply = opened.chat(own={"user": None, dimension: "rich", "spend_token": spend_token})

    assert code(reply) == (403, "scope_forbidden", f"custom_inputs.{dimension}")
    assert opened.upstream.bodies == []
    assert opened.decisions == []  # who it was isn't known, so nobody is recorded


def test_also_where_no_budget_asks_for_the_dimension(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={}))

    reply = opened.chat(own={"agent": "rich", "user": None, "spend_token": token(user="carol")})

    assert code(reply)[1] == "scope_forbidden"


@pytest.mark.parametrize("dimension", ["session", "task"])
def test_session_and_task_may_be_asserted_below_a_token(
    keyed: Callable[..., Any], budget: Callable[..., Any], dimension: str
) -> None:
    opened = keyed(budget(scope={dimension: "*"}))

    reply = opened.chat(own={"user": None, dimension: "x", "spend_token": token(user="carol")})

    assert paid_by(reply) == [f"{dimension}:x"]


def test_a_budget_may_accept_what_is_only_asserted(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={"agent": "*"}, trust={"agent": "asserted"}))

    reply = opened.chat(own={"agent": "a", "user": None, "spend_token": token(user="carol")})

    assert paid_by(reply) == ["agent:a"]


def test_one_budget_that_wants_trust_is_enough_to_refuse(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = keyed(
        budget(scope={"agent": "*"}, trust={"agent": "asserted"}),
        budget(id="strict", scope={"org": "*", "agent": "*"}),
    )

    reply = opened.chat(own={"agent": "a", "user": None, "spend_token": token(org="acme")})

    assert code(reply)[1] == "scope_forbidden"


def test_a_budget_may_want_trust_where_none_is_asked_by_default(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={"session": "*"}, trust={"session": "trusted"}))
    asserted = {"user": None, "session": "s", "spend_token": token(user="carol")}
    vouched = {"user": None, "spend_token": token(user="carol", session="s")}

    assert code(opened.chat(own=asserted))[1] == "scope_forbidden"
    assert paid_by(opened.chat(own=vouched)) == ["session:s"]


def test_a_budget_may_want_trust_where_nobody_could_vouch(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(scope={"agent": "*"}, trust={"agent": "trusted"}))

    reply = opened.chat(own={"user": None, "agent": "a"})

    assert code(reply) == (403, "scope_forbidden", "custom_inputs.agent")
    assert opened.upstream.bodies == []


def test_a_budget_may_want_a_trusted_tag(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={"tag.cc": "*"}, trust={"tag.cc": "trusted"}))
    bare = {"user": None, "tags": {"cc": "1"}, "spend_token": token(user="carol")}
    vouched = {"user": None, "spend_token": token(user="carol", tags={"cc": "1"})}

    assert code(opened.chat(own=bare))[1] == "scope_forbidden"
    assert paid_by(opened.chat(own=vouched)) == ["tag.cc:1"]


def test_a_token_may_allow_some_models_only(keyed: Callable[..., Any]) -> None:
    opened = keyed()
    spend_token = token(models=["small"], user="carol")

    refused = opened.chat(own={"user": None, "spend_token": spend_token})
    allowed = opened.chat(own={"user": None, "spend_token": spend_token, "model": "small"})

    assert code(refused) == (403, "model_forbidden", "model")
    assert [record.code for record in opened.decisions] == ["model_forbidden"]
    assert allowed.status == 200


def test_no_downgrade_and_no_suggestion_leads_to_a_model_the_token_forbids(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    chain = [{"from": ["big"], "to": "small"}]
    opened = keyed(budget(limit_usd="0.003", soft_cap=0.01, auto_downgrade=chain))
    own = {"user": None, "spend_token": token(models=["big"], user="carol")}

    assert opened.chat(own=own).body["spend"]["model_served"] == "big"
    refused = opened.chat(own=own, n=100)
    assert (refused.status, refused.body["suggested_model"]) == (402, None)


def test_a_token_is_neither_logged_nor_answered(
    keyed: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    opened = keyed()
    spend_token = token(user="carol")
    opened.failing.break_down("settle", "record")

    reply = opened.chat(own={"user": None, "spend_token": spend_token})
    forbidden = opened.chat(own={"spend_token": spend_token})

    for text in (str(reply.body), str(forbidden.body), caplog.text):
        assert spend_token not in text


ANN = {"user": "ann"}


def test_the_platform_s_word_is_trusted(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(trust={"user": "trusted"}))

    assert paid_by(opened.chat(own={"user": None}, vouched=ANN)) == ["user:ann"]
    assert paid_by(opened.chat(own=ANN, vouched=ANN)) == ["user:ann"]


def test_a_body_that_contradicts_the_platform_is_refused(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat(own={"user": "ceo"}, vouched=ANN)

    assert code(reply) == (403, "scope_forbidden", "custom_inputs.user")
    assert opened.upstream.bodies == []


def test_a_platform_that_names_nobody_leaves_nobody(gate: Callable[..., Any]) -> None:
    opened = gate()

    for own in ({"user": None}, {"user": "ceo"}, {"user": None, "agent": "bot"}):
        assert code(opened.chat(own=own, vouched={}))[:2] == (401, "caller_unknown")
    assert opened.upstream.bodies == []


def test_below_the_platform_s_user_the_rest_may_be_asserted_where_there_is_no_key(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(), budget(id="agents", scope={"agent": "*"}))

    paid = paid_by(opened.chat(own={"user": None, "agent": "bot"}, vouched=ANN))

    assert sorted(paid) == ["agent:bot", "user:ann"]


def test_with_a_key_the_rest_must_be_in_a_token(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = keyed(budget(), budget(id="agents", scope={"agent": "*"}))
    asserted = {"user": None, "agent": "bot"}
    vouched = {"user": None, "spend_token": token(agent="bot")}

    assert paid_by(opened.chat(own={"user": None}, vouched=ANN)) == ["user:ann"]
    assert code(opened.chat(own=asserted, vouched=ANN)) == (
        403,
        "scope_forbidden",
        "custom_inputs.agent",
    )
    assert sorted(paid_by(opened.chat(own=vouched, vouched=ANN))) == ["agent:bot", "user:ann"]


def test_a_token_for_another_than_the_caller_is_refused(keyed: Callable[..., Any]) -> None:
    opened = keyed()
    stolen = {"user": None, "spend_token": token(user="ceo")}

    assert code(opened.chat(own=stolen, vouched=ANN)) == (403, "scope_forbidden", "spend_token")
    own = {"user": None, "spend_token": token(user="ann")}
    assert paid_by(opened.chat(own=own, vouched=ANN)) == ["user:ann"]


def test_where_the_platform_speaks_the_bearer_is_its_own(keyed: Callable[..., Any]) -> None:
    opened = keyed()
    headers = {"authorization": "Bearer an-oauth-token-of-the-platform"}

    assert paid_by(opened.chat(own={"user": None}, headers=headers, vouched=ANN)) == ["user:ann"]
    refused = opened.chat(own={"user": None}, headers=headers, vouched={})
    assert code(refused)[:2] == (401, "invalid_spend_token")
    assert "X-Spend-Token" in refused.body["message"]
