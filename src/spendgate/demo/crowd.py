"""A crowd of agents at work at once: steady ones, researchers, runaways, and a stranger."""

import random
import threading
import time
from collections.abc import Callable, Iterator

from spendgate.demo.cast import (
    GPT_5_MINI,
    GTE,
    HAIKU,
    LLAMA,
    OSS_20B,
    OSS_120B,
    SONNET,
    UNPRICED,
    Agent,
    Kind,
)
from spendgate.demo.traffic import Endpoint, Order, Payer, chat_body
from spendgate.gateway.json_object import JsonObject

REFUSALS_IN_A_ROW = 30
"""A runaway never stops by itself; the demo ends it once the gate has stopped it this often."""
_CALLS = 24
_HELD_WAIT_SECONDS = 1.0
_MODELS = (SONNET, HAIKU, HAIKU, LLAMA, OSS_120B, OSS_20B, GPT_5_MINI)
_SENTENCE = "Compare what the customers wrote this week with the week before and name one cause. "
_WEB_SEARCH: JsonObject = {
    "type": "function",
    "function": {
        "name": "web_search",
        "description": "Search the web.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
    },
}
_LOOKUP: JsonObject = {
    "type": "function",
    "function": {
        "name": "look_up_order",
        "description": "Find an order by its number.",
        "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}},
    },
}


def run_crowd(
    endpoint: Endpoint,
    crowd: list[Agent],
    *,
    seed: int,
    deadline: float,
    watch: Callable[[], None],
) -> None:
    """Let every agent work on threads of its own until all are done.

    Args:
        endpoint: where they call.
        crowd: the agents.
        seed: what they draw from; the order in which threads run stays the machine's.
        deadline: by `time.monotonic`, when agents make no further call.
        watch: called a few times a second while they work.
    """
    threads = [
        threading.Thread(
            target=_work,
            args=(endpoint, agent, f"{seed}:{agent.name}:{loop}", deadline),
            daemon=True,  # an interrupted run ends at once
        )
        for agent in crowd
        for loop in range(agent.loops)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch()
        time.sleep(0.1)


def _work(endpoint: Endpoint, agent: Agent, seed: str, deadline: float) -> None:
    # Drawn for variety, not for secrecy.
    draw = random.Random(seed)  # noqa: S311
    if agent.kind is Kind.RUNAWAY:
        _run_away(endpoint, agent, draw, deadline)
        return
    for order in _orders(agent, draw):
        if time.monotonic() >= deadline:
            return
        record = endpoint.call(order)
        pause = _HELD_WAIT_SECONDS if record.retryable else draw.uniform(0.05, 0.6)
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))


def _run_away(endpoint: Endpoint, agent: Agent, draw: random.Random, deadline: float) -> None:
    """Loop without a pause, as an agent does whose stop condition never comes true."""
    refused = 0
    while refused < REFUSALS_IN_A_ROW and time.monotonic() < deadline:
        scopes = agent.payer(draw).scopes
        payer = Payer({name: scopes[name] for name in ("org", "team", "agent", "user")})
        body = chat_body("Try again until it works. " + _SENTENCE * 3, max_tokens=900)
        record = endpoint.call(Order(payer, SONNET, body))
        refused = 0 if record.is_answered else refused + 1


def _orders(agent: Agent, draw: random.Random) -> Iterator[Order]:
    for number in range(_CALLS):
        if agent.kind is Kind.STRANGER:
            yield _strange_order(agent, draw, number)
        elif agent.kind is Kind.RESEARCHER:
            yield _research_order(agent, draw)
        else:
            yield _steady_order(agent, draw, number)


def _research_order(agent: Agent, draw: random.Random) -> Order:
    """Ask the dearest model at length, with a tool that the soft cap takes away."""
    text = _SENTENCE * draw.randint(2, 12)
    scopes = {name: value for name, value in agent.payer(draw).scopes.items() if name != "task"}
    tools = [_WEB_SEARCH, _LOOKUP] if draw.random() < 0.5 else []
    body = chat_body(text, max_tokens=draw.choice((600, 800, 1200)), tools=tools)
    return Order(Payer(scopes), SONNET, body)


def _steady_order(agent: Agent, draw: random.Random, number: int) -> Order:
    payer = agent.payer(draw)
    if number % 9 == 4:
        return Order(payer, GTE, {"input": [_SENTENCE, _SENTENCE * draw.randint(1, 6)]})
    text = _SENTENCE * draw.randint(1, 25)
    model = draw.choice(_MODELS)
    simulate: dict[str, object] = {}
    tools: list[JsonObject] = []
    prompt: object = text
    if number % 7 == 3:
        text, tools = f"Use the tool. {text}", [_LOOKUP]
        prompt = text
    elif number % 7 == 5:
        # A long front part that the provider keeps, and bills at its own rates.
        marked = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        prompt = [marked, {"type": "text", "text": _SENTENCE}]
    elif number % 11 == 10:
        simulate = {"status": 429}
    max_tokens = draw.choice((None, None, 120, 400, 900))
    body = chat_body(prompt, max_tokens=max_tokens, tools=tools)
    if draw.random() < 0.1:
        body["n"] = 2
    return Order(payer, model, body, simulate)


def _strange_order(agent: Agent, draw: random.Random, number: int) -> Order:
    """Call as nobody who has a budget, or a model that has no price."""
    body = chat_body(_SENTENCE, max_tokens=200)
    if number % 2:
        return Order(Payer({"org": "unknown-company"}), HAIKU, body)
    return Order(agent.payer(draw), UNPRICED, body)
