"""A stream is passed on as it comes, and what it used is read on the way."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.gateway.outcome import Ending, Verb
from spendgate.gateway.ports import UpstreamLost
from spendgate.gateway.stream_chunk import DONE, KEEP_ALIVE, StreamChunk
from spendgate.gateway.stream_meter import StreamMeter, stream_meter
from spendgate.gateway.wire import CHAT, RESPONSES

SPEND = {"cost_usd": "1"}
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
Json = dict[str, Any]


def said(text: str, **fields: object) -> Json:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **fields}


def finish(**fields: object) -> Json:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **fields}


def usage_chunk(usage: object = USAGE) -> Json:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage}


def written(*documents: Mapping[str, object] | str) -> bytes:
    """Write documents as the events of a stream, and texts as they are."""
    return b"".join(
        one.encode() if isinstance(one, str) else b"data: " + json.dumps(one).encode() + b"\n\n"
        for one in documents
    )


END = "data: [DONE]\n\n"


def chat(*, wants_usage: bool = False) -> StreamMeter:
    return stream_meter(CHAT, wants_usage=wants_usage)


def documents(chunks: Sequence[StreamChunk]) -> list[Json]:
    return [json.loads(chunk.data) for chunk in chunks if chunk.document is not None]


def passed(meter: StreamMeter, *pieces: bytes) -> tuple[list[Json], Ending, list[StreamChunk]]:
    """Feed a stream that ends cleanly; return what went on, its ending, and the last chunks."""
    chunks = [chunk for piece in pieces for chunk in meter.feed(piece)]
    ending = meter.ending(None, None)
    return documents(chunks), ending, meter.last(SPEND)


def test_who_asks_for_usage_gets_every_chunk_as_it_was_and_the_spend_on_the_last() -> None:
    sent = [said("a", usage=None), said("b", usage=None), finish(usage=None), usage_chunk()]

    went, ending, last = passed(chat(wants_usage=True), written(*sent, END))

    assert went == sent[:3]
    assert documents(last) == [{**sent[3], "spend": SPEND}]
    assert last[-1] is DONE
    assert ending.verb is Verb.SETTLE
    assert ending.usage is not None
    assert ending.usage.usage.output_tokens == 5


def test_who_does_not_ask_sees_no_usage_and_the_spend_on_the_finish_chunk() -> None:
    sent = [said("a", usage=None), finish(usage=None), usage_chunk()]

    went, ending, last = passed(chat(), written(*sent, END))

    assert went == [said("a")]
    assert documents(last) == [{**finish(), "spend": SPEND}]
    assert ending.usage is not None


def test_a_chunk_that_isnt_changed_keeps_its_bytes() -> None:
    text = b'{"choices": [{"index":0,"delta":{"content":"1.50"},"x":1.50E+1}],  "y": "\\u00e9"}'

    (chunk,) = chat().feed(b"data: " + text + b"\n\n")

    assert chunk.data == text
    assert chunk.event == b"data: " + text + b"\n\n"


def test_several_choices_may_finish_one_after_the_other() -> None:
    other = {"id": "c", "choices": [{"index": 1, "delta": {"content": "z"}, "finish_reason": None}]}
    last = {"id": "c", "choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}

    went, ending, kept = passed(chat(), written(finish(), other, last, usage_chunk(), END))

    assert went == [finish(), other]
    assert documents(kept) == [{**last, "spend": SPEND}]
    assert ending.usage is not None


@given(st.data())
def test_any_split_of_the_bytes_passes_the_same(data: st.DataObject) -> None:
    stream = written(said("é" * 3), ": ping\r\n\r\n", said("b"), finish(), usage_chunk(), END)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert passed(chat(), *pieces) == passed(chat(), stream)


@pytest.mark.parametrize(
    "running",
    [
        # Claude on Databricks: the prompt in every chunk, nulls until the end.
        [{"prompt_tokens": 20, "completion_tokens": None, "total_tokens": None}] * 3,
        # vLLM's continuous_usage_stats: what was used so far, in every chunk.
        [{"prompt_tokens": 20, "completion_tokens": n, "total_tokens": 20 + n} for n in (1, 3, 5)],
    ],
    ids=["nulls", "cumulative"],
)
def test_usage_on_the_way_is_never_added_up(running: list[Json]) -> None:
    chunks = [said("w", usage=usage) for usage in running]

    went, ending, _ = passed(chat(), written(*chunks, finish(), usage_chunk(), END))

    assert went == [said("w")] * 3
    assert ending.usage is not None
    assert (ending.usage.usage.input_tokens, ending.usage.usage.output_tokens) == (20, 5)


def test_usage_on_the_finish_chunk_alone_is_the_usage() -> None:
    went, ending, last = passed(
        chat(wants_usage=True), written(said("a"), finish(usage=USAGE), END)
    )

    assert went == [said("a")]
    assert documents(last) == [{**finish(usage=USAGE), "spend": SPEND}]
    assert ending.usage is not None


@pytest.mark.parametrize(
    "stream",
    [
        written(said("a"), finish(), END),
        written(said("a"), finish(), usage_chunk("many"), END),
        written(said("a"), finish(), usage_chunk({"prompt_tokens": -1}), END),
        written(said("a"), END),
        written(END),
    ],
    ids=["no usage", "garbage", "negative", "no finish", "nothing"],
)
def test_an_end_without_a_usage_is_charged_in_full(stream: bytes) -> None:
    _, ending, last = passed(chat(), stream)

    assert ending.verb is Verb.SETTLE
    assert ending.usage is None
    assert documents(last)[-1]["spend"] == SPEND


def test_the_usage_counts_where_only_the_end_mark_is_missing() -> None:
    whole = written(said("a"), finish(), usage_chunk())

    for stream in (whole, whole.removesuffix(b"\n\n")):
        _, ending, _ = passed(chat(), stream)
        assert ending.usage is not None


def test_a_clean_stop_in_the_middle_is_no_end() -> None:
    # The running count is what was used so far, not what is billed.
    _, ending, _ = passed(chat(), written(said("a", usage=USAGE), said("b", usage=USAGE)))

    assert ending.verb is Verb.EXPIRE
    assert ending.status == 502


def test_a_connection_lost_before_the_end_is_charged_in_full_and_told() -> None:
    meter = chat()
    went = documents(meter.feed(written(said("a"), finish(usage=USAGE))))

    ending = meter.ending(UpstreamLost("ReadError"), None)
    last = meter.broken({"error": {"code": "upstream_error"}, "spend": SPEND})

    assert went == [said("a")]
    assert (ending.verb, ending.body) == (Verb.EXPIRE, None)
    error = {"choices": [], "error": {"code": "upstream_error"}, "spend": SPEND}
    assert documents(last) == [finish(), error]
    assert last[-1] is DONE


def test_a_connection_lost_after_the_end_mark_changes_nothing() -> None:
    meter = chat()
    meter.feed(written(finish(), usage_chunk(), END))

    assert meter.is_over
    assert meter.ending(UpstreamLost("ReadError"), None).usage is not None


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "the canary sings", "code": "overloaded"}},
        {"object": "error", "message": "the canary sings", "code": 500},
        {"error_code": "INTERNAL_ERROR", "message": "the canary sings"},
    ],
)
def test_an_error_in_the_middle_ends_the_stream_without_its_prose(error: Json) -> None:
    meter = chat()
    went = documents(meter.feed(written(said("a"), error, said("b"))))

    ending = meter.ending(None, None)

    assert went == [said("a")]
    assert meter.is_over
    assert (ending.verb, ending.status) == (Verb.EXPIRE, 502)
    assert "canary" not in repr(ending)


def test_comments_keep_the_connection_alive_and_garbage_is_left_out() -> None:
    chunks = chat().feed(written(": PROCESSING\n\n", "data: {oops\n\n", "data: [1]\n\n", said("a")))

    assert chunks[0] is KEEP_ALIVE
    assert chunks[0].event == b": keep-alive\n\n"
    assert documents(chunks) == [said("a")]


def test_numbers_that_are_no_json_are_left_out() -> None:
    assert chat().feed(b'data: {"choices": [], "x": NaN}\n\ndata: {"x": 1e999}\n\n') == []


def test_a_document_over_several_lines_is_one_chunk() -> None:
    (chunk,) = chat().feed(b'data: {"choices":\ndata: []}\n\n')

    assert chunk.event == b'data: {"choices":[]}\n\n'


def test_content_filter_results_before_the_first_word_pass() -> None:
    first = {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}

    went, _, _ = passed(chat(), written(first, said("a"), finish(), usage_chunk(), END))

    assert went == [first, said("a")]


def event(kind: str, number: int, **fields: object) -> str:
    document = {"type": kind, "sequence_number": number, **fields}
    return f"event: {kind}\ndata: {json.dumps(document)}\n\n"


def response(status: str, usage: object = None, **fields: object) -> Json:
    return {"id": "r", "object": "response", "status": status, "usage": usage, **fields}


RESPONSE_USAGE = {
    "input_tokens": 20,
    "output_tokens": 5,
    "total_tokens": 25,
    "output_tokens_details": {"reasoning_tokens": 2},
}


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_the_last_event_of_a_response_carries_the_spend_outside_and_inside(status: str) -> None:
    meter = stream_meter(RESPONSES, wants_usage=False)
    stream = written(
        event("response.created", 0, response=response("in_progress")),
        event("response.output_text.delta", 1, delta="a"),
        event(f"response.{status}", 2, response=response(status, RESPONSE_USAGE)),
    )

    went, ending, last = passed(meter, stream)

    assert [one["type"] for one in went] == ["response.created", "response.output_text.delta"]
    (chunk,) = last
    assert chunk.name == f"response.{status}"
    document = json.loads(chunk.data)
    assert document["spend"] == document["response"].pop("spend") == SPEND
    assert document["response"] == response(status, RESPONSE_USAGE)
    assert meter.is_over
    assert ending.usage is not None
    assert ending.usage.usage.reasoning_tokens == 2


def test_a_failed_response_keeps_its_code_and_is_charged_in_full() -> None:
    error = {"code": "server_error", "message": "the canary sings"}
    failed = event("response.failed", 1, response=response("failed", error=error))

    _, ending, last = passed(stream_meter(RESPONSES, wants_usage=False), written(failed))

    assert (ending.verb, ending.usage) == (Verb.SETTLE, None)
    assert json.loads(last[0].data)["response"]["error"]["code"] == "server_error"
    assert b"canary" not in last[0].data


def test_a_response_that_breaks_off_ends_with_the_apis_own_error_event() -> None:
    meter = stream_meter(RESPONSES, wants_usage=False)
    meter.feed(written(event("response.created", 4, response=response("in_progress"))))

    ending = meter.ending(UpstreamLost("ReadError"), None)
    ours = {"error": {"code": "upstream_error", "message": "lost"}, "spend": SPEND}
    (chunk,) = meter.broken(ours)

    assert ending.verb is Verb.EXPIRE
    assert chunk.name == "error"
    document = json.loads(chunk.data)
    assert document["type"] == "error"
    assert (document["code"], document["sequence_number"]) == ("upstream_error", 5)
    assert document["spend"] == SPEND


def test_an_error_event_of_a_response_ends_it() -> None:
    meter = stream_meter(RESPONSES, wants_usage=False)
    meter.feed(written(event("error", 1, code="rate_limited", message="the canary sings")))

    ending = meter.ending(None, None)

    assert (ending.verb, ending.upstream_code) == (Verb.EXPIRE, "rate_limited")
