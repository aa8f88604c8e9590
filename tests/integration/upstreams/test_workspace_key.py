"""Workspace OAuth through the unmodified SDK, against a token server on loopback."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from spendgate.adapters.workspace_key import (
    FRESH_SECONDS,
    RENEWAL_SECONDS,
    USABLE_SECONDS,
    WorkspaceKey,
)
from spendgate.errors import CredentialsError

if TYPE_CHECKING:
    from tests.integration.upstreams.conftest import Workspace


class SettableClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def settled(key: WorkspaceKey) -> None:
    """Wait until no fetch is running."""
    for thread in threading.enumerate():
        if thread.name == "spendgate-token":
            thread.join(timeout=10)
    assert key is not None


def test_a_service_principal_gets_a_token_and_keeps_it(workspace: "Workspace") -> None:
    key = WorkspaceKey(None)

    headers = [key() for _ in range(20)]

    assert headers == [{"authorization": f"Bearer {workspace.tokens[0]}"}] * 20
    assert len(workspace.tokens) == 1
    assert key.host == workspace.url


def test_an_expired_token_is_replaced_before_it_is_sent(workspace: "Workspace") -> None:
    workspace.expires_in = 5  # the SDK counts a token with less than 40 s as expired
    clock = SettableClock()
    key = WorkspaceKey(workspace.url, clock=clock)

    first = key()
    clock.now += USABLE_SECONDS
    second = key()

    assert [first, second] == [{"authorization": f"Bearer {one}"} for one in workspace.tokens]
    assert first != second


def test_a_token_that_grows_old_is_renewed_in_the_background(workspace: "Workspace") -> None:
    workspace.expires_in = 5
    clock = SettableClock()
    key = WorkspaceKey(workspace.url, clock=clock)
    first = key()
    clock.now += FRESH_SECONDS

    workspace.answers.clear()
    meanwhile = key.ready()
    workspace.answers.set()
    settled(key)

    assert meanwhile == first
    assert key.ready() == {"authorization": f"Bearer {workspace.tokens[1]}"}


def test_a_look_that_must_not_wait_gives_nothing_before_the_first_token(
    workspace: "Workspace",
) -> None:
    key = WorkspaceKey(workspace.url)

    assert key.ready() is None
    assert key() == key.ready()
    assert len(workspace.tokens) == 1


def test_many_callers_share_one_token(workspace: "Workspace") -> None:
    key = WorkspaceKey(workspace.url)

    with ThreadPoolExecutor(16) as pool:
        headers = list(pool.map(lambda _: key(), range(64)))

    assert len(workspace.tokens) == 1
    assert all(one == headers[0] for one in headers)


def test_a_token_server_that_never_answers_costs_no_call_more_than_its_time(
    workspace: "Workspace",
) -> None:
    workspace.answers.clear()
    key = WorkspaceKey(workspace.url, timeout_seconds=0.2)

    with pytest.raises(CredentialsError, match=r"no token within 0\.2 s"):
        key()

    workspace.answers.set()
    assert key()["authorization"].startswith("Bearer token-")


def test_a_workspace_that_keeps_hanging_does_not_fill_the_process_with_threads(
    workspace: "Workspace",
) -> None:
    workspace.answers.clear()
    key = WorkspaceKey(workspace.url, timeout_seconds=0.05)

    for _ in range(12):
        with pytest.raises(CredentialsError):
            key()

    assert sum(one.name == "spendgate-token" for one in threading.enumerate()) <= 4
    workspace.answers.set()
    settled(key)
    assert key()["authorization"].startswith("Bearer token-")


def test_a_refused_token_is_renewed_once_in_a_while(workspace: "Workspace") -> None:
    clock = SettableClock()
    key = WorkspaceKey(workspace.url, clock=clock)
    first = key()

    assert key.renew(first)
    second = key()
    assert second != first
    assert key.renew(first)  # somebody else has renewed it already
    assert key() == second
    assert not key.renew(second)
    clock.now += RENEWAL_SECONDS
    assert key.renew(second)


def test_what_was_asked_for_before_a_refusal_is_not_used_after_it(
    workspace: "Workspace",
) -> None:
    workspace.expires_in = 5
    clock = SettableClock()
    key = WorkspaceKey(workspace.url, clock=clock)
    first = key()
    clock.now += FRESH_SECONDS
    workspace.answers.clear()
    assert key.ready() == first  # and a new one is asked for

    assert key.renew(first)
    workspace.answers.set()
    settled(key)

    assert key.ready() is None
    assert key() == {"authorization": f"Bearer {workspace.tokens[-1]}"}


def test_a_workspace_that_is_away_is_told_without_its_configuration(
    monkeypatch: pytest.MonkeyPatch, workspace: "Workspace"
) -> None:
    del workspace
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("DATABRICKS_HOST", url)
    key = WorkspaceKey(None, timeout_seconds=1)

    with pytest.raises(CredentialsError) as caught:
        key()

    assert "sp-secret" not in str(caught.value)


def test_no_credentials_at_all_are_told(
    monkeypatch: pytest.MonkeyPatch, workspace: "Workspace"
) -> None:
    monkeypatch.delenv("DATABRICKS_CLIENT_ID")
    monkeypatch.delenv("DATABRICKS_CLIENT_SECRET")
    key = WorkspaceKey(workspace.url)

    with pytest.raises(CredentialsError, match="no token for the workspace: ValueError: default"):
        key()


def test_a_personal_token_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, workspace: "Workspace"
) -> None:
    monkeypatch.delenv("DATABRICKS_CLIENT_ID")
    monkeypatch.delenv("DATABRICKS_CLIENT_SECRET")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-1")
    key = WorkspaceKey(workspace.url)

    assert key() == {"authorization": "Bearer dapi-1"}
    assert workspace.tokens == []


def test_a_host_is_known_when_the_environment_has_named_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)

    with pytest.raises(CredentialsError, match="no workspace is named"):
        _ = WorkspaceKey(None).host
    assert WorkspaceKey("https://adb-1.example.net/").host == "https://adb-1.example.net"
