"""The OpenAPI document by itself: who asks, which headers are read, and that it holds together."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.openapi_operations import operations_of, resolved

from spendgate.adapters.signed_webhook import HEADERS
from spendgate.app.host import MODEL_CALLS
from spendgate.app.openapi import openapi_document
from spendgate.app.webhook_routes import SIGNATURE
from spendgate.domain.scope import Dimension

SOURCE = Path(__file__).parents[2] / "src/spendgate"
READERS = ("app", "web", "gateway")
NAMED_BY_CONSTANTS = {*HEADERS, SIGNATURE, *(f"x-spend-{one.value}" for one in Dimension)}
TRANSPORT = {"authorization", "content-type", "content-length", "content-encoding"}
"""OpenAPI tells of these by `security` and `requestBody`."""


def document() -> Any:
    return json.loads(json.dumps(openapi_document()))


def literals_read(tree: ast.AST) -> Iterator[str]:
    """Find names in `headers.get("…")`, `headers["…"]` and `"…" in headers`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="get", value=of), args=[ast.Constant(name), *_]):
                pass
            case ast.Subscript(value=of, slice=ast.Constant(name), ctx=ast.Load()):
                pass
            case ast.Compare(left=ast.Constant(name), ops=[ast.In()], comparators=[of]):
                pass
            case _:
                continue
        if isinstance(name, str) and ast.unparse(of).rpartition(".")[2] == "headers":
            yield name


def test_every_header_that_is_read_is_in_the_document_and_no_other() -> None:
    files = [path for name in READERS for path in (SOURCE / name).rglob("*.py")]
    read = {name for one in files for name in literals_read(ast.parse(one.read_text("utf-8")))}
    assert read >= {"idempotency-key", "x-actor", "if-match", "x-spend-token", "authorization"}

    told = {name for one in operations_of(document()) for name in one.headers}
    schemes = document()["components"]["securitySchemes"].values()
    told |= {one["name"].lower() for one in schemes if one["type"] == "apiKey"}

    assert (read | NAMED_BY_CONSTANTS) - TRANSPORT == told


def test_every_operation_says_what_token_it_needs_and_every_scheme_is_used() -> None:
    operations = operations_of(document())  # a missing word is a KeyError

    used = {name for one in operations for name in one.schemes}
    assert used == document()["components"]["securitySchemes"].keys()
    assert "security" not in document()  # a default would hide a missing word


def test_a_call_needs_a_token_only_where_the_gate_has_a_key() -> None:
    calls = [one for one in operations_of(document()) if one.path in MODEL_CALLS]

    assert len(calls) == len(MODEL_CALLS)
    for one in calls:
        assert set(one.security) == {(), ("spend_token",), ("x_spend_token",)}, str(one)


def test_administration_needs_the_administrators_token() -> None:
    others = ("/api/chat", "/api/holds", "/api/tokens", "/api/health")
    administration = [
        one
        for one in operations_of(document())
        if one.path.startswith("/api/") and not one.path.startswith(others)
    ]

    assert len(administration) >= 16
    for one in administration:
        assert ("admin",) in one.security, str(one)
        assert not one.needs_no_token, str(one)


def test_every_reference_leads_somewhere() -> None:
    whole = document()

    def check(node: Any) -> int:
        if isinstance(node, dict):
            found = int("$ref" in node and bool(resolved(whole, node)))
            return found + sum(check(one) for one in node.values())
        return sum(check(one) for one in node) if isinstance(node, list) else 0

    assert check(whole) > 100
