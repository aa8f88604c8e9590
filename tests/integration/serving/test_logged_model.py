"""The model in its folder, and what a server without our filter gets from it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from spendgate.gateway.reply import error_reply

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel
    from tests.integration.serving.conftest import FakeGateway

CANARY = "the canary sings"


def test_the_model_is_code_with_pinned_requirements(logged_model: Path):
    described = yaml.safe_load((logged_model / "MLmodel").read_text())
    requirements = (logged_model / "requirements.txt").read_text().splitlines()

    assert described["metadata"]["task"] == "llm/v1/chat"
    assert described["flavors"]["python_function"]["loader_module"].endswith("code_model")
    assert requirements[0].startswith("spendgate==")
    assert all("==" in line for line in requirements)
    assert any(line.startswith("pyjwt[crypto]==") for line in requirements)
    assert not any(line.startswith(("pyspark", "pytest")) for line in requirements)


def test_the_signature_asks_for_nothing_and_takes_everything(logged_model: Path):
    described = yaml.safe_load((logged_model / "MLmodel").read_text())
    inputs = json.loads(described["signature"]["inputs"])
    names = [column["name"] for column in inputs]

    assert not any(column["required"] for column in inputs)
    assert {column["type"] for column in inputs[1:]} == {"any"}
    assert (inputs[0]["name"], inputs[0]["type"]) == ("messages", "array")
    assert names[1:] == sorted(set(names[1:]))
    asked = {*CompletionCreateParamsBase.__annotations__, *ResponseCreateParamsBase.__annotations__}
    assert asked <= set(names)  # what isn't listed, MLflow drops


def test_the_same_model_is_not_written_again(tmp_path: Path):
    from spendgate.serving.register import log_served_model  # noqa: PLC0415 - after the quiet import

    path = log_served_model(tmp_path / "model")
    first = (path / "MLmodel").read_text()
    log_served_model(path)
    unchanged = (path / "MLmodel").read_text()
    log_served_model(path, package="spendgate-0.2.0-py3-none-any.whl")
    changed = (path / "requirements.txt").read_text()

    assert unchanged == first
    assert changed.startswith("spendgate-0.2.0-py3-none-any.whl")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_damaged_model_is_replaced(tmp_path: Path):
    from spendgate.serving.register import log_served_model  # noqa: PLC0415 - after the quiet import

    path = tmp_path / "model"
    path.mkdir()
    (path / "MLmodel").write_text("][")

    log_served_model(path)

    assert (path / "model.py").exists()


@pytest.mark.parametrize(
    ("status", "mlflow_code"),
    [
        (400, "INVALID_PARAMETER_VALUE"),
        (401, "UNAUTHENTICATED"),
        (402, "PERMISSION_DENIED"),
        (403, "PERMISSION_DENIED"),
        (409, "INVALID_PARAMETER_VALUE"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL_ERROR"),
        (503, "TEMPORARILY_UNAVAILABLE"),
    ],
)
def test_another_server_gets_a_fitting_error_without_the_prompt(
    pyfunc_model: "PyFuncModel", gateway: "FakeGateway", status: int, mlflow_code: str
):
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - after the quiet import

    gateway.reply = error_reply(status, "some_code", "a message")

    with pytest.raises(MlflowException) as denied:
        pyfunc_model.predict({"messages": [{"role": "user", "content": CANARY}]})

    error = denied.value
    error.message = f"Failed to predict data '{CANARY}'"  # as MLflow's own server does
    assert error.error_code == mlflow_code
    assert error.get_http_status_code() == status
    assert json.loads(error.serialize_as_json()) == gateway.reply.body
    assert CANARY not in f"{error.message}{error}{error!r}{error.serialize_as_json()}"


def test_a_model_that_asks_who_calls_is_logged_with_what_that_needs(tmp_path: Path) -> None:
    from spendgate.serving.register import log_served_model  # noqa: PLC0415 - after the quiet import

    path = tmp_path / "model"
    log_served_model(path)
    plain = yaml.safe_load((path / "MLmodel").read_text())
    log_served_model(path, on_behalf_of_user=True)

    asking = yaml.safe_load((path / "MLmodel").read_text())
    assert "auth_policy" not in plain
    assert asking["auth_policy"]["user_auth_policy"] == {"api_scopes": ["iam.current-user:read"]}
    assert "databricks-ai-bridge==" in (path / "requirements.txt").read_text()
