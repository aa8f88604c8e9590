"""Settings that are JSON: a wrong one names its variable and the form, never its value."""

import os

import pytest

from spendgate.cli.options import settings_from
from spendgate.config import Settings
from spendgate.errors import HostError
from spendgate.jobs import entry
from spendgate.web.environment import settings_environment

LIST = 'must be a JSON list of texts such as ["a", "b"]'
MAPPING = 'must be a JSON object of texts such as {"a": "b"}'
WRONG = [
    ("SPENDGATE_PRICE_OVERLAYS", "hunter2", LIST),
    ("SPENDGATE_PRICE_OVERLAYS", "", LIST),
    ("SPENDGATE_PRICE_OVERLAYS", '{"hunter2": "a"}', LIST),
    ("SPENDGATE_WORKSPACE_IDS", "123", LIST),
    ("SPENDGATE_WORKSPACE_IDS", "[123]", LIST),
    ("SPENDGATE_WORKSPACE_IDS", '"hunter2"', LIST),
    ("SPENDGATE_REQUESTER_SCOPES", "hunter2", MAPPING),
    ("SPENDGATE_REQUESTER_SCOPES", '["hunter2"]', MAPPING),
    ("SPENDGATE_REQUESTER_SCOPES", '{"hunter2": 1}', MAPPING),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("SPENDGATE_", "BUDGET_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(("variable", "value", "form"), WRONG)
def test_a_command_names_the_variable_and_the_form(
    variable: str, value: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(HostError) as told:
        settings_from(None)

    assert str(told.value) == f"{variable}: {form}"


@pytest.mark.parametrize(("variable", "value", "form"), WRONG)
def test_a_job_names_the_variable_and_the_form(
    variable: str, value: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(HostError) as told:
        entry.main(["setup"])

    assert str(told.value) == f"these settings can't be used: {variable}: {form}"


def test_a_job_names_what_was_set_as_it_was_set() -> None:
    with pytest.raises(HostError) as told:
        entry.main(["setup", "--set", "workspace_ids=hunter2"])

    assert str(told.value) == f"these settings can't be used: workspace_ids: {LIST}"


def test_json_is_read_from_the_environment_and_written_back_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPENDGATE_WORKSPACE_IDS", '["1", "2"]')
    monkeypatch.setenv("SPENDGATE_REQUESTER_SCOPES", '{"Some-App": "agent:bot"}')

    for name, value in settings_environment(Settings()).items():
        monkeypatch.setenv(name, value)
    again = Settings()

    assert again.workspace_ids == ("1", "2")
    assert again.requester_scopes == {"Some-App": "agent:bot"}


def test_code_gives_a_list_a_tuple_or_a_dict() -> None:
    given = {"price_overlays": ["recipe"], "workspace_ids": ("1",), "requester_scopes": {"a": "b"}}

    settings = Settings.model_validate(given)

    assert settings.price_overlays == ("recipe",)
    assert settings.workspace_ids == ("1",)
    assert settings.requester_scopes == {"a": "b"}
