"""`doctor --workspace` against the stand-in: one line per missing thing, with what mends it."""

import json
from collections.abc import Callable, Iterator

import pytest
from tests.bundle.documents import TARGETS, USERS, bundle_of, read_documents
from tests.workspace.stand_in import Workspace
from typer.testing import CliRunner

from spendgate.cli.checks import Check, Status
from spendgate.cli.program import make_program
from spendgate.cli.workspace_checks import run_workspace_checks
from spendgate.cli.workspace_names import Choices, Target, deployment_of

PRINCIPAL = "0a1b2c3d-0000-4000-8000-000000000000"
LAKEBASE = "projects/spendgate-dev-4711/branches/production/endpoints/primary"
CHOICES = Choices(service_principal=PRINCIPAL)


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace that has all that a deploy needs and makes."""
    made = Workspace()
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    state = made.state
    state.privileges["main", "tester@acme.com"] = ["ALL_PRIVILEGES"]
    state.privileges["main", PRINCIPAL] = ["USE_CATALOG"]
    state.scopes["spendgate-credentials"] = {"client-secret": "s"}
    made_keys = ("signing-key", "admin-token", "workspace-host")
    state.scopes["spendgate-dev-tester"] = dict.fromkeys(made_keys, "x")
    state.warehouses["1"] = "Serverless Starter Warehouse"
    model = {"name": "databricks-claude-haiku-4-5", "task": "llm/v1/chat"}
    state.endpoints["databricks-claude-haiku-4-5"] = model
    ready = {"name": "dev_tester_spendgate", "state": {"ready": "READY"}}
    state.endpoints["dev_tester_spendgate"] = ready
    state.lakebase[LAKEBASE] = "db.example"
    yield made
    made.close()


def bad(found: list[Check]) -> list[Check]:
    """Return what isn't well, but for this machine's CLI."""
    return [one for one in found if one.status is not Status.OK and one.name != "databricks cli"]


def test_a_workspace_that_has_everything_is_well(workspace: Workspace):
    assert bad(run_workspace_checks(CHOICES)) == []
    assert not [one for one in workspace.requests if one.method not in {"GET", "POST"}]
    assert [one.path for one in workspace.requests if one.method == "POST"] == [
        "/api/2.0/postgres/credentials"
    ]


Mishap = Callable[[Workspace], object]
MISHAPS: dict[str, tuple[Mishap, str, str, Status]] = {
    "no catalog": (
        lambda w: w.state.catalogs.clear(),
        "catalog",
        "databricks catalogs create main",
        Status.FAIL,
    ),
    "no grant for the principal": (
        lambda w: w.state.privileges.pop(("main", PRINCIPAL)),
        "grants",
        "databricks grants update catalog main",
        Status.WARN,
    ),
    "no grant for anybody": (
        lambda w: w.state.privileges.clear(),
        "grants",
        '"add": ["CREATE_SCHEMA"]',
        Status.FAIL,
    ),
    "no scope": (
        lambda w: w.state.scopes.pop("spendgate-credentials"),
        "credentials scope",
        "databricks secrets create-scope spendgate-credentials",
        Status.FAIL,
    ),
    "no secret": (
        lambda w: w.state.scopes["spendgate-credentials"].clear(),
        "credentials scope",
        "databricks secrets put-secret spendgate-credentials client-secret",
        Status.FAIL,
    ),
    "no scope of the bundle yet": (
        lambda w: w.state.scopes.pop("spendgate-dev-tester"),
        "secret scope",
        "databricks bundle deploy",
        Status.WARN,
    ),
    "no signing key": (
        lambda w: w.state.scopes["spendgate-dev-tester"].pop("signing-key"),
        "secret scope",
        "databricks bundle run -t dev setup",
        Status.FAIL,
    ),
    "no warehouse": (
        lambda w: w.state.warehouses.update({"1": "another"}),
        "warehouse",
        "BUNDLE_VAR_warehouse_id",
        Status.FAIL,
    ),
    "no models": (
        lambda w: w.state.endpoints.pop("databricks-claude-haiku-4-5"),
        "models",
        "query model endpoints",
        Status.FAIL,
    ),
    "a model without a price": (
        lambda w: w.state.endpoints.update(x={"name": "x", "task": "llm/v1/chat"}),
        "models",
        "spendgate price set",
        Status.WARN,
    ),
    "no Lakebase yet": (
        lambda w: w.state.lakebase.clear(),
        "lakebase",
        "databricks bundle deploy",
        Status.WARN,
    ),
    "a disabled Lakebase": (
        lambda w: w.state.lakebase.update({LAKEBASE: ""}),
        "lakebase",
        "enable the endpoint",
        Status.FAIL,
    ),
    "no endpoint yet": (
        lambda w: w.state.endpoints.pop("dev_tester_spendgate"),
        "endpoint",
        "databricks bundle deploy",
        Status.WARN,
    ),
    "an endpoint that doesn't start": (
        lambda w: w.state.endpoints["dev_tester_spendgate"].update(state={"ready": "NOT_READY"}),
        "endpoint",
        "build-logs dev_tester_spendgate gate",
        Status.FAIL,
    ),
    "a refusal": (
        lambda w: w.state.denied.add("/api/2.0/sql/warehouses"),
        "warehouse",
        "ask an administrator",
        Status.FAIL,
    ),
}


@pytest.mark.parametrize("name", MISHAPS)
def test_what_is_missing_is_one_line_with_the_command_that_mends_it(
    workspace: Workspace, name: str
):
    mishap, check, said, status = MISHAPS[name]
    mishap(workspace)

    found = bad(run_workspace_checks(CHOICES))

    assert {one.name for one in found} == {check}
    assert {one.status for one in found} == {status}
    assert any(said in one.way_out for one in found), found


def test_who_deploys_is_no_service_principal(workspace: Workspace):
    (one,) = bad(run_workspace_checks(Choices()))

    assert (one.name, one.status) == ("service principal", Status.FAIL)
    assert "BUNDLE_VAR_service_principal" in one.way_out


def test_a_missing_profile_and_a_workspace_that_isnt_there_are_told_soon(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")
    unreachable = run_workspace_checks(CHOICES, seconds=2)[-1]
    for name in workspace.environment():
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "nobody")
    missing = run_workspace_checks(CHOICES, seconds=2)[-1]
    monkeypatch.delenv("DATABRICKS_CONFIG_PROFILE")
    nothing = run_workspace_checks(CHOICES, seconds=2)[-1]

    assert [one.status for one in (unreachable, missing, nothing)] == [Status.FAIL] * 3
    assert "databricks auth login" in missing.way_out
    assert "check DATABRICKS_HOST" in unreachable.way_out
    assert "\n" not in missing.detail + unreachable.detail
    assert "has no nobody profile" in missing.detail
    assert nothing.detail == "no profile, or no host and credentials"


def test_the_command_takes_the_bundle_s_own_variables(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BUNDLE_VAR_service_principal", PRINCIPAL)
    monkeypatch.setenv("BUNDLE_VAR_catalog", "elsewhere")

    told = CliRunner().invoke(make_program(), ["doctor", "--workspace", "--json"])

    assert told.exit_code == 1
    (catalog,) = [one for one in json.loads(told.stdout) if one["check"] == "catalog"]
    assert (catalog["status"], catalog["detail"]) == ("fail", "there is no catalog 'elsewhere'")


@pytest.mark.parametrize("target", TARGETS)
def test_the_names_are_those_of_the_bundle(target: str):
    bundle = bundle_of(read_documents(), target)
    user = USERS[target]

    names = deployment_of(Choices(target=Target(target)), user["userName"], user["id"])

    prefix = "dev_tester_" if target == "dev" else ""  # what development mode puts before
    (schema,), (gate,) = bundle.of("schemas"), bundle.of("model_serving_endpoints")
    (scope,), (project,) = bundle.of("secret_scopes"), bundle.of("postgres_projects")
    assert names.tables == f"{schema.value['catalog_name']}.{prefix}{schema.value['name']}"
    assert names.endpoint == f"{prefix}{gate.value['name']}"
    assert names.secret_scope == scope.value["name"]
    assert f"/{project.value['project_id']}/" in names.ledger_url
    assert names.service_principal == user["userName"]
