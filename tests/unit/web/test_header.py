"""Request headers: ours are known by name, and stand once."""

import pytest

from spendgate.web.body import BodyError
from spendgate.web.header import single_headers


def scope(*headers: tuple[bytes, bytes]) -> dict[str, object]:
    return {"type": "http", "headers": list(headers)}


@pytest.mark.parametrize("name", [b"x-spend-agnt", b"X-Spend-Tag-env", b"x-spend-"])
def test_a_header_of_ours_that_there_is_not_is_refused_by_name(name: bytes) -> None:
    with pytest.raises(BodyError, match="there is no header x-spend-") as refused:
        single_headers(scope((b"host", b"x"), (name, b"bot")))

    assert (refused.value.status, refused.value.field) == (400, name.decode().lower())
    assert "x-spend-agent" in str(refused.value)
    assert "bot" not in str(refused.value)


def test_who_sends_the_headers_of_an_answer_on_is_served() -> None:
    sent = scope((b"X-Spend-Cost-Usd", b"0.1"), (b"x-spend-agent", b"bot"), (b"x-other", b"\xe9"))

    found = single_headers(sent)

    assert found["x-spend-agent"] == "bot"
    assert found["x-other"] == "é"


@pytest.mark.parametrize("value", [b"b\xc3\xb6b", b"\xff"])
def test_a_header_of_ours_is_ascii(value: bytes) -> None:
    with pytest.raises(BodyError, match="isn't ASCII"):
        single_headers(scope((b"x-spend-user", value)))


@pytest.mark.parametrize("name", [b"x-spend-user", b"authorization", b"idempotency-key"])
def test_a_header_of_ours_stands_once(name: bytes) -> None:
    with pytest.raises(BodyError, match="stands twice") as refused:
        single_headers(scope((name, b"ann"), (name.title(), b"bob")))

    assert (refused.value.status, refused.value.field) == (400, name.decode())
