"""Places that alerts go to: real HTTP, HTTPS and SMTP servers on loopback."""

import json
import socket
import ssl
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Received:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # whatever was sent
        return json.loads(self.body)


@dataclass
class Place:
    """A web server that keeps what it gets and answers with a status."""

    status: int = 200
    answer: bytes = b"ok"
    location: str | None = None
    received: list[Received] = field(default_factory=list[Received])
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


def serve(place: Place, context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            place.received.append(Received(self.path, headers, self.rfile.read(length)))
            self.send_response(place.status)
            self.send_header("content-length", str(len(place.answer)))
            if place.location is not None:
                self.send_header("location", place.location)
            self.end_headers()
            self.wfile.write(place.answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    place.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextmanager
def running(one: Place, context: ssl.SSLContext | None = None) -> Generator[Place]:
    server = serve(one, context)
    yield one
    server.shutdown()
    server.server_close()


@pytest.fixture
def place() -> Iterator[Place]:
    with running(Place()) as one:
        yield one


@pytest.fixture
def other_place() -> Iterator[Place]:
    with running(Place()) as one:
        yield one


@pytest.fixture
def tls_place(tmp_path: Path) -> Iterator[Place]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with running(Place(scheme="https"), context) as one:
        yield one


class _Mailbox(MessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.mails.append(message)


@dataclass
class Mailbox:
    """A mail server that keeps what it gets."""

    port: int
    mails: list[Message]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    handler = _Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield Mailbox(port, handler.mails)
    controller.stop()
