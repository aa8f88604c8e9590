"""LangGraph's graphs against the simulator: each model call of each node is a step."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import RetryPolicy
from tests.integration.library.chat_model import chat_model
from tests.integration.library.conftest import spent_usd

from spendgate import BudgetExceededError, Budgets
from spendgate.library.langchain import SpendHandler

Billed = Callable[[], Decimal]
HELLO: Any = {"messages": [HumanMessage("hello")]}
USE_THE_TOOL = "use the tool"
"""What the simulator answers with a call of the first tool."""


@pytest.fixture
def model(simulator: str) -> ChatOpenAI:
    """Give a model of whose calls the budget `tiny` pays for one, and no second one."""
    return chat_model(simulator, 60, extra_body={"simulate": {"output_tokens": 60}})


@pytest.fixture
def calls(simulator: str) -> Callable[[], int]:
    return lambda: httpx.get(f"{simulator}/bill").json()["requests"]


def node(model: Any, *handlers: SpendHandler) -> Any:
    """Return a node that asks a model, with handlers of its own or else the graph's."""

    def ask(state: MessagesState) -> dict[str, Any]:
        answer = model.invoke(state["messages"], config={"callbacks": list(handlers)})
        return {"messages": [answer]}

    return ask if handlers else lambda state: {"messages": [model.invoke(state["messages"])]}


def task(model: Any) -> Any:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def in_turn(first: Any, second: Any, **more: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("plan", first)
    graph.add_node("write", second, **more)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "write")
    graph.add_edge("write", END)
    return graph.compile()


def test_each_nodes_call_is_charged_once_to_its_own_agent(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int]
) -> None:
    planner, writer = SpendHandler(budgets, agent="a"), SpendHandler(budgets, agent="b")

    told = in_turn(node(model, planner), node(model, writer)).invoke(HELLO)

    assert [one.type for one in told["messages"]] == ["human", "ai", "ai"]
    assert calls() == 2
    spent = {row.scope_value: row.spent_nano for row in budgets._host.ledger.balances()}
    assert 0 < spent["a"] < spent["b"]  # the second call reads the first one's answer
    assert spent_usd(budgets) == billed_usd()


def test_a_handler_of_the_graph_hears_of_each_node_once(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int]
) -> None:
    handler = SpendHandler(budgets, agent="a")
    graph = in_turn(node(model), node(model, handler))  # one of them names it a second time

    graph.invoke(HELLO, config={"callbacks": [handler]})

    assert calls() == 2
    assert spent_usd(budgets) == billed_usd() > 0


def test_a_nodes_own_handler_takes_the_place_of_the_graphs(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed
) -> None:
    graph = in_turn(node(model), node(model, SpendHandler(budgets, agent="b")))

    graph.invoke(HELLO, config={"callbacks": [SpendHandler(budgets, agent="a")]})

    spent = {row.scope_value: row.spent_nano for row in budgets._host.ledger.balances()}
    assert 0 < spent["a"] < spent["b"]
    assert spent_usd(budgets) == billed_usd()


def test_a_refusal_in_the_second_node_is_raised_and_nothing_is_sent(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int]
) -> None:
    graph = in_turn(node(model), node(model))

    with pytest.raises(BudgetExceededError, match="budget 'tiny'") as refused:
        graph.invoke(HELLO, config={"callbacks": [SpendHandler(budgets, agent="tiny")]})

    assert (refused.value.code, refused.value.budget["budget_id"]) == ("budget_exhausted", "tiny")
    assert calls() == 1
    assert Decimal("0.0009") <= spent_usd(budgets, "tiny") == billed_usd() < Decimal("0.002")


def test_nodes_that_run_at_once_are_charged_like_others(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int]
) -> None:
    graph = StateGraph(MessagesState)
    for name in ("one", "two", "three"):
        graph.add_node(name, node(model))
        graph.add_edge(START, name)
        graph.add_edge(name, END)

    graph.compile().invoke(HELLO, config={"callbacks": [SpendHandler(budgets, agent="a")]})

    assert calls() == 3
    assert spent_usd(budgets) == billed_usd() > 0


@pytest.mark.parametrize("mode", ["updates", "messages"])
def test_a_streamed_graph_of_tasks_is_charged_like_others(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int], mode: Any
) -> None:
    graph = in_turn(task(model), task(model))
    config: Any = {"callbacks": [SpendHandler(budgets, agent="a")]}

    async def run() -> list[Any]:
        return [one async for one in graph.astream(HELLO, config=config, stream_mode=mode)]

    told = asyncio.run(run())

    assert len(told) == 2 if mode == "updates" else len(told) > 10  # a piece for each token
    assert calls() == 2
    assert spent_usd(budgets) == billed_usd() > 0


def test_a_streamed_graph_raises_the_refusal_after_what_was_paid_for(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int]
) -> None:
    graph = in_turn(task(model), task(model))
    config: Any = {"callbacks": [SpendHandler(budgets, agent="tiny")]}
    told: list[str] = []

    async def run() -> None:
        async for one in graph.astream(HELLO, config=config):
            told.extend(one)

    with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
        asyncio.run(run())

    assert told == ["plan"]
    assert calls() == 1
    assert spent_usd(budgets, "tiny") == billed_usd() > 0


def test_a_loop_of_tool_calls_stops_when_the_budget_is_gone(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int]
) -> None:
    asked: list[str] = []

    @tool
    def look_up(word: str) -> str:
        """Look a word up."""
        asked.append(word)
        return "nothing found"

    def insist(state: MessagesState) -> dict[str, Any]:
        return {"messages": [HumanMessage(f"{USE_THE_TOOL} again")]}

    graph = StateGraph(MessagesState)
    thinking = model.bind_tools([look_up]).bind(extra_body={})
    graph.add_node("think", node(thinking))
    graph.add_node("tools", ToolNode([look_up]))
    graph.add_node("insist", insist)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "insist")
    graph.add_edge("insist", "think")
    config: Any = {
        "callbacks": [SpendHandler(budgets, agent="looping")],
        "recursion_limit": 1_000,
    }

    with pytest.raises(BudgetExceededError, match="budget 'looping'"):
        graph.compile().invoke({"messages": [HumanMessage(USE_THE_TOOL)]}, config=config)

    assert len(asked) == calls() > 1  # each call that was paid for asked for the tool
    assert 0 < spent_usd(budgets, "looping") == billed_usd() <= Decimal("0.02")


def test_a_loop_that_ends_by_itself_costs_its_two_calls(
    budgets: Budgets, model: ChatOpenAI, billed_usd: Billed, calls: Callable[[], int]
) -> None:
    @tool
    def look_up(word: str) -> str:
        """Look a word up."""
        return "nothing found"

    graph = StateGraph(MessagesState)
    graph.add_node("think", node(model.bind_tools([look_up])))
    graph.add_node("tools", ToolNode([look_up]))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")

    told = graph.compile().invoke(
        {"messages": [HumanMessage(USE_THE_TOOL)]},
        config={"callbacks": [SpendHandler(budgets, agent="a")]},
    )

    assert [one.type for one in told["messages"]] == ["human", "ai", "tool", "ai"]
    assert calls() == 2
    assert spent_usd(budgets) == billed_usd() > 0


def test_a_retry_of_a_node_is_a_step_of_its_own(
    budgets: Budgets, model: ChatOpenAI, calls: Callable[[], int]
) -> None:
    broken = model.bind(extra_body={"simulate": {"status": 500}})
    policy = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3, retry_on=Exception)
    graph = in_turn(lambda state: {}, node(broken), retry_policy=policy)

    # The first attempt is charged in full, because the model may have run; the next ones find
    # the budget empty.
    with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
        graph.invoke(HELLO, config={"callbacks": [SpendHandler(budgets, agent="tiny")]})

    assert calls() == 1
    assert Decimal("0.0009") < spent_usd(budgets, "tiny") <= Decimal("0.002")
