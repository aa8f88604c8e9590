"""Lakebase's connections are encrypted, and a server that offers no TLS is refused."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.integration.ledger.test_lakebase import ENDPOINT, Workspace, settings
from tests.integration.ledger.tls_door import TlsDoor
from tests.workspace.stand_in import CLIENT_SECRET

from spendgate.bootstrap import open_ledger
from spendgate.domain.event import Charge
from spendgate.domain.reservation import Settlement
from spendgate.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.integration.ledger.conftest import Till

OpenDoor = Callable[[Path | None], TlsDoor]


@pytest.fixture
def workspace(postgres: "PostgresServer", monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    made = Workspace(postgres)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A server's key and the certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lakebase.example")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "server.pem"
    path.write_bytes(secret + signed.public_bytes(pem))
    return path


@pytest.fixture
def open_door(postgres: "PostgresServer", workspace: Workspace) -> Iterator[OpenDoor]:
    """Put a door in front of the server, and let the workspace name its address."""
    opened: list[TlsDoor] = []

    def open_one(certificate: Path | None) -> TlsDoor:
        opened.append(TlsDoor(f"{postgres.folder}/.s.PGSQL.5432", certificate))
        workspace.state.lakebase[ENDPOINT] = opened[-1].address
        return opened[-1]

    yield open_one
    for door in opened:
        door.close()


@pytest.fixture
def url(postgres: "PostgresServer", workspace: Workspace) -> str:
    """A Lakebase URL of an empty database."""
    name = postgres.new_database().split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    postgres.run(f"ALTER DATABASE {name} OWNER TO {workspace.role}")
    return f"lakebase://{ENDPOINT}?database={name}&user={workspace.role}"


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_every_connection_of_a_lakebase_ledger_is_encrypted(
    workspace: Workspace, open_door: OpenDoor, certificate: Path, url: str, till: "Till"
) -> None:
    door = open_door(certificate)
    till.budget("day", "user:ann", 100)

    ledger = open_ledger(settings(url))
    ledger.policies.put_budgets(till.ledger.policies.policy().budgets)
    ledger.reserve([till.request("h#1", 60)])
    ledger.settle([Settlement("h#1", Charge(cost_nano=5), till.noon)])
    spent = [row.spent_nano for row in ledger.balances()]
    problems = ledger.audit().problems
    ledger.close()

    assert (spent, problems) == ([5], ())
    assert len(door.encrypted) == len(workspace.tokens) >= 3
    assert set(door.encrypted) <= {"TLSv1.2", "TLSv1.3"}
    assert door.plain == 0


def test_a_lakebase_server_without_tls_is_refused_before_it_gets_the_token(
    workspace: Workspace, open_door: OpenDoor, url: str
) -> None:
    door = open_door(None)

    with pytest.raises(LedgerUnavailableError, match="does not support SSL") as caught:
        open_ledger(settings(url))

    said = str(caught.value)
    assert door.address in said
    assert not [one for one in (*workspace.tokens, CLIENT_SECRET) if one in said]
    assert len(said.splitlines()) == 1
    assert (door.declined > 0, door.plain, door.heard_unencrypted) == (True, 0, b"")
