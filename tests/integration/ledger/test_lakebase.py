"""Lakebase through the unmodified SDK: a workspace on loopback mints tokens that a real server asks
for as passwords."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from spendgate.adapters.lakebase import (
    LakebaseAddress,
    LakebaseParameters,
    parse_lakebase_url,
)
from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.postgres_store import PostgresStore, PostgresTerms
from spendgate.adapters.workspace import workspace_client
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.decision import Granted, Refused
from spendgate.domain.event import Charge
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import AlreadyReserved, Settlement
from spendgate.errors import HostError, LedgerUnavailableError

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.integration.ledger.conftest import Till

    OpenTill = Callable[..., Till]

ENDPOINT = "projects/spend/branches/production/endpoints/primary"
CLIENT_ID = "0000-service-principal"


class Workspace:
    """OAuth, the endpoint's host and database tokens, as the REST API answers them."""

    def __init__(self, server: "PostgresServer") -> None:
        self.role = f"sp{os.urandom(4).hex()}"
        self.tokens: list[str] = []
        self.refuses = False
        self.host: str | None = str(server.folder)
        self.answers = threading.Event()
        self.answers.set()
        self._server = server
        server.ask_for_passwords_of(self.role, "never used")
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*workspace.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(*workspace.post(self.path, body, dict(self.headers)))

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/.well-known/databricks-config":
            return 200, {"oidc_endpoint": f"{self.url}/oidc"}
        if path == "/oidc/.well-known/oauth-authorization-server":
            return 200, {
                "authorization_endpoint": f"{self.url}/oidc/v1/authorize",
                "token_endpoint": f"{self.url}/oidc/v1/token",
            }
        if path == f"/api/2.0/postgres/{ENDPOINT}":
            return 200, {"name": ENDPOINT, "status": {"hosts": {"host": self.host}}}
        return 404, {"error_code": "NOT_FOUND", "message": f"there is no {path}"}

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path == "/oidc/v1/token":
            self.answers.wait(60)
            return 200, {"access_token": "oauth", "token_type": "Bearer", "expires_in": 3600}
        if (
            path == "/api/2.0/postgres/credentials"
            and headers.get("Authorization") == "Bearer oauth"
        ):
            if self.refuses:
                return 403, {"error_code": "PERMISSION_DENIED", "message": "not on this project"}
            assert json.loads(body)["endpoint"] == ENDPOINT
            return 200, {"token": self._mint(), "expire_time": "2030-01-01T00:00:00Z"}
        return 404, {"error_code": "NOT_FOUND", "message": f"there is no {path}"}

    def _mint(self) -> str:
        """Make a token that the database takes, and none before it any more."""
        token = f"token-{os.urandom(8).hex()}"
        self._server.run(f"ALTER ROLE {self.role} PASSWORD '{token}'")
        self.tokens.append(token)
        return token

    def close(self) -> None:
        self.answers.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def workspace(postgres: "PostgresServer") -> Iterator[Workspace]:
    made = Workspace(postgres)
    yield made
    made.close()


@pytest.fixture
def database(postgres: "PostgresServer", workspace: Workspace) -> str:
    """A database whose owner is the service principal; returns its name."""
    name = postgres.new_database().split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    postgres.run(f"ALTER DATABASE {name} OWNER TO {workspace.role}")
    return name


@pytest.fixture
def credentials(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of a host holds."""
    monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "sp-secret")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", os.devnull)


def settings(url: str, **more: object) -> Settings:
    return Settings.model_validate({"ledger_url": url, "ledger_timeout_seconds": 2, **more})


@pytest.mark.usefixtures("credentials")
def test_a_ledger_opens_with_a_token_of_the_service_principal(
    workspace: Workspace, database: str
) -> None:
    url = f"lakebase://{ENDPOINT}?database={database}&user={workspace.role}"

    ledger = open_ledger(settings(url))

    assert len(ledger.ledger_id) == 32
    assert len(workspace.tokens) == 1
    ledger.close()


@pytest.mark.usefixtures("credentials")
def test_each_new_connection_has_a_token_of_its_own(workspace: Workspace, database: str) -> None:
    url = f"lakebase://{ENDPOINT}?database={database}&user={workspace.role}"
    ledger = open_ledger(settings(url, ledger_connection_seconds=0.000001))

    for _ in range(3):
        ledger.policy_version()  # the connection is renewed, the old token would be refused

    assert len(set(workspace.tokens)) >= 4
    ledger.close()


@pytest.mark.usefixtures("credentials")
def test_a_workspace_that_refuses_is_unavailable_and_shows_no_secret(
    workspace: Workspace, database: str
) -> None:
    workspace.refuses = True

    with pytest.raises(LedgerUnavailableError) as caught:
        open_ledger(settings(f"lakebase://{ENDPOINT}?database={database}"))

    assert "not on this project" in str(caught.value)
    assert "sp-secret" not in str(caught.value)


@pytest.mark.usefixtures("credentials")
def test_an_endpoint_without_a_host_is_unavailable(workspace: Workspace) -> None:
    workspace.host = None

    with pytest.raises(LedgerUnavailableError, match="no host"):
        open_ledger(settings(f"lakebase://{ENDPOINT}"))


@pytest.mark.usefixtures("credentials")
def test_the_user_defaults_to_the_service_principal() -> None:
    found = LakebaseParameters(LakebaseAddress(ENDPOINT), lambda: workspace_client(2))()

    assert found["user"] == CLIENT_ID
    assert found["dbname"] == "databricks_postgres"
    assert found["sslmode"] == "require"


def test_a_workspace_that_is_down_is_unavailable_soon(workspace: Workspace) -> None:
    workspace.close()
    client = WorkspaceClient(
        config=Config(
            host=workspace.url, token="t", http_timeout_seconds=1, retry_timeout_seconds=1
        )
    )

    with pytest.raises(LedgerUnavailableError, match="no token for Lakebase"):
        LakebaseParameters(LakebaseAddress(ENDPOINT, user="u"), lambda: client)()

    workspace._http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    workspace._thread = threading.Thread(target=workspace._http.serve_forever, daemon=True)
    workspace._thread.start()


@pytest.mark.usefixtures("credentials")
def test_a_token_server_that_hangs_is_unavailable_and_found_again(workspace: Workspace) -> None:
    workspace.answers.clear()
    parameters = LakebaseParameters(
        LakebaseAddress(ENDPOINT), lambda: workspace_client(30), timeout_seconds=0.2
    )

    with pytest.raises(LedgerUnavailableError, match=r"no answer within 0\.2 s"):
        parameters()

    patient = LakebaseParameters(LakebaseAddress(ENDPOINT), lambda: workspace_client(30))
    workspace.answers.set()
    assert patient()["user"] == CLIENT_ID


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DATABRICKS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", os.devnull)

    with pytest.raises(LedgerUnavailableError, match="DATABRICKS_CLIENT_SECRET"):
        open_ledger(settings(f"lakebase://{ENDPOINT}?user=u"))


@pytest.mark.usefixtures("credentials")
def test_an_injected_client_serves_the_ledger_too(workspace: Workspace, database: str) -> None:
    made: list[WorkspaceClient] = []

    def make() -> WorkspaceClient:
        made.append(workspace_client(2))
        return made[-1]

    address = LakebaseAddress(ENDPOINT, database, workspace.role)
    store = PostgresStore(LakebaseParameters(address, make), PostgresTerms(timeout_seconds=2))
    ledger = PostgresLedger(store)

    assert ledger.policy_version() == 1
    assert len(made) == 1
    ledger.close()


@pytest.mark.parametrize(
    "wrong",
    [
        "lakebase://projects/p/branches/b",
        "lakebase://projects/p/branches/b/endpoints/e/more",
        "lakebase://host/databricks_postgres",
        f"lakebase://{ENDPOINT}?password=x",
        f"lakebase://ann:x@{ENDPOINT}",
    ],
)
def test_another_form_of_url_is_refused(wrong: str) -> None:
    with pytest.raises(HostError, match="lakebase://projects/P"):
        parse_lakebase_url(wrong)


def test_a_url_names_endpoint_database_and_role() -> None:
    parse: Callable[[str], LakebaseAddress] = parse_lakebase_url

    assert parse(f"lakebase://{ENDPOINT}?database=d&user=r%40x") == LakebaseAddress(
        ENDPOINT, "d", "r@x"
    )
    assert parse(f"lakebase://{ENDPOINT}") == LakebaseAddress(ENDPOINT, "databricks_postgres")


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_scenario_15_token_is_expired_and_connections_are_cut_between_reserve_and_settle(
    workspace: Workspace, database: str, postgres: "PostgresServer", open_till: "OpenTill"
) -> None:
    ledger = open_ledger(
        settings(f"lakebase://{ENDPOINT}?database={database}&user={workspace.role}")
    )
    till = open_till(place=postgres.url(database))
    till.budget("day", "user:ann", 100)
    first, second = till.request("h#1", 60), till.request("h#2", 60)
    (granted,) = ledger.reserve([first])
    minted = len(workspace.tokens)

    postgres.run(f"ALTER ROLE {workspace.role} PASSWORD 'another'")  # the hour is over
    postgres.run(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{workspace.role}'"
    )
    again, refused = ledger.reserve([first, second])
    (settled,) = ledger.settle([Settlement("h#1", Charge(cost_nano=5), till.noon)])

    assert isinstance(granted, Granted)
    assert again == AlreadyReserved(HoldState.HELD, 60, 0, "m")
    assert isinstance(refused, Refused)
    assert (settled.moved, settled.charged_nano) == (True, 5)
    assert len(workspace.tokens) > minted
    assert till.totals("day") == (5, 0)
    ledger.close()
