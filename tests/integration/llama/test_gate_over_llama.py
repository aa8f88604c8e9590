"""The served model in front of llama.cpp: real tokens, real cached tokens, priced to the nano."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import httpx
import pytest

from spendgate.demo.stage import run_command, start_served_model

pytestmark = pytest.mark.server

PRICES = {"--input": "2", "--cache-read": "0.2", "--output": "10"}
LIMIT_USD = "0.05"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, llama_model: str) -> Path:
    home = tmp_path_factory.mktemp("gate-over-llama")
    rows = [{"id": "each-agent", "scope": {"agent": "*"}, "limit_usd": LIMIT_USD, "window": "day"}]
    (home / "budgets.yml").write_text(json.dumps({"budgets": rows}))
    prices = [word for pair in PRICES.items() for word in pair]
    run_command(home, ["price", "set", llama_model, *prices, "--home", str(home)])
    return home


@pytest.fixture(scope="module")
def gate(home: Path, llama_server: str) -> Iterator[httpx.Client]:
    with (
        start_served_model(home, llama_server, home / "budgets.yml") as server,
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client,
    ):
        yield client


def ask(gate: httpx.Client, model: str, agent: str, text: str, **fields: object) -> httpx.Response:
    body = {
        "messages": [{"role": "user", "content": text}],
        "custom_inputs": {"model": model, "agent": agent},
        **fields,
    }
    return gate.post("/invocations", json=body)


def cached_tokens(usage: dict[str, Any]) -> int:
    return usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)


def price_nano(usage: dict[str, Any]) -> int:
    """Price a reported usage by hand, rounded up once."""
    cached = cached_tokens(usage)
    nano = Fraction(usage["prompt_tokens"] - cached) * 2000 + Fraction(cached) * 200
    return ceil(nano + usage["completion_tokens"] * 10_000)


def cost_nano(answer: dict[str, Any]) -> int:
    return int(answer["spend"]["cost_usd"].replace(".", ""))


def test_an_answer_costs_what_its_real_tokens_cost(gate: httpx.Client, llama_model: str) -> None:
    answer = ask(gate, llama_model, "exact", "the agent answers with words", max_tokens=23).json()

    assert answer["usage"]["completion_tokens"] == 23
    assert answer["spend"]["usage_source"] == "reported"
    assert cost_nano(answer) == price_nano(answer["usage"]) > 0


def test_cached_tokens_are_charged_at_their_own_rate(gate: httpx.Client, llama_model: str) -> None:
    prompt = "team task window month spend hold settle refuse " * 4

    answers = [ask(gate, llama_model, "cached", prompt, max_tokens=1).json() for _ in range(3)]

    # The server chooses the slot, so the first answer may find another test's tokens there too.
    best = max(answers, key=lambda one: cached_tokens(one["usage"]))
    uncached = {**best["usage"], "prompt_tokens_details": {"cached_tokens": 0}}
    assert cached_tokens(best["usage"]) > 0
    assert [cost_nano(one) for one in answers] == [price_nano(one["usage"]) for one in answers]
    assert cost_nano(best) < price_nano(uncached)


def test_the_hold_covers_whatever_the_real_tokenizer_makes_of_a_text(
    gate: httpx.Client, llama_model: str
) -> None:
    texts = ["ﷺ" * 40, "🦙" * 40, "żółw " * 30, "0123456789abcdef" * 12, "\x00\x01 ok"]

    for text in texts:
        answer = ask(gate, llama_model, "bound", text, max_tokens=2).json()
        reserved = int(answer["spend"]["reserved_usd"].replace(".", ""))
        assert 0 < cost_nano(answer) <= reserved


def test_a_crowd_stops_at_the_limit_and_the_ledger_agrees_with_every_answer(
    gate: httpx.Client, home: Path, llama_model: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(
                lambda n: ask(gate, llama_model, "crowd", f"ticket {n}", max_tokens=400), range(64)
            )
        )

    admitted = [one.json() for one in replies if one.status_code == 200]
    refused = [one.json()["error"]["code"] for one in replies if one.status_code != 200]
    billed = sum(price_nano(one["usage"]) for one in admitted)
    assert refused
    assert set(refused) <= {"budget_exhausted", "budget_held"}
    assert 0 < billed <= 50_000_000
    shown = json.loads(run_command(home, ["spend", "show", "--json", "--home", str(home)]))
    (standing,) = [row for row in shown if row["scope"] == "agent:crowd"]
    assert standing["spent_usd"] == f"0.{billed:09d}"
