"""Whatever is sent to calls, holds and the administration is answered as the document says."""

import base64
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core import NotSet
from tests.contract.running_app import App, running
from tests.contract.test_bad_input import CHAT

from spendgate.app.budget_routes import BudgetRoutes
from spendgate.app.request_routes import RequestRoutes
from spendgate.app.webhook_routes import WebhookKeys, WebhookRoutes
from spendgate.domain.scope import Dimension

ADMIN = "an administrator's token of the tests"
HELICONE_SECRET, SECRET = "helicone's secret", "a secret of the meters"
WEBHOOKS = ("/webhook/helicone", "/webhooks/usage")
BUDGETS = """
budgets:
  - {id: ann, scope: {user: ann}, limit_usd: 0.5}
  - {id: all, scope: all, limit_usd: 1000}
"""
load_all_checks()
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
HELD_TO = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)
SAME_EACH_RUN = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType] - its metaclass is untyped
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    home = tmp_path_factory.mktemp("fuzzed")
    secrets = {
        "SPENDGATE_ADMIN_TOKEN": ADMIN,
        "SPENDGATE_HELICONE_WEBHOOK_SECRET": HELICONE_SECRET,
        "SPENDGATE_WEBHOOK_SECRET": SECRET,
    }
    with running(home, simulator, budgets=BUDGETS, workers=1, **secrets) as app:
        yield app


@pytest.fixture(scope="module")
def document(fuzzed: App) -> Any:
    found = schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")
    return found.include(path_regex="^/(agent|api|v1|webhook)")


def test_any_request_is_answered_as_the_document_says(document: Any) -> None:
    asked: list[str] = []
    for found in document.get_all_operations():
        operation = found.ok()

        # One wish after the other, and the same ones in each run.
        @settings(SAME_EACH_RUN, max_examples=12)
        @given(case=st.one_of(*[operation.as_strategy(generation_mode=mode) for mode in MODES]))
        def answers(case: Any) -> None:
            response = case.call(headers={"Authorization": f"Bearer {ADMIN}"})
            case.validate_response(response, checks=HELD_TO)

        answers()
        asked.append(operation.label)
    assert len(asked) >= 32


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/api/holds"])
def test_headers_that_fit_the_document_are_good_ones(fuzzed: App, document: Any, path: str) -> None:
    operation = document[path]["POST"]
    statuses: list[int] = []
    sent: set[str] = set()

    @settings(SAME_EACH_RUN, max_examples=60)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def answers(case: Any) -> None:
        case.headers.pop("X-Spend-Token", None)  # nobody can check one here
        response = httpx.post(fuzzed.url + path, json=CHAT, headers=dict(case.headers), timeout=30)
        case.validate_response(response, checks=HELD_TO)
        statuses.append(response.status_code)
        sent.update(name.lower() for name in case.headers)

    answers()
    assert set(statuses) <= {200, 409}, statuses  # a key that came before is the same call
    assert statuses.count(200) > 20
    assert sent >= {"idempotency-key", *(f"x-spend-{one.value}" for one in Dimension)}


def signed(body: bytes, name: str) -> dict[str, str]:
    """Return what proves to both webhooks that a body is a meter's own."""
    now = str(int(time.time()))
    digest = hmac.new(SECRET.encode(), f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "helicone-signature": hmac.new(HELICONE_SECRET.encode(), body, hashlib.sha256).hexdigest(),
        "webhook-id": name,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def body_of(case: Any) -> bytes:
    """Return a body as it will be sent, so that it can be signed."""
    if isinstance(case.body, NotSet):
        return b""
    return case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()


@pytest.mark.parametrize("path", WEBHOOKS)
def test_whatever_a_meter_signs_is_answered_as_the_document_says(
    fuzzed: App, document: Any, path: str
) -> None:
    operation = document[path]["POST"]
    numbers = itertools.count()
    statuses: list[int] = []

    @settings(SAME_EACH_RUN, max_examples=60)
    @given(case=st.one_of(*[operation.as_strategy(generation_mode=mode) for mode in MODES]))
    def answers(case: Any) -> None:
        body = body_of(case)
        headers = signed(body, f"fuzz-{next(numbers)}")
        response = httpx.post(f"{fuzzed.url}{path}", content=body, headers=headers, timeout=30)
        case.validate_response(response, checks=HELD_TO)
        statuses.append(response.status_code)

    answers()
    # The signature lets all of it reach the handler, which books some and refuses some.
    assert {200, 400} <= set(statuses)
    assert not {401, 403} & set(statuses)


def test_the_document_names_every_route_of_the_administration(fuzzed: App) -> None:
    paths = httpx.get(f"{fuzzed.url}/openapi.json").json()["paths"]

    def nothing() -> Any:
        pytest.fail("nothing is asked")

    made = (BudgetRoutes(nothing), RequestRoutes(nothing))
    webhooks = WebhookRoutes(WebhookKeys(), nothing, nothing)
    for route in (route for one in (*made, webhooks) for route in one.routes()):
        for method in (route.methods or set()) - {"HEAD"}:
            assert method.lower() in paths[route.path], (method, route.path)
