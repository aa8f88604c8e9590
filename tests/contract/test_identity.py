"""Who pays, against `spendgate app` as it runs: tokens, forwarded users, and headers gone wrong."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import openai
import pytest
from tests.contract.running_app import MODEL, App, running

from spendgate.adapters.spend_token import mint_token

OLD, NEW = "the old key, long enough for HS256 ......", "the new key, long enough for HS256 ......"


def code(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, (answer.json().get("error") or {}).get("code")


def scopes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["scope"] for one in answer.json()["spend"]["budgets"]]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    """A host whose old key is being replaced."""
    keys = json.dumps({"new": NEW, "old": OLD})
    home = tmp_path_factory.mktemp("keyed")
    with running(home, simulator, SPENDGATE_SIGNING_KEYS=keys) as app:
        yield app


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    """A host that believes its proxy."""
    home = tmp_path_factory.mktemp("proxied")
    with running(home, simulator, SPENDGATE_FORWARDED_USER_HEADER="X-Forwarded-Email") as app:
        yield app


@pytest.fixture
def token(keyed: App) -> Callable[..., str]:
    return lambda *flags: keyed.cli("token", "mint", "--agent", "bot", "--ttl", "600", *flags)


def test_a_token_pays_as_api_key_header_or_field(keyed: App, token: Callable[..., str]) -> None:
    text = token()
    with openai.OpenAI(base_url=f"{keyed.url}/v1", api_key=text, max_retries=0) as client:
        asked = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=20
        )

    assert asked.model_dump()["spend"]["budgets"][0]["scope"] == "agent:bot"
    assert scopes(keyed.chat(X_Spend_Token=text)) == ["agent:bot"]
    assert scopes(keyed.chat({"spend_token": text})) == ["agent:bot"]


def test_no_token_is_an_authentication_error_of_the_openai_client(keyed: App) -> None:
    with (
        openai.OpenAI(base_url=f"{keyed.url}/v1", api_key="sk-any", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])

    assert caught.value.code == "invalid_spend_token"


def test_tokens_of_the_key_that_is_being_replaced_go_on(keyed: App) -> None:
    text = mint_token(OLD, {"agent": "bot"}, ttl_seconds=60, now=datetime.now(UTC))

    assert scopes(keyed.chat(X_Spend_Token=text)) == ["agent:bot"]


def test_a_sub_agent_gets_its_token_from_the_host_and_falls_with_its_parent(
    keyed: App, token: Callable[..., str]
) -> None:
    parent = token()
    answer = keyed.narrow(parent, task="t-1", tags={"subagent": "reader"}, models=[MODEL])
    assert answer.status_code == 200, answer.text
    child = answer.json()["spend_token"]
    assert answer.headers["cache-control"] == "no-store"
    assert scopes(keyed.chat(X_Spend_Token=child)) == ["agent:bot"]
    assert code(keyed.chat({"model": "gpt-x", "spend_token": child})) == (403, "model_forbidden")
    assert code(keyed.narrow(child, user="ceo")) == (403, "scope_forbidden")
    assert code(keyed.narrow("x")) == (401, "invalid_spend_token")

    keyed.cli("token", "revoke", parent)

    # Whichever of the two workers answers: the reserve itself knows the newest policy.
    for text in (parent, child) * 4:
        assert code(keyed.chat(X_Spend_Token=text)) == (401, "invalid_spend_token")
    assert code(keyed.narrow(child)) == (401, "invalid_spend_token")


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"task": NaN}', b"[" * 5000])
def test_a_wish_that_is_no_object_is_told(keyed: App, content: bytes) -> None:
    answer = httpx.post(f"{keyed.url}/api/tokens/narrow", content=content, timeout=30)

    assert code(answer) == (400, "invalid_request")


def test_a_wish_is_bounded(keyed: App) -> None:
    content = b'{"task": "' + b"x" * 70_000 + b'"}'

    assert httpx.post(f"{keyed.url}/api/tokens/narrow", content=content).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-Spend-Token: {t}", b"X-Spend-Token: {t}"],
        [b"Authorization: Bearer {t}", b"authorization: Bearer sk-other"],
        [b"X-Spend-Token: {t}", b"X-Spend-Session: a", b"x-spend-session: b"],
        [b"X-Spend-Token: {t}", b"Idempotency-Key: a", b"Idempotency-Key: b"],
        [b"X-Spend-Token: {t}", "X-Spend-Session: ü".encode()],
        [b"X-Spend-Token: {t}", b"X-Spend-Session: a\tb"],
        [b"X-Spend-Token: {t}", b"X-Spend-Session: *"],
        [b"X-Spend-Token: {t}", b"X-Spend-Session: " + b"x" * 10_000],
        [b"X-Spend-Token: {t}", b"X-Spend-Session:"],
    ],
)
def test_headers_that_leave_open_who_pays_are_refused(
    keyed: App, token: Callable[..., str], headers: list[bytes]
) -> None:
    text = token().encode()

    status, answer = keyed.raw(*(line.replace(b"{t}", text) for line in headers))

    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert text.decode() not in json.dumps(answer)


@pytest.mark.parametrize(
    "line",
    [
        b"X-Spend-Token: x\nX-Spend-Agent: ceo",
        b"X-Spend-Token: x\rX-Spend-Agent: ceo",
        b"X-Spend-Token: x\0y",
        b"X-Spend-Token : x",
        b" X-Spend-Token: folded",
    ],
)
def test_bytes_that_would_split_a_header_never_reach_a_model(keyed: App, line: bytes) -> None:
    status, _ = keyed.raw(line)

    assert status in {400, 401}


@pytest.mark.parametrize(
    "line",
    [
        b"X_Spend_Token: {t}",
        b"X-Spend-Tokens: {t}",
        b"Authorization: Basic {t}",
        b"Authorization: {t}",
        b"Authorization: Bearer\xc2\xa0{t}",
        b"Cookie: spend_token={t}",
        b"X-Spend-Token: " + b"x" * 10_000,
    ],
)
def test_what_only_looks_like_a_token_header_is_none(
    keyed: App, token: Callable[..., str], line: bytes
) -> None:
    status, answer = keyed.raw(line.replace(b"{t}", token().encode()))

    assert status in {400, 401}
    assert "eyJ" not in json.dumps(answer)


def test_the_proxy_s_word_is_who_pays(behind_proxy: App) -> None:
    answer = behind_proxy.chat(X_Forwarded_Email="ann@acme.com", Authorization="Bearer oauth")

    assert scopes(answer) == ["user:ann@acme.com"]


def test_nobody_claims_to_be_another_than_the_proxy_says(behind_proxy: App) -> None:
    own = behind_proxy.chat({"user": "ceo"}, X_Forwarded_Email="ann@acme.com")
    header = behind_proxy.chat(X_Spend_User="ceo", X_Forwarded_Email="ann@acme.com")
    nobody = behind_proxy.chat({"user": "ceo"})

    assert code(own) == code(header) == (403, "scope_forbidden")
    assert code(nobody) == (401, "caller_unknown")


@pytest.mark.parametrize("value", ["", "ann@acme.com, ceo@acme.com", "ann ceo", "*", "x" * 300])
def test_a_forwarded_user_that_is_none_is_nobody(behind_proxy: App, value: str) -> None:
    assert code(behind_proxy.chat(X_Forwarded_Email=value)) == (401, "caller_unknown")


def test_a_second_forwarded_user_is_refused(behind_proxy: App) -> None:
    status, _ = behind_proxy.raw(b"X-Forwarded-Email: ann@a.com", b"x-forwarded-email: ceo@a.com")

    assert status == 400


def test_without_the_setting_a_forwarded_user_is_nobody(keyed: App) -> None:
    assert code(keyed.chat(X_Forwarded_Email="ann@acme.com")) == (401, "invalid_spend_token")
