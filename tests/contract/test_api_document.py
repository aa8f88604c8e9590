"""The running app reads the headers and tokens that its OpenAPI document names, and no others.

A header is read where a bad value of it changes the answer. With a signing key and no spend token
nothing is ever held; bodies of the administration are wrong after what is asked here.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.contract.running_app import App, running
from tests.contract.test_api_fuzzed import ADMIN, HELICONE_SECRET, SECRET, WEBHOOKS, signed
from tests.contract.test_bad_input import CHAT, EMBEDDING, RESPONSE
from tests.openapi_operations import Operation, operations_of

METRICS = "a token of the metrics page"
BUDGETS = "budgets: [{id: all, scope: all, limit_usd: 1000}]"
SETTINGS = {
    "SPENDGATE_SIGNING_KEY": "a signing key of at least 32 characters",
    "SPENDGATE_ADMIN_TOKEN": ADMIN,
    "SPENDGATE_METRICS_TOKEN": METRICS,
    "SPENDGATE_HELICONE_WEBHOOK_SECRET": HELICONE_SECRET,
    "SPENDGATE_WEBHOOK_SECRET": SECRET,
}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSE,
    "/v1/embeddings": EMBEDDING,
    "/agent/chat": CHAT,
    "/api/chat": CHAT,
    "/api/holds": CHAT,
    "/api/budget": {"scopeType": "user", "scopeKey": "zoe", "monthlyLimit": 5},
}
ASSERTED = {
    **{
        f"x-spend-{name}": ("ann", "*")
        for name in ("org", "team", "agent", "user", "session", "task")
    },
    "idempotency-key": ("k", "k" * 256),
    "x-actor": ("ann", "a" * 101),
    "if-match": (None, '"another"'),
}
"""Of each header a value that changes nothing, and one that does where it is read."""
NAMING = {
    ("POST", "/api/budgets/{budget_id}/raise"): {"amount_usd": "1", "reason": "a test"},
    ("POST", "/api/requests"): {"budget_id": "all", "amount_usd": "1", "reason": "a test"},
}
"""Where any idempotency key is good: it names what is asked."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    home = tmp_path_factory.mktemp("document")
    with running(home, simulator, budgets=BUDGETS, workers=1, **SETTINGS) as app:
        yield app


@pytest.fixture(scope="module")
def client(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.url, timeout=30) as client:
        # Its later answers are alike only where it is no news.
        client.post("/api/budget", json=BODIES["/api/budget"], headers=bearer(ADMIN))
        yield client


@pytest.fixture(scope="module")
def operations(client: httpx.Client) -> list[Operation]:
    return operations_of(client.get("/openapi.json").json())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def answer(
    client: httpx.Client, operation: Operation, headers: dict[str, str], **more: Any
) -> tuple[int, object]:
    """Ask, and return what doesn't differ between two equal requests."""
    path = operation.path.replace("{model}", CHAT["model"]).replace("{hold_id}", "hold-1.1")
    path = path.replace("{budget_id}", "all").replace("{request_id}", "none")
    body = {} if operation.method == "GET" else {"json": BODIES.get(operation.path, {})}
    told = client.request(operation.method, path, headers=headers, **{**body, **more})
    if told.status_code < 400:
        return told.status_code, None
    return told.status_code, [told.json().get(name) for name in ("error", "message", "details")]


def administrators(operation: Operation) -> dict[str, str]:
    return bearer(ADMIN) if "admin" in operation.schemes else {}


@pytest.mark.parametrize("name", ASSERTED)
def test_a_header_is_in_the_document_where_it_is_read(
    client: httpx.Client, operations: list[Operation], name: str
) -> None:
    good, bad = ASSERTED[name]
    wrong: list[str] = []
    for one in operations:
        if name == "idempotency-key" and (one.method, one.path) in NAMING:
            continue
        given = administrators(one)
        if name != "if-match":
            given["If-Match"] = '"another"'  # so that nothing is changed
        before = answer(client, one, {**given, **({} if good is None else {name: good})})
        is_read = answer(client, one, {**given, name: bad}) != before
        if is_read != (name in one.headers):
            wrong.append(f"{one}: {'read' if is_read else 'not read'}")
    assert wrong == []
    assert any(name in one.headers for one in operations)


def test_an_idempotency_key_names_what_is_asked(
    client: httpx.Client, operations: list[Operation]
) -> None:
    for one in operations:
        body = NAMING.get((one.method, one.path))
        if body is None:
            continue
        url, key = one.path.replace("{budget_id}", "all"), {"Idempotency-Key": "again"}

        def asked(url: str = url, body: Any = body, **more: str) -> httpx.Response:
            return client.post(url, json=body, headers={**bearer(ADMIN), **more})

        first, again, other = asked(**key), asked(**key), asked()
        assert first.status_code == other.status_code == 201
        assert again.status_code == 409 or again.json() == first.json()
        assert "idempotency-key" in one.headers, str(one)


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [("spend_token", bearer("eyJx")), ("x_spend_token", {"X-Spend-Token": "eyJx"})],
)
def test_a_spend_token_is_in_the_document_where_it_is_read(
    client: httpx.Client, operations: list[Operation], scheme: str, headers: dict[str, str]
) -> None:
    wrong: list[str] = []
    for one in operations:
        told = answer(client, one, headers)
        if (told != answer(client, one, {})) != (scheme in one.schemes):
            wrong.append(f"{one}: {told}")
    assert wrong == []


@pytest.mark.parametrize(("scheme", "token"), [("admin", ADMIN), ("metrics", METRICS)])
def test_another_token_opens_what_the_document_says(
    app: App, client: httpx.Client, operations: list[Operation], scheme: str, token: str
) -> None:
    for one in operations:
        opened = (answer(client, one, {})[0], answer(client, one, bearer(token))[0] == 401)
        assert (opened == (401, False)) == (scheme in one.schemes), str(one)


def test_what_needs_no_token_isnt_refused_for_one(
    tmp_path_factory: pytest.TempPathFactory, simulator: str
) -> None:
    home = tmp_path_factory.mktemp("keyless")
    with (
        running(home, simulator, budgets=BUDGETS, workers=1) as app,
        httpx.Client(base_url=app.url, timeout=30) as client,
    ):
        for one in operations_of(client.get("/openapi.json").json()):
            is_refused = answer(client, one, {})[0] in {401, 403}
            is_signed = one.path in WEBHOOKS  # their signature is a required header
            assert is_refused != one.needs_no_token or is_signed, str(one)


@pytest.mark.parametrize("path", WEBHOOKS)
def test_each_header_of_a_webhook_is_needed(
    client: httpx.Client, operations: list[Operation], path: str
) -> None:
    (one,) = [one for one in operations if one.path == path]
    content = b'{"scopeType": "user", "scopeKey": "ann", "cost": 1, "requestId": "r"}'
    if path == "/webhooks/usage":
        content = b'{"scope": "user:ann", "cost_usd": 1}'
    headers = signed(content, "document-1")
    assert client.post(path, content=content, headers=headers).status_code == 200

    for name in one.headers:
        without = {key: value for key, value in headers.items() if key != name}
        assert client.post(path, content=content, headers=without).status_code == 401, name
    assert one.headers == headers.keys() - {"Content-Type"} - other_webhooks(path)


def other_webhooks(path: str) -> set[str]:
    usage = {"webhook-id", "webhook-timestamp", "webhook-signature"}
    return {"helicone-signature"} if path == "/webhooks/usage" else usage
