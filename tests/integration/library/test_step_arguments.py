"""What a step can't be made of is refused by its name, before any money is held."""

from typing import Any

import pytest
from tests.integration.library.conftest import MESSAGES, SONNET

from spendgate import Budgets
from spendgate.errors import InvalidRequestError


class Answer:
    """An object of a client's, such as a message that it answered."""


@pytest.mark.parametrize(
    ("request_", "place", "kind"),
    [
        ({"messages": [*MESSAGES, Answer()]}, "messages[1]", "Answer"),
        ({"messages": [{"role": "user", "content": {1}}]}, "messages[0].content", "set"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": b"x"}]}]},
            "messages[0].content[0].text",
            "bytes",
        ),
        ({"messages": MESSAGES, "metadata": {"who": Answer()}}, "metadata.who", "Answer"),
        ({"messages": MESSAGES, "response_format": Answer}, "response_format", "the class Answer"),
    ],
)
def test_what_is_not_json_is_refused_by_its_place_and_type(
    budgets: Budgets, request_: dict[str, Any], place: str, kind: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"is no JSON but {kind}") as refused:
        budgets.step(agent="a", model=SONNET, **request_)
    with pytest.raises(InvalidRequestError, match=f"is no JSON but {kind}"):
        budgets.call({"model": SONNET, "custom_inputs": {"agent": "a"}, **request_})

    assert refused.value.field == place


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"tags": ["a"]}, "tags"),
        ({"tags": "ab"}, "tags"),
        ({"messages": 5}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_by_name(
    budgets: Budgets, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"{field} must be an? ") as refused:
        budgets.step(agent="a", model=SONNET, **{"messages": MESSAGES, **arguments})

    assert refused.value.field == field


def test_a_value_of_the_wrong_type_is_called_by_its_type(budgets: Budgets) -> None:
    step = budgets.step(agent="a", model=SONNET, messages=MESSAGES, tools=({"name": "f"},))

    with pytest.raises(InvalidRequestError, match="tools must be a list, not tuple"), step:
        pass
