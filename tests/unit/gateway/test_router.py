"""A call for the router's name: which model serves it, and what it may cost."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from spendgate.adapters.price_book import load_price_book
from spendgate.domain.budget import Policy
from spendgate.domain.upstream import Router
from spendgate.gateway.offered_models import offered_models
from spendgate.gateway.ports import TokenClaims
from spendgate.gateway.rules import Rules
from spendgate.gateway.wire import CHAT, EMBEDDINGS

# One call of "hi" with 100 tokens at most costs up to about 2.1 mUSD on big, 0.7 on mid, 0.2 on
# small.
BIG_ALONE, MID, SMALL = 0.0025, 0.001, 0.0004


class ModelsToken:
    """Vouches for alice, who may use some models."""

    def __init__(self, *models: str) -> None:
        self._models = models

    def verify(self, token: str) -> TokenClaims:
        del token
        return TokenClaims({"user": "alice"}, {}, self._models)


def routed(opened: Any, **fields: Any) -> Any:
    return opened.chat(own={"model": "auto"}, **fields)


def router(strategy: str, *candidates: str, **fields: object) -> dict[str, object]:
    return {"strategy": strategy, "candidates": list(candidates), **fields}


@pytest.mark.parametrize(
    ("limit_usd", "served"), [(10, "big"), (BIG_ALONE, "big"), (MID, "mid"), (SMALL, "small")]
)
def test_priority_takes_the_first_that_the_budgets_afford(
    gate: Callable[..., Any], budget: Callable[..., Any], limit_usd: float, served: str
) -> None:
    opened = gate(budget(limit_usd=limit_usd), router=router("priority", "big", "mid", "small"))

    reply = routed(opened)

    assert reply.status == 200
    spend = reply.body["spend"]
    assert (spend["model_requested"], spend["model_served"]) == ("auto", served)
    assert spend["decision"] == "allow"
    assert opened.upstream.bodies[-1]["model"] == served


def test_the_cheapest_is_taken_whatever_the_order(gate: Callable[..., Any]) -> None:
    opened = gate(router=router("cost_optimized", "big", "small", "mid"))

    assert routed(opened).body["spend"]["model_served"] == "small"


def test_a_fixed_router_takes_its_first(gate: Callable[..., Any]) -> None:
    opened = gate(router=router("fixed", "mid", "small"))

    assert routed(opened).body["spend"]["model_served"] == "mid"


def test_a_fixed_router_takes_no_other(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd=SMALL), router=router("fixed", "mid", "small"))
    reply = routed(opened)

    assert (reply.status, reply.body["error"]["code"]) == (402, "budget_exhausted")
    assert reply.body["budget"]["needed_for_model"] == "mid"


def test_a_refusal_names_the_model_that_misses_least(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.000001"), router=router("priority", "big", "small", "mid"))

    reply = routed(opened)

    assert reply.body["budget"]["needed_for_model"] == "small"
    assert (opened.spent_nano, opened.held_nano) == (0, 0)
    assert len(opened.decisions) == 1


def test_a_routed_call_pays_for_the_model_that_served_it(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd=MID), router=router("priority", "big", "mid"))

    assert routed(opened).body["spend"]["cost_usd"] == "0.000045000"

    (event,) = opened.events
    assert (event.facts.model_requested, event.facts.model) == ("auto", "mid")
    assert event.hold_id == "call-1#1"


def test_a_budget_steps_a_routed_model_down_too(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    step = [{"from": ["mid"], "to": "small"}]
    opened = gate(
        budget(limit_usd=MID, soft_cap=0.01, auto_downgrade=step),
        router=router("priority", "mid", "big"),
    )

    spend = routed(opened).body["spend"]

    assert (spend["decision"], spend["model_served"]) == ("downgrade", "small")
    (record,) = opened.decisions
    assert (record.model_requested, record.suggested_model) == ("auto", "small")


def test_a_token_allows_only_the_candidates_it_names(gate: Callable[..., Any]) -> None:
    own = {"model": "auto", "spend_token": "t", "user": None}
    opened = gate(verifier=ModelsToken("mid"), router=router("cost_optimized", "small", "mid"))
    assert opened.chat(own=own).body["spend"]["model_served"] == "mid"

    opened = gate(verifier=ModelsToken("auto"), router=router("priority", "small", "mid"))
    reply = opened.chat(own=own)

    assert (reply.status, reply.body["error"]["code"]) == (403, "model_forbidden")
    assert "none of the models that 'auto' stands for" in reply.body["error"]["message"]


def test_what_cannot_serve_the_call_is_not_chosen(gate: Callable[..., Any]) -> None:
    opened = gate(router=router("priority", "embed", "unpriced", "mid"))

    assert routed(opened).body["spend"]["model_served"] == "mid"
    embedded = opened.send(
        {"input": "hi", "custom_inputs": {"model": "auto", "user": "alice"}}, route=EMBEDDINGS
    )
    assert embedded.body["spend"]["model_served"] == "embed"


def test_a_candidate_that_could_cost_more_than_a_call_may_is_left_out(
    gate: Callable[..., Any],
) -> None:
    opened = gate(router=router("priority", "big", "mid", max_call_usd=MID))

    assert routed(opened).body["spend"]["model_served"] == "mid"
    assert routed(opened, max_tokens=1000).status == 403


@pytest.mark.parametrize("candidates", [(), ("big",)])
def test_only_its_own_name_is_routed(gate: Callable[..., Any], candidates: tuple[str, ...]) -> None:
    opened = gate(router=router("cost_optimized", *candidates, name="cheapest"))

    assert routed(opened).body["error"]["code"] == "model_not_priced"
    assert opened.chat(own={"model": "mid"}).body["spend"]["model_served"] == "mid"


def test_a_held_candidate_is_worth_waiting_for(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd=MID), router=router("priority", "mid", "small"))
    held = opened.gateway.admit(
        "chat/completions",
        {
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 100,
            "custom_inputs": {"model": "mid", "user": "alice"},
        },
        host="endpoint",
    )
    assert held.hold_id == "call-1#1"

    # What is left affords small; nothing waits for mid.
    assert routed(opened).body["spend"]["model_served"] == "small"
    for _ in range(3):
        opened.gateway.admit(
            "chat/completions",
            {
                "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 100,
                "custom_inputs": {"model": "small", "user": "alice"},
            },
            host="endpoint",
        )
    refused = routed(opened)
    assert (refused.status, refused.body["error"]["code"]) == (402, "budget_held")
    assert refused.body["budget"]["needed_for_model"] == "small"


def test_explaining_a_routed_call_names_what_would_serve_it(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 100,
        "custom_inputs": {"model": "auto", "user": "alice"},
    }
    candidates = router("priority", "big", "mid", "small")

    chosen = gate(budget(limit_usd=MID), router=candidates).gateway.explain(CHAT, body)
    refused = gate(budget(limit_usd="0.000001"), router=candidates).gateway.explain(CHAT, body)

    assert (chosen["model_requested"], chosen["decision"]) == ("auto", "allow")
    assert chosen["model_served"] == "mid"
    assert chosen["models_in_turn"] == ["big", "mid", "small"]
    assert (refused["decision"], refused["needed_for_model"]) == ("refuse", "small")


def test_the_router_is_offered_beside_what_it_chooses_from() -> None:
    book = load_price_book()
    models = ("databricks-dbrx-instruct", "databricks-mixtral-8x7b-instruct")
    at = datetime(2026, 11, 10, tzinfo=UTC)

    named = Rules(Policy(router=Router(candidates=models)), book)
    nameless = Rules(Policy(router=Router(candidates=("no-such-model",))), book)

    offered = dict(offered_models(named, "global", at))
    assert offered.keys() == {"auto", *models}
    assert offered["auto"] == offered[models[0]]
    assert offered_models(nameless, "global", at) == ()
