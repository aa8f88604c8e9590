"""The guard of the administration: who gets past it, and that no token at all opens nothing."""

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from spendgate.app.admin import AdminGuard

PATH = "/api/budgets"


async def _administration(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("inside")


def guarded(token: str | None) -> TestClient:
    inside = Starlette(routes=[Route(PATH, _administration)])
    secret = None if token is None else SecretStr(token)
    return TestClient(AdminGuard(inside, secret, open_paths=set(), by_spend_token={}))


@pytest.mark.parametrize("token", [None, ""])
@pytest.mark.parametrize("sent", [None, "", "Bearer ", "Bearer", "bearer  ", "Bearer x"])
def test_without_a_token_or_with_an_empty_one_administration_is_off(
    token: str | None, sent: str | None
) -> None:
    headers = {} if sent is None else {"authorization": sent}

    answer = guarded(token).get(PATH, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_disabled")


def test_the_token_opens_it_and_nothing_else_does() -> None:
    client = guarded("right")

    statuses = [
        client.get(PATH, headers={"authorization": sent}).status_code
        for sent in ("Bearer right", "Bearer wrong", "Bearer ", "Basic right")
    ]

    assert statuses == [200, 401, 401, 401]
