"""The stand-in answers the databricks-sdk as it is: what the package asks a workspace for."""

import io
from collections.abc import Iterator

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound, PermissionDenied, Unauthenticated
from databricks.sdk.service.catalog import SecurableType
from tests.workspace.stand_in import CLIENT_SECRET, Workspace

from spendgate.adapters.workspace import workspace_client

ENDPOINT = "projects/p/branches/production/endpoints/primary"


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    yield made
    made.close()


@pytest.fixture
def client(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> WorkspaceClient:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
    for name, value in workspace.environment().items():
        monkeypatch.setenv(name, value)
    return workspace_client(5)


def test_secrets_are_kept_and_listed_by_name_alone(workspace: Workspace, client: WorkspaceClient):
    client.secrets.create_scope("s")
    client.secrets.put_secret("s", "k", string_value="v")

    assert [one.key for one in client.secrets.list_secrets("s")] == ["k"]
    assert client.dbutils.secrets.get("s", "k") == "v"
    with pytest.raises(NotFound):
        list(client.secrets.list_secrets("another"))
    (put,) = workspace.asked("POST", "/api/2.0/secrets/put")
    assert put.body == {"scope": "s", "key": "k", "string_value": "v"}


def test_endpoints_are_listed_and_invoked(workspace: Workspace, client: WorkspaceClient):
    workspace.state.endpoints["m"] = {"name": "m", "state": {"ready": "READY"}}
    workspace.invoke = lambda name, request: (200, {"choices": [], "served": name})

    assert [one.name for one in client.serving_endpoints.list()] == ["m"]
    client.serving_endpoints.query("m", dataframe_records=[{"a": 1}])

    (call,) = workspace.asked("POST", "/serving-endpoints/m/invocations")
    assert call.body == {"dataframe_records": [{"a": 1}]}


def test_files_come_back_as_they_were_sent(workspace: Workspace, client: WorkspaceClient):
    client.files.upload("/Volumes/main/s/files/a.csv", io.BytesIO(b"1,2"), overwrite=True)

    contents = client.files.download("/Volumes/main/s/files/a.csv").contents
    assert contents is not None
    assert contents.read() == b"1,2"


def test_a_database_has_a_host_and_credentials(workspace: Workspace, client: WorkspaceClient):
    workspace.state.lakebase[ENDPOINT] = "db.example"

    status = client.postgres.get_endpoint(ENDPOINT).status
    assert status is not None
    assert status.hosts is not None
    assert status.hosts.host == "db.example"
    assert client.postgres.generate_database_credential(ENDPOINT).token == "database-token"


def test_statements_answer_rows(workspace: Workspace, client: WorkspaceClient):
    workspace.statement = lambda text: [[text, None]]

    answer = client.statement_execution.execute_statement("SELECT 1", "warehouse")

    assert answer.result is not None
    assert answer.result.data_array == [["SELECT 1", None]]


def test_grants_warehouses_and_destinations_are_told(workspace: Workspace, client: WorkspaceClient):
    workspace.state.privileges["main", "ann"] = ["USE_CATALOG"]
    workspace.state.warehouses["1"] = "w"
    workspace.state.destinations.append({"id": "d", "display_name": "slack"})

    found = client.grants.get_effective(SecurableType.CATALOG.value, "main", principal="ann")

    assert [one.principal for one in found.privilege_assignments or []] == ["ann"]
    assert [one.name for one in client.warehouses.list()] == ["w"]
    assert [one.display_name for one in client.notification_destinations.list()] == ["slack"]


def test_refusals_are_the_sdk_s_own(
    workspace: Workspace, client: WorkspaceClient, monkeypatch: pytest.MonkeyPatch
):
    workspace.state.denied.add("/api/2.1/unity-catalog")
    with pytest.raises(PermissionDenied):
        client.catalogs.get("main")
    monkeypatch.setenv("DATABRICKS_TOKEN", "another")
    with pytest.raises(Unauthenticated):
        workspace_client(5).current_user.me()


def test_a_service_principal_signs_in_with_its_secret(
    workspace: Workspace, client: WorkspaceClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "id")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", CLIENT_SECRET)

    assert workspace_client(5).current_user.me().user_name == "tester@acme.com"
