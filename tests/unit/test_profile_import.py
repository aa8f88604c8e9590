"""The recipes' camelCase profiles: read as budgets, or refused with profile and field."""

import json

import pytest

from spendgate.adapters.profile_import import import_profiles
from spendgate.domain.budget import DowngradeStep
from spendgate.domain.window import parse_window
from spendgate.errors import PolicyError

PROFILE: dict[str, object] = {"scopeType": "agent", "scopeKey": "support-bot", "limit": 50}


def imported(**fields: object) -> str:
    return json.dumps([PROFILE | fields])


def test_a_full_profile_becomes_a_budget_that_people_own() -> None:
    text = imported(
        window="day",
        softCap=0.7,
        hardCap=0.9,
        autoDowngrade=[{"from": ["big"], "to": "small"}],
        disableTools=["web_search"],
        alerts=[0.5, 0.9],
    )

    (budget,) = import_profiles(text)

    assert budget.scope.text == "agent:support-bot"
    assert budget.limit_nano == 50 * 10**9
    assert budget.window == parse_window("day")
    assert (budget.soft_cap_ppm, budget.hard_cap_ppm) == (700_000, 900_000)
    assert budget.auto_downgrade == (DowngradeStep(("big",), "small"),)
    assert budget.disable_tools == ("web_search",)
    assert budget.source == "people"


def test_profiles_may_be_wrapped_in_an_object() -> None:
    assert len(import_profiles(json.dumps({"profiles": [PROFILE]}))) == 1


def test_a_fraction_of_a_dollar_is_read_exactly() -> None:
    (budget,) = import_profiles('[{"scopeType": "org", "scopeKey": "a", "limit": 0.123456789}]')

    assert budget.limit_nano == 123_456_789


@pytest.mark.parametrize(
    ("fields", "window"),
    [
        ({}, "month"),
        ({"period": "daily"}, "day"),
        ({"period": "week"}, "week"),
        ({"window": "day", "period": "daily"}, "day"),
        ({"window": {"rolling": "24h"}}, "rolling:24h"),
    ],
)
def test_the_window_goes_by_several_names(fields: dict[str, object], window: str) -> None:
    (budget,) = import_profiles(imported(**fields))

    assert budget.window == parse_window(window)


def test_a_limit_may_imply_its_window() -> None:
    text = '[{"scopeType": "user", "scopeKey": "*", "dailyLimit": 5}]'

    (budget,) = import_profiles(text)

    assert budget.window == parse_window("day")
    assert budget.budget_id == "user-@every-day"


def test_a_profile_is_named_after_what_it_covers_so_that_it_replaces_itself() -> None:
    (first,), (again,) = (import_profiles(imported(limit=limit)) for limit in (50, 60))

    assert first.budget_id == again.budget_id == "agent-support-bot-month"


def test_keys_that_look_alike_as_ids_stay_apart() -> None:
    texts = [imported(scopeKey=key) for key in ("a b", "a/b", "a-b", "every", "@every", "*")]

    assert len({import_profiles(text)[0].budget_id for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON"),
        ("{}", "must be a list of profiles"),
        ("[]", "must be a list of profiles"),
        ("[1]", "profile #1: must be an object"),
        ("[" * 100_000, "profiles: "),
        (imported(scopeType="planet"), "scopeType: 'planet' is unknown; known are org, team"),
        (imported(scopeType=["org"]), "scopeType: \"['org']\" is unknown"),
        ('[{"scopeType": "org", "limit": 1}]', "scopeKey: is required"),
        ('[{"scopeType": "org", "scopeKey": "a"}]', "limit: name exactly one of"),
        (imported(monthlyLimit=3), "limit: name exactly one of"),
        (imported(window="day", period="month"), "window: day and month contradict each other"),
        (imported(softCaps=0.5), "softCaps: unknown key; did you mean softCap?"),
        (imported(limit=True), "limit_usd: must be a number"),
        (imported(softCap=1.5), "soft_cap: 1.5 is above hard_cap 1.0"),
        (imported(id=7), "id: must be text"),
    ],
)
def test_a_wrong_profile_is_named_with_its_problem(text: str, problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        import_profiles(text)

    assert problem in str(caught.value)


def test_all_wrong_profiles_are_told_at_once() -> None:
    text = json.dumps([PROFILE | {"limit": 0}, PROFILE | {"scopeType": "x"}, PROFILE, PROFILE])

    with pytest.raises(PolicyError) as caught:
        import_profiles(text)

    starts = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert starts == ["profile #1", "profile #2", "profiles"]
