"""The settings: where they come from and which name wins."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from spendgate.config import Settings


def test_our_name_wins_over_the_recipes_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1111")
    monkeypatch.setenv("SPENDGATE_PORT", "2222")

    assert Settings().port == 2222


def test_the_recipes_names_fill_what_ours_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("DATABRICKS_API_KEY", "secret-key")
    monkeypatch.setenv("BUDGET_DEFAULT_LIMIT", "25")

    settings = Settings()

    assert settings.upstream_url == "http://127.0.0.1:1/v1"
    assert settings.upstream_api_key is not None
    assert settings.upstream_api_key.get_secret_value() == "secret-key"
    assert settings.budget_default_limit == 25


def test_a_bare_field_name_in_the_environment_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("HOME", "/somewhere")

    settings = Settings()

    assert settings.upstream_url is None
    assert settings.home == Path(".spendgate/home")


def test_settings_are_given_by_their_own_names_in_code() -> None:
    assert Settings(port=9000, upstream_url="http://127.0.0.1:1").port == 9000


def test_secrets_do_not_print() -> None:
    settings = Settings.model_validate({"signing_key": "very-secret", "upstream_api_key": "also"})

    assert "very-secret" not in repr(settings)
    assert "also" not in repr(settings)


@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "soon"])
def test_a_time_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPENDGATE_UPSTREAM_TIMEOUT_SECONDS", value)

    with pytest.raises(ValidationError, match="upstream_timeout_seconds"):
        Settings()


@pytest.mark.parametrize("variable", ["SPENDGATE_UPSTREAM_URL", "DATABRICKS_BASE_URL"])
def test_credentials_in_the_upstream_url_are_refused_and_not_printed(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://me:hunter2@127.0.0.1:1/v1")

    with pytest.raises(ValidationError, match="SPENDGATE_UPSTREAM_API_KEY") as told:
        Settings()

    assert "hunter2" not in str(told.value)
