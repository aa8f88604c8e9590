"""The shipped router example: loaded as it is and run against the simulator."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spendgate.adapters.policy_yaml import read_yaml_file

if TYPE_CHECKING:
    from tests.integration.upstreams.conftest import OpenedHost

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "dbrx-mixtral.yml"
LOCAL = "http://127.0.0.1:9900"
DBRX, MIXTRAL = "databricks-dbrx-instruct", "databricks-mixtral-8x7b-instruct"
WAYS = ["threads", "event loop"]


def described(primary: str, fallback: str) -> Any:
    """Return the file with the simulators' ports in the place of its own."""
    policy: Any = read_yaml_file(EXAMPLE)
    for name, url in (("primary", primary), ("fallback", fallback)):
        assert policy["upstreams"][name]["url"] == f"{LOCAL}/v1"
        policy["upstreams"][name]["url"] = f"{url}/v1"
    for budget in policy["budgets"]:
        budget["alerts"] = [float(one) for one in budget["alerts"]]
    return policy


def calls(count: int, **fields: Any) -> list[dict[str, Any]]:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100, **fields}
    return [{"model": "auto", **body}] * count


@pytest.mark.parametrize("way", WAYS)
def test_dbrx_serves_while_it_answers(
    open_host: Callable[..., "OpenedHost"], simulator: Any, way: str
) -> None:
    with simulator() as primary, simulator() as fallback:
        host = open_host(described(primary.url, fallback.url))

        replies = host.ask(way, calls(6))

        assert primary.bill()["by_model"].keys() == {DBRX}
        assert fallback.bill()["requests"] == 0
        assert primary.bill()["total_nano_usd"] == host.spent_nano
    assert {reply.status for reply in replies} == {200}


@pytest.mark.parametrize("model", ["auto", DBRX])
@pytest.mark.parametrize("status", [404, 429, 500])
def test_mixtral_stands_in_when_dbrx_fails(
    open_host: Callable[..., "OpenedHost"], simulator: Any, status: int, model: str
) -> None:
    with simulator(simulate={"status": status}) as primary, simulator() as fallback:
        host = open_host(described(primary.url, fallback.url))

        (reply,) = host.ask("threads", calls(1, model=model))

        billed = fallback.bill()
        assert primary.bill()["total_nano_usd"] == 0
    spend: Any = reply.body["spend"]
    assert (reply.status, spend["model_served"]) == (200, MIXTRAL)
    assert billed["by_model"].keys() == {MIXTRAL}
    # A 500 may have been billed, so it is charged until evidence corrects it.
    failed, served = host.events()
    assert (failed.cost_nano > 0) == (status == 500)
    assert served.cost_nano == billed["total_nano_usd"]


def test_mixtral_stands_in_when_the_day_no_longer_affords_dbrx(
    open_host: Callable[..., "OpenedHost"], simulator: Any
) -> None:
    with simulator() as primary, simulator() as fallback:
        policy = described(primary.url, fallback.url)
        policy["budgets"][0]["limit_usd"] = 0.0003
        host = open_host(policy)

        served = [host.ask("threads", calls(1))[0] for _ in range(12)]

        bill = primary.bill()["total_nano_usd"] + fallback.bill()["total_nano_usd"]
        assert fallback.bill()["calls"] > 0
    assert served[-1].status == 402
    assert bill == host.spent_nano <= 300_000


def test_the_day_s_alerts_are_those_of_the_recipe(open_host: Callable[..., "OpenedHost"]) -> None:
    host = open_host(described(LOCAL, LOCAL))

    (budget,) = host.ledger.policies.policy().budgets

    assert budget.alerts_ppm == (500_000, 750_000, 900_000)
    assert (budget.limit_nano, str(budget.window.kind)) == (10 * 10**9, "day")


def test_the_recipe_s_own_prices_can_be_taken(
    open_host: Callable[..., "OpenedHost"], simulator: Any
) -> None:
    with simulator() as only:
        host = open_host(described(only.url, only.url), price_overlays=("recipe",))

        (reply,) = host.ask("threads", calls(1, simulate={"output_tokens": 10}))

    (event,) = host.events()
    usage = event.charge.usage
    assert usage is not None
    assert event.cost_nano == usage.input_tokens * 500 + usage.output_tokens * 1000
    assert reply.status == 200
