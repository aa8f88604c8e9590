"""Bodies are refused for what they are, cheaply, and never quoted."""

import json
import re
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.web.body import (
    DEPTH_MAX,
    BodyError,
    check_body,
    check_headers,
    is_too_deep,
    may_overflow,
    parse_object,
    read_body,
)

CANARY = "the canary sings"

nested_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=200,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(nested_json, st.integers(0, DEPTH_MAX + 5), st.booleans())
def test_depth_is_what_a_parser_would_find(value: object, levels: int, is_ascii: bool):
    for _ in range(levels):
        value = {"k]}[": [value]} if levels % 2 else [value]

    body = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")

    assert is_too_deep(body) is (depth_of(value) > DEPTH_MAX)


@pytest.mark.parametrize("text", ["[" * 100, "]" * 100, '\\"' * 50, "\\" * 99, '"', "\\\\[" * 80])
def test_brackets_and_escapes_inside_text_have_no_depth(text: str):
    body = json.dumps({"messages": [{"content": text}] * 40}).encode()

    assert not is_too_deep(body)


@pytest.mark.parametrize(
    "body",
    [b"[" * 1_000_000, b'{"a":' * 200_000, b'["' + b"x" * 99 + b'",' + b"[" * 65],
)
def test_a_body_that_only_opens_is_too_deep(body: bytes):
    with pytest.raises(BodyError, match="64 levels") as refused:
        check_body(body)

    assert refused.value.status == 400


def test_depth_is_counted_on_across_the_pieces_that_a_body_is_looked_at_in():
    body = b"[" + b"[]," * 32_748 + b"[" * 80  # neither 65,536 brackets nor the rest have 64 levels

    with pytest.raises(BodyError, match="nests deeper than 64 levels"):
        check_body(body)


def test_wide_is_not_deep():
    check_body(json.dumps({"messages": [[{}]] * 50_000}).encode())


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"temperature": NaN}', "temperature"),
        (b'{"messages": [{"a": 1}, {"b": [0, -Infinity]}]}', "messages[1].b[1]"),
        (f'{{"{CANARY}": {{"x": Infinity}}}}'.encode(), "*.x"),
        (b'{"a": NaN, "a": 1}', "body"),
        (b'{"temperature": 1e400}', "temperature"),
        (b'{"logit_bias": {"x": [-1E+999]}}', "logit_bias.x[0]"),
        (b'{"temperature": ' + b"9" * 400 + b".0}", "temperature"),
    ],
)
def test_numbers_that_are_none_are_named(body: bytes, place: str):
    with pytest.raises(BodyError, match="finite") as refused:
        check_body(body)

    assert refused.value.field == place
    assert CANARY not in str(refused.value)


@given(st.text("eEf+-.0123456789 ", max_size=20), st.integers(0, 2))
def test_a_number_that_may_overflow_is_found_in_any_text(text: str, length: int):
    body = (text + "7" * 154 * length).encode()

    assert may_overflow(body) is bool(re.search(rb"[eE]\+?\d{3}|\d{309}", body))


def test_the_words_for_them_may_be_written_about():
    check_body(b'{"messages": [{"content": "what are NaN and Infinity?"}]}')
    check_body(b'{"messages": [{"content": "a colour: #12e345"}], "temperature": 1e-400}')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "valid JSON"),
        (b'{"messages": [the canary sings]}', "valid JSON"),
        (b'["the canary sings"]', "an array"),
        (b'"the canary sings"', "text"),
        (b"null", "null"),
        (b"true", "true or false"),
        (b"17", "a number"),
        (b'{"a": "\xff the canary sings"}', "UTF-8"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "too long"),
    ],
)
def test_a_body_that_is_no_object_is_refused_without_quoting_it(body: bytes, message: str):
    with pytest.raises(BodyError, match=message) as refused:
        parse_object(body)

    assert refused.value.status == 400
    assert CANARY not in str(refused.value)


def test_another_encoding_is_refused():
    with pytest.raises(BodyError, match="UTF-8"):
        check_body(json.dumps({"messages": []}).encode("utf-16"))


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (b"content-length", b"1025", 413),
        (b"content-type", b"text/csv", 415),
        (b"content-type", b"application/json; charset=latin-1", 415),
        (b"content-encoding", b"gzip", 415),
        (b"content-encoding", b"br", 415),
        (b"content-encoding", b"deflate", 415),
    ],
)
def test_headers_give_a_bad_body_away(name: bytes, value: bytes, status: int):
    with pytest.raises(BodyError) as refused:
        check_headers({"type": "http", "headers": [(name, value)]}, 1024)

    assert refused.value.status == status


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"")],
        [(b"content-type", b"Application/JSON; charset=UTF-8"), (b"content-length", b"1024")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"identity")],
    ],
)
def test_plain_json_passes(headers: list[tuple[bytes, bytes]]):
    check_headers({"type": "http", "headers": headers}, 1024)


class Chunks:
    """Receives a body in pieces, then a disconnect."""

    def __init__(self, *chunks: bytes, is_whole: bool = True) -> None:
        last = len(chunks) - 1
        self.messages = [
            {"type": "http.request", "body": chunk, "more_body": not is_whole or index < last}
            for index, chunk in enumerate(chunks)
        ]

    async def __call__(self) -> dict[str, object]:
        return self.messages.pop(0) if self.messages else {"type": "http.disconnect"}


def run(awaitable: Coroutine[object, None, bytes | None]) -> bytes | None:
    """Run what never really waits."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


def test_a_body_is_put_together_from_its_chunks():
    assert run(read_body(Chunks(b'{"a"', b"", b": 1}"), 1024)) == b'{"a": 1}'


def test_a_body_may_be_as_large_as_the_maximum():
    assert run(read_body(Chunks(b"x" * 1000, b"x" * 24), 1024)) == b"x" * 1024


def test_a_body_without_a_length_is_counted_while_it_comes():
    chunks = Chunks(b"x" * 1000, b"x" * 25, b"x" * 1000)

    with pytest.raises(BodyError) as refused:
        run(read_body(chunks, 1024))

    assert refused.value.status == 413
    assert len(chunks.messages) == 1


def test_a_client_that_leaves_while_sending_gets_nothing():
    assert run(read_body(Chunks(b"{", is_whole=False), 1024)) is None
