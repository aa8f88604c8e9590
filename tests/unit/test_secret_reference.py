"""Secrets that a policy refers to; an error names no place and nothing of what was found."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spendgate.adapters.secret_reference import read_secret
from spendgate.errors import CredentialsError


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A workspace that has one secret, `money/url`; yields what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            is_known = self.path.endswith("scope=money&key=url") or self.path.endswith(
                "key=url&scope=money"
            )
            value = base64.b64encode(b"https://bills.example/x\n").decode()
            found = {"key": "url", "value": value}
            missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no s3cret"}
            data = json.dumps(found if is_known else missing).encode()
            self.send_response(200 if is_known else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-test")
    yield asked
    server.shutdown()
    server.server_close()


def test_a_secret_is_read_from_where_its_reference_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workspace: list[str]
) -> None:
    file = tmp_path / "place"
    file.write_text(" json://x \n")
    monkeypatch.setenv("PLACE", "json://y")

    assert read_secret(f"file:{file}", "it").get_secret_value() == "json://x"
    assert read_secret("env:PLACE", "it").get_secret_value() == "json://y"
    assert read_secret("secret:money/url", "it").get_secret_value() == "https://bills.example/x"
    assert workspace[-1].startswith("/api/2.0/secrets/get?")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env:S3CRET_UNSET", "it: its environment variable isn't set"),
        ("file:/nowhere/s3cret", "it: its file can't be read: No such file or directory"),
        ("file:BINARY", "it: its file isn't text"),
        ("file:EMPTY", "it: is empty or no single line of text"),
        ("secret:money/s3cret", "it: the workspace doesn't give its secret: ResourceDoesNotExist"),
    ],
)
def test_a_secret_that_cant_be_read_is_told_without_its_place(
    tmp_path: Path, workspace: list[str], reference: str, said: str
) -> None:
    for name, content in (("BINARY", b"\xff\xfe"), ("EMPTY", b" \n")):
        (tmp_path / name).write_bytes(content)
        reference = reference.replace(f"file:{name}", f"file:{tmp_path / name}")

    with pytest.raises(CredentialsError) as caught:
        read_secret(reference, "it")

    assert str(caught.value) == said
