"""Lakebase through the unmodified SDK: a workspace on loopback mints tokens that a real server asks
for as passwords."""

import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from tests.workspace.stand_in import CLIENT_SECRET, Request
from tests.workspace.stand_in import Workspace as StandIn

from spendgate.adapters import lakebase
from spendgate.adapters.lakebase import (
    LakebaseAddress,
    LakebaseParameters,
    parse_lakebase_url,
)
from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.postgres_store import PostgresStore, PostgresTerms
from spendgate.adapters.workspace import workspace_client
from spendgate.bootstrap import open_ledger, shown_ledger
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


class Workspace(StandIn):
    """The stand-in, whose database tokens a real server takes as passwords."""

    def __init__(self, server: "PostgresServer") -> None:
        super().__init__()
        self.role = f"sp{os.urandom(4).hex()}"
        self.tokens: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
        self.state.lakebase[ENDPOINT] = str(server.folder)
        self.mint = self._mint
        self.before = self._wait
        self._server = server
        server.ask_for_passwords_of(self.role, "never used")

    def _wait(self, request: Request) -> None:
        if request.path == "/oidc/v1/token":
            self.answers.wait(60)

    def _mint(self) -> str:
        """Make a token that the database takes, and none before it any more."""
        token = f"token-{os.urandom(8).hex()}"
        self._server.run(f"ALTER ROLE {self.role} PASSWORD '{token}'")
        self.tokens.append(token)
        return token

    def close(self) -> None:
        self.answers.set()
        super().close()


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
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", CLIENT_SECRET)
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
    workspace.state.denied.add("/api/2.0/postgres/credentials")

    with pytest.raises(LedgerUnavailableError) as caught:
        open_ledger(settings(f"lakebase://{ENDPOINT}?database={database}"))

    assert "you may not" in str(caught.value)
    assert CLIENT_SECRET not in str(caught.value)


@pytest.mark.usefixtures("credentials")
def test_an_endpoint_without_a_host_is_unavailable(workspace: Workspace) -> None:
    workspace.state.lakebase[ENDPOINT] = ""

    with pytest.raises(LedgerUnavailableError, match="no host"):
        open_ledger(settings(f"lakebase://{ENDPOINT}"))


@pytest.mark.usefixtures("credentials")
def test_the_user_defaults_to_the_service_principal() -> None:
    found = LakebaseParameters(LakebaseAddress(ENDPOINT), lambda: workspace_client(2))()

    assert found["user"] == CLIENT_ID
    assert found["dbname"] == "databricks_postgres"
    assert found["sslmode"] == "require"


@pytest.mark.usefixtures("credentials")
def test_an_endpoint_that_moved_is_found_at_its_new_host_in_five_minutes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(lakebase, "time", SimpleNamespace(monotonic=lambda: clock.now))
    parameters = LakebaseParameters(LakebaseAddress(ENDPOINT), lambda: workspace_client(2))
    old = parameters()["host"]
    workspace.state.lakebase[ENDPOINT] = "moved.example"

    clock.now += 299
    assert parameters()["host"] == old
    clock.now += 2
    assert parameters()["host"] == "moved.example"


def test_a_workspace_that_is_down_is_unavailable_soon(workspace: Workspace) -> None:
    workspace.close()
    client = WorkspaceClient(
        config=Config(
            host=workspace.url, token="t", http_timeout_seconds=1, retry_timeout_seconds=1
        )
    )

    with pytest.raises(LedgerUnavailableError, match="no token for Lakebase"):
        LakebaseParameters(LakebaseAddress(ENDPOINT, user="u"), lambda: client)()


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


def test_a_url_can_be_a_secret_of_the_workspace(
    workspace: Workspace, postgres: "PostgresServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in workspace.environment().items():
        monkeypatch.setenv(name, value)
    workspace.state.scopes["money"] = {"ledger-url": postgres.new_database()}

    ledger = open_ledger(settings("secret:money/ledger-url"))
    assert ledger.policy_version() == 1
    ledger.close()

    with pytest.raises(LedgerUnavailableError, match="the ledger's URL: the workspace doesn't"):
        open_ledger(settings("secret:money/another"))
    assert shown_ledger(settings("secret:money/ledger-url")) == "secret:money/ledger-url"


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
