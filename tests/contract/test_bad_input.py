"""Bad bodies and headers on every route of both hosts: a 4xx that names the place.

Nothing that was sent comes back, and nothing is held afterwards.
"""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

pytestmark = pytest.mark.server

CANARY = "the canary sings"
MODEL = "databricks-claude-haiku-4-5"
EMBEDDER = "databricks-gte-large-en"
MESSAGES = [{"role": "user", "content": CANARY}]
CHAT = {"model": MODEL, "messages": MESSAGES, "max_tokens": 5}
RESPONSE = {"model": MODEL, "input": CANARY, "max_output_tokens": 5}
EMBEDDING = {"model": EMBEDDER, "input": [CANARY]}
HOLD = "/api/holds/hold-1.1"


@dataclass(frozen=True)
class Door:
    """A route of a host, and a body that it takes."""

    host: str
    path: str
    good: dict[str, Any]
    pays: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_recipe(self) -> bool:
        return self.path in {"/agent/chat", "/api/chat"}

    def __str__(self) -> str:
        return f"{self.host}{self.path}{'-stream' if self.good.get('stream') else ''}"


DOORS = [
    Door("app", "/v1/chat/completions", CHAT),
    Door("app", "/v1/chat/completions", {**CHAT, "stream": True}),
    Door("app", "/v1/responses", RESPONSE),
    Door("app", "/v1/embeddings", EMBEDDING),
    Door("app", "/agent/chat", CHAT),
    Door("app", "/api/chat", CHAT),
    Door("app", "/api/holds", CHAT),
    Door("app", "/api/holds", RESPONSE),
    Door("app", f"{HOLD}/settle", {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}, False),
    Door("app", f"{HOLD}/void", {}, False),
    Door("app", "/api/tokens/narrow", {"task": "t"}, False),
    Door("serve", "/invocations", CHAT),
    Door("serve", "/invocations", {**CHAT, "stream": True}),
    Door("serve", "/invocations", RESPONSE),
    Door("serve", "/invocations", EMBEDDING),
]
DOORS_TO_MODELS = [one for one in DOORS if one.pays]


@pytest.fixture(scope="module")
def send(app_url: str, endpoint_url: str) -> Iterator[Any]:
    urls = {"app": app_url.removesuffix("/v1"), "serve": endpoint_url}
    with httpx.Client(timeout=60) as client:

        def post(door: Door, content: bytes, **headers: str) -> httpx.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            json_headers = {"content-type": "application/json"}
            if door.host == "app":
                json_headers["x-spend-user"] = "rich"
            url = urls[door.host] + door.path
            return client.post(url, content=content, headers={**json_headers, **named})

        yield post


def assert_told(answer: httpx.Response, door: Door, status: int, place: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert CANARY not in answer.text
    if door.is_recipe:  # their form has no place for it but the text
        body = answer.json()
        assert body.get("details") or body["message"]
        return
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (place, "invalid_request_error")
    assert error["message"]


def test_every_route_that_takes_a_body_is_tried_here(app_url: str) -> None:
    """But the administration and the webhooks, which this host has switched off."""
    url = app_url.removesuffix("/v1")
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    posts = [path for path, operations in paths.items() if "post" in operations]
    open_paths = {path for path in posts if "_disabled" not in httpx.post(url + path, json={}).text}

    tried = {one.path.replace("hold-1.1", "{hold_id}") for one in DOORS}
    assert open_paths <= tried


def test_a_void_needs_no_body(send: Any) -> None:
    door = next(one for one in DOORS if one.path.endswith("/void"))

    assert send(door, b"").json()["error"]["code"] == "hold_not_found"


DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
BROKEN = {
    "no JSON": (b"the canary sings", 400, "body"),
    "cut off": (b'{"messages": [{"role": "user", "content": "the canary', 400, "body"),
    "two documents": (b"{}{}", 400, "body"),
    "no object": (b'["the canary sings"]', 400, "body"),
    "a text": (b'"the canary sings"', 400, "body"),
    "null": (b"null", 400, "body"),
    "deep": (DEEP, 400, "body"),
    "deep arrays": (b'{"messages":' + b"[" * 20_000, 400, "body"),
    "no number": (b'{"top_p": NaN}', 400, "top_p"),
    "infinite": (b'{"a": {"b": [1, 1e999]}}', 400, "a.b[1]"),
    "a number of digits": (b'{"n": ' + b"9" * 10_000 + b"}", 400, "body"),
    "UTF-16": ('{"model": "the canary sings"}'.encode("utf-16"), 400, "body"),
    "Latin-1": (b'{"model": "\xe9t\xe9"}', 400, "body"),
    "a null byte": (b'{"model": "a\0b"}', 400, "body"),
    "too large": (b'{"model": "' + b"a" * (17 * 1024 * 1024) + b'"}', 413, "body"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("door", DOORS, ids=str)
def test_a_body_that_is_no_request_is_told(send: Any, door: Door, broken: str) -> None:
    content, status, place = BROKEN[broken]

    assert_told(send(door, content), door, status, place)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "gzip"),
    ],
)
@pytest.mark.parametrize("door", DOORS, ids=str)
def test_a_body_in_another_form_is_told(send: Any, door: Door, header: str, value: str) -> None:
    place = "content-type" if header == "content-type" else "body"

    answer = send(door, json.dumps(door.good).encode(), **{header: value})

    assert_told(answer, door, 415, place)


OURS: dict[str, tuple[Any, str]] = {
    "a number": (7, "custom_inputs"),
    "a list": ([CANARY], "custom_inputs"),
    "unknown": ({"agnet": CANARY}, "custom_inputs.agnet"),
    "a user that is none": ({"user": 7}, "custom_inputs.user"),
    "a user on two lines": ({"user": f"rich\r\nX-Spend-User: {CANARY}"}, "custom_inputs.user"),
    "everybody": ({"user": "*"}, "custom_inputs.user"),
    "a long user": ({"user": "a" * 5000}, "custom_inputs.user"),
    "tags of a kind": ({"tags": ["a"]}, "custom_inputs.tags"),
    "a tag of a kind": ({"tags": {"a": 1}}, "tags.a"),
    "many tags": ({"tags": {f"t{n}": "a" for n in range(99)}}, "custom_inputs.tags"),
    "a key of a kind": ({"idempotency_key": ["a"]}, "custom_inputs.idempotency_key"),
    "a key on two lines": ({"idempotency_key": "a\nb"}, "custom_inputs.idempotency_key"),
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("door", [one for one in DOORS if "tokens" not in one.path], ids=str)
def test_a_wrong_word_about_who_pays_is_told(send: Any, door: Door, name: str) -> None:
    own, place = OURS[name]

    answer = send(door, json.dumps({**door.good, "custom_inputs": own}).encode())

    assert_told(answer, door, 400, place)


WRONG: dict[str, list[tuple[Any, str]]] = {
    "model": [(7, "model"), ("", "model"), ("a\r\nb", "model"), ("a" * 300, "model")],
    "messages": [
        (CANARY, "messages"),
        ([], "messages"),
        ([CANARY], "messages[0]"),
        ([{"content": "a"}], "messages[0].role"),
        ([{"role": 7, "content": "a"}], "messages[0].role"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": [7]}], "messages[0].content[0]"),
    ],
    "input": [(7, "input"), ({"a": 1}, "input"), ([], "input"), ([None], "input[0]")],
    "max_tokens": [("many", "max_tokens"), (-1, "max_tokens"), (1.5, "max_tokens")],
    "max_output_tokens": [(True, "max_output_tokens"), (10**9, "max_output_tokens")],
    "tools": [(CANARY, "tools"), ([7], "tools[0]")],
    "n": [(0, "n"), ("two", "n"), (1000, "n")],
    "temperature": [("hot", "temperature"), ([1], "temperature")],
    "response_format": [("json", "response_format")],
    "stop": [(7, "stop")],
    "stream": [("yes", "stream"), (1, "stream")],
    "stream_options": [([], "stream_options")],
    "instructions": [([CANARY], "instructions")],
    "text": [(CANARY, "text")],
}
BY_KIND = {
    "messages": [name for name in WRONG if name not in {"input", "instructions", "text"}],
    "input": [name for name in WRONG if name != "messages"],
}
EMBEDDINGS_TAKE = {"model", "input", "temperature", "response_format", "stream", "stop"}


def wrong_fields() -> list[Any]:
    cases: list[Any] = []
    for door in DOORS_TO_MODELS:
        kind = "messages" if "messages" in door.good else "input"
        names = [
            name
            for name in BY_KIND[kind]
            if not (door.good is EMBEDDING and name not in EMBEDDINGS_TAKE)
            and not (name.startswith("stream") and door.good.get("stream"))
        ]
        for name in names:
            for index, (value, place) in enumerate(WRONG[name]):
                case = pytest.param(door, name, value, place, id=f"{door}-{name}-{index}")
                cases.append(case)
    return cases


@pytest.mark.parametrize(("door", "name", "value", "place"), wrong_fields())
def test_a_field_of_the_wrong_kind_is_told(
    send: Any, door: Door, name: str, value: Any, place: str
) -> None:
    own = {"custom_inputs": {"user": "rich"}}

    answer = send(door, json.dumps({**door.good, **own, name: value}).encode())

    assert_told(answer, door, 400, place)


@pytest.mark.parametrize("door", DOORS_TO_MODELS, ids=str)
def test_a_token_where_nobody_signs_is_refused_and_never_repeated(send: Any, door: Door) -> None:
    for token in ("eyJhbGciOiJub25lIn0.eyJ1c2VyIjoicmljaCJ9.", CANARY):
        body = {**door.good, "custom_inputs": {"user": "rich", "spend_token": token}}
        answer = send(door, json.dumps(body).encode())
        assert answer.status_code == 401
        assert token not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        b"/api/holds/hold-1.1%0d%0aX-Injected:%20yes/settle",
        b"/api/holds/hold-1.1%00/void",
        b"/api/holds/..%2f..%2fapi%2fbudgets/void",
        b"/api/holds/%F0%9F%92%B8/void",
        b"/v1/models/a%0d%0aX-Injected:%20yes",
    ],
)
def test_a_path_injects_nothing(app_url: str, path: bytes) -> None:
    method = b"GET" if b"models" in path else b"POST"
    parts = urlsplit(app_url)
    request = method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    request += b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as link:
        link.sendall(request)
        answer = b"".join(iter(lambda: link.recv(65_536), b""))
    head = answer.partition(b"\r\n\r\n")[0]

    assert int(head.split()[1]) in {400, 404}
    assert b"x-injected" not in head.lower()


def test_nothing_is_held_after_all_that(app_url: str, endpoint_url: str) -> None:
    body = {**CHAT, "custom_inputs": {"model": MODEL, "user": "rich"}}

    for url in (f"{app_url}/chat/completions", f"{endpoint_url}/invocations"):
        spend = httpx.post(url, json=body, timeout=60).json()["spend"]
        assert float(spend["budgets"][0]["held_usd"]) == 0
