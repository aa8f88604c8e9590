"""Narrower tokens: carrying everything of their parents, and never more rights."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.adapters.spend_token import SpendTokenMinter, SpendTokenVerifier, mint_token
from spendgate.domain.budget import Policy
from spendgate.domain.revocation import Revocation, Revocations
from spendgate.domain.scope import Dimension, Scope
from spendgate.errors import ForbiddenError
from spendgate.gateway.narrowing import PARENTS_MAX, Narrowing, Wish, narrowed
from spendgate.gateway.ports import TokenClaims

KEY = "a key that is long enough for HS256, really"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)

names = st.sampled_from(["x", "y", "z"])
scopes = st.dictionaries(st.sampled_from([one.value for one in Dimension]), names)
tags = st.dictionaries(names, names)
models = st.none() | st.lists(names, max_size=3).map(tuple)
parents = st.builds(
    TokenClaims,
    scopes,
    tags,
    models,
    token_ids=st.just(("p",)),
    minted_at=st.just(NOON),
    expires_at=st.integers(1, 99).map(lambda hours: NOON + timedelta(hours=hours)),
)
wishes = st.builds(Wish, scopes, tags, models, st.none() | st.integers(1, 10**6))


def token(**fields: Any) -> str:
    scopes = {"team": "support", "agent": "triage"}
    given = {"ttl_seconds": 600, "now": datetime.now(UTC), **fields}
    return mint_token(KEY, given.pop("scopes", scopes), **given)


def said(text: str) -> TokenClaims:
    return SpendTokenVerifier(KEY).verify(text)


@pytest.fixture
def narrow() -> Callable[..., Any]:
    """Ask for a narrower token."""

    def ask(parent: str, policy: Policy | None = None, **body: object) -> Any:
        narrowing = Narrowing(
            SpendTokenVerifier(KEY),
            SpendTokenMinter(KEY),
            lambda: policy or Policy(),
            lambda: datetime.now(UTC),
        )
        return narrowing.answer(body, {"authorization": f"Bearer {parent}"})

    return ask


@given(parents, wishes, st.booleans())
def test_a_child_never_has_more_rights_than_its_parent(
    parent: TokenClaims, wish: Wish, is_vouched: bool
) -> None:
    try:
        child = narrowed(parent, wish, NOON, is_vouched=is_vouched)
    except ForbiddenError:
        return

    assert parent.scopes.items() <= child.scopes.items()
    assert parent.tags.items() <= child.tags.items()
    assert child.expires_at is not None
    assert parent.expires_at is not None
    assert child.expires_at <= parent.expires_at
    assert child.models is not None or parent.models is None
    if child.models is not None and parent.models is not None:
        assert set(child.models) <= set(parent.models)
    assert (child.token_ids, child.minted_at) == (parent.token_ids, parent.minted_at)
    added = child.scopes.keys() - parent.scopes.keys()
    if not is_vouched:
        assert added <= {"session", "task"}
        assert added <= child.asserted


def test_a_child_carries_what_its_parent_carries_and_what_was_added(
    narrow: Callable[..., Any],
) -> None:
    parent = token(tags={"cc": "1"}, models=["big", "small"])

    reply = narrow(parent, task="t-1", tags={"subagent": "reader"}, models=["small"])

    assert reply.status == 200, reply.body
    child = said(reply.body["spend_token"])
    assert child.scopes == {"team": "support", "agent": "triage", "task": "t-1"}
    assert child.tags == {"cc": "1", "subagent": "reader"}
    assert child.models == ("small",)
    assert child.asserted == {"task", "tag.subagent"}
    assert child.token_ids == (*said(parent).token_ids, reply.body["token_id"])
    assert child.expires_at == said(parent).expires_at
    assert reply.body["expires_at"].endswith("Z")


@pytest.mark.parametrize("parent", [None, ["big", "small"]])
def test_a_child_may_be_allowed_no_model_at_all(
    narrow: Callable[..., Any],
    keyed: Callable[..., Any],
    budget: Callable[..., Any],
    parent: list[str] | None,
) -> None:
    child = narrow(token(models=parent), models=[]).body["spend_token"]

    assert said(child).models == ()
    reply = spend(keyed(budget(scope={"agent": "*"})), child)
    assert (reply.status, reply.body["error"]["code"]) == (403, "model_forbidden")


def test_a_child_may_end_sooner_and_never_later(narrow: Callable[..., Any]) -> None:
    parent = token()
    ends = said(parent).expires_at
    sooner = said(narrow(parent, ttl_seconds=60).body["spend_token"]).expires_at
    later = said(narrow(parent, ttl_seconds=6000).body["spend_token"]).expires_at

    assert ends is not None
    assert sooner is not None
    assert sooner < ends
    assert later == ends


def test_a_grandchild_remembers_all_before_it(narrow: Callable[..., Any]) -> None:
    parent = token(now=datetime.now(UTC) - timedelta(seconds=100))
    child = narrow(parent, task="t-1").body["spend_token"]
    grandchild = narrow(child, session="s-1").body["spend_token"]

    assert said(grandchild).token_ids[:2] == said(child).token_ids
    assert said(grandchild).minted_at == said(parent).minted_at
    assert said(grandchild).asserted == {"task", "session"}


def test_a_chain_of_tokens_has_an_end(narrow: Callable[..., Any]) -> None:
    text = token()
    for number in range(PARENTS_MAX - 1):
        text = narrow(text, tags={f"t{number}": "x"}).body["spend_token"]

    reply = narrow(text)

    assert (reply.status, reply.body["error"]["code"]) == (403, "scope_forbidden")


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"team": "sales"}, 403, "scope_forbidden", "team"),
        ({"user": "ceo"}, 403, "scope_forbidden", "user"),
        ({"org": "acme"}, 403, "scope_forbidden", "org"),
        ({"tags": {"cc": "2"}}, 403, "scope_forbidden", "tags.cc"),
        ({"tags": {f"t{n}": "x" for n in range(16)}}, 403, "scope_forbidden", "tags"),
        ({"models": ["big", "huge"]}, 403, "model_forbidden", "models[1]"),
        ({"task": "*"}, 400, "invalid_request", "task"),
        ({"task": "a\nb"}, 400, "invalid_request", "task"),
        ({"task": 7}, 400, "invalid_request", "task"),
        ({"tags": ["x"]}, 400, "invalid_request", "tags"),
        ({"tags": {"x": ""}}, 400, "invalid_request", "tags"),
        ({"tags": {f"t{n}": "x" for n in range(17)}}, 400, "invalid_request", "tags"),
        ({"models": "big"}, 400, "invalid_request", "models"),
        ({"models": [7]}, 400, "invalid_request", "models"),
        ({"ttl_seconds": 0}, 400, "invalid_request", "ttl_seconds"),
        ({"ttl_seconds": "60"}, 400, "invalid_request", "ttl_seconds"),
        ({"ttl_seconds": 1e300}, 400, "invalid_request", "ttl_seconds"),
        ({"teem": "x"}, 400, "invalid_request", "teem"),
    ],
)
def test_a_wish_for_more_or_for_nonsense_is_refused(
    narrow: Callable[..., Any],
    body: Mapping[str, Any],
    status: int,
    code: str,
    param: str,
) -> None:
    reply = narrow(token(tags={"cc": "1"}, models=["big", "small"]), **body)

    error = reply.body["error"]
    assert (reply.status, error["code"], error["param"]) == (status, code, param)


def test_who_holds_the_key_may_add_any_dimension_and_is_believed() -> None:
    parent = said(token())

    child = narrowed(parent, Wish({"user": "ann"}), NOON, is_vouched=True)

    assert child.scopes["user"] == "ann"
    assert child.asserted == frozenset()
    with pytest.raises(ForbiddenError):
        narrowed(parent, Wish({"team": "sales"}), NOON, is_vouched=True)


@pytest.mark.parametrize("bad", ["garbage", "", token(now=datetime(2020, 1, 1, tzinfo=UTC))])
def test_only_a_good_token_can_be_narrowed(narrow: Callable[..., Any], bad: str) -> None:
    reply = narrow(bad, task="t")

    assert (reply.status, reply.body["error"]["code"]) == (401, "invalid_spend_token")


def test_a_revoked_token_cant_be_narrowed(narrow: Callable[..., Any]) -> None:
    parent = token()
    gone = Revocation.of_token(said(parent).token_ids[0], "lost", NOON)

    reply = narrow(parent, Policy(revoked=Revocations.of([gone])), task="t")

    assert reply.status == 401
    assert "revoked" in reply.body["message"]


def test_a_gate_without_its_own_key_says_so() -> None:
    verifier, at = SpendTokenVerifier(KEY), lambda: datetime.now(UTC)
    headers = {"x-spend-token": token()}

    public_only: Any = Narrowing(verifier, None, Policy, at).answer({}, headers)
    keyless = Narrowing(None, None, Policy, at).answer({}, headers)

    assert (public_only.status, public_only.body["error"]["code"]) == (403, "narrowing_unavailable")
    assert keyless.status == 401


@pytest.fixture
def keyed(gate: Callable[..., Any]) -> Callable[..., Any]:
    """Open a gate with a signing key."""
    return lambda *budgets: gate(*budgets, verifier=SpendTokenVerifier(KEY))


def spend(gate: Any, text: str, **own: object) -> Any:
    return gate.chat(own={"user": None, "spend_token": text, **own})


def test_a_sub_agent_spends_its_parent_s_money_and_its_own(
    keyed: Callable[..., Any], budget: Callable[..., Any], narrow: Callable[..., Any]
) -> None:
    opened = keyed(
        budget(id="agents", scope={"agent": "*"}),
        budget(id="subs", scope={"agent": "*", "tag.subagent": "*"}, limit_usd="0.002"),
    )
    child = narrow(token(), tags={"subagent": "reader"}).body["spend_token"]

    reply = spend(opened, child)

    assert [one["scope"] for one in reply.body["spend"]["budgets"]] == [
        "agent:triage",
        "agent:triage,tag.subagent:reader",
    ]
    while (reply := spend(opened, child)).status == 200:
        pass
    assert reply.body["budget"]["budget_id"] == "subs"
    assert spend(opened, token()).status == 200


@pytest.mark.parametrize("own", [{"task": "t-2"}, {"tags": {"subagent": "writer"}}])
def test_a_body_cant_leave_what_its_token_was_narrowed_to(
    keyed: Callable[..., Any],
    narrow: Callable[..., Any],
    own: dict[str, object],
    budget: Callable[..., Any],
) -> None:
    opened = keyed(budget(scope={"agent": "*"}))
    child = narrow(token(), task="t-1", tags={"subagent": "reader"}).body["spend_token"]

    reply = spend(opened, child, **own)

    assert (reply.status, reply.body["error"]["code"]) == (403, "scope_forbidden")


def test_what_a_bearer_added_itself_isnt_trusted(
    keyed: Callable[..., Any], budget: Callable[..., Any], narrow: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={"task": "*"}, trust={"task": "trusted"}))
    own = narrow(token(), task="t-1").body["spend_token"]
    vouched = token(scopes={"agent": "triage", "task": "t-1"})

    refused = spend(opened, own)

    assert (refused.status, refused.body["error"]["param"]) == (403, "custom_inputs.task")
    assert spend(opened, vouched).status == 200


def test_a_revoked_token_is_refused_at_the_next_call_with_all_its_children(
    keyed: Callable[..., Any], budget: Callable[..., Any], narrow: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={"agent": "*"}))
    parent, other = token(), token()
    child = narrow(parent, task="t-1").body["spend_token"]
    assert spend(opened, child).status == 200

    token_id = said(parent).token_ids[0]
    opened.ledger.policies.revoke(Revocation.of_token(token_id, "lost", NOON))

    for text in (parent, child):
        reply = spend(opened, text)
        assert (reply.status, reply.body["error"]["code"]) == (401, "invalid_spend_token")
        assert "revoked" in reply.body["message"]
    assert spend(opened, other).status == 200
    assert len(opened.upstream.bodies) == 2


def test_all_older_tokens_of_a_scope_can_be_revoked(
    keyed: Callable[..., Any], budget: Callable[..., Any], narrow: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={"agent": "*"}))
    now = datetime.now(UTC)
    old, new = token(now=now - timedelta(seconds=60)), token(now=now)
    child_of_old = narrow(old, task="t").body["spend_token"]
    gone = Revocation(Scope.parse("team:support"), "left", now - timedelta(seconds=30))

    opened.ledger.policies.revoke(gone)

    assert [spend(opened, one).status for one in (old, child_of_old, new)] == [401, 401, 200]


def test_a_token_that_doesnt_say_when_it_was_minted_falls_with_its_scope(
    keyed: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = keyed(budget(scope={"agent": "*"}))
    payload = {"aud": "spendgate", "jti": "1", "exp": 4e9, "agent": "triage"}
    text = jwt.encode(payload, KEY, "HS256")
    assert spend(opened, text).status == 200

    opened.ledger.policies.revoke(Revocation(Scope.parse("agent:triage"), "left", NOON))

    assert spend(opened, text).status == 401
