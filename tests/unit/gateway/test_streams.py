"""What becomes of the money of a call whose answer comes in pieces, whatever happens to it."""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent
from spendgate.gateway.reply import Reply
from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.gateway.wire import CHAT, Host

CALL = {
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 100,
    "stream": True,
    "custom_inputs": {"model": "big", "user": "alice"},
}
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
USED_NANO = 20 * 3_000 + 5 * 15_000


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def word(text: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


FINISH = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USED = event(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"


class FakeStream:
    """Gives its pieces one by one; a piece may be a way to lose the rest, or something to do."""

    def __init__(self, *pieces: bytes | UpstreamLost | BaseException | Callable[[], None]) -> None:
        self._pieces = list(pieces)
        self.is_closed = threading.Event()

    def read(self) -> bytes | UpstreamLost | None:
        while self._pieces:
            if self.is_closed.is_set():
                return UpstreamLost("closed")
            piece = self._pieces.pop(0)
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, bytes | UpstreamLost):
                return piece
            piece()
        return UpstreamLost("closed") if self.is_closed.is_set() else None

    def close(self) -> None:
        self.is_closed.set()


@pytest.fixture
def opened(gate: Callable[..., Any], budget: Callable[..., Any]) -> Callable[..., Any]:
    """Open a gate whose upstream streams these pieces."""

    def open_gate(*pieces: Any, budgets: Iterable[Any] = (), **terms: Any) -> Any:
        one = gate(*budgets, **terms)
        one.stream = FakeStream(*pieces)
        one.upstream.stream = lambda route, body: (
            one.upstream.bodies.append(json.loads(json.dumps(body))) or one.stream
        )
        return one

    return open_gate


def started(gate: Any, **fields: object) -> Any:
    return gate.gateway.stream(CHAT, {**CALL, **fields}, host=Host.ASGI)


def documents(chunks: Iterable[StreamChunk]) -> list[dict[str, Any]]:
    return [json.loads(chunk.data) for chunk in chunks if chunk.document is not None]


def test_a_stream_settles_what_it_used_and_says_so_on_its_last_chunk(opened: Any) -> None:
    gate = opened(word("a"), FINISH, USED, DONE)

    chunks = documents(started(gate))

    assert [one["choices"][0]["delta"].get("content") for one in chunks] == ["a", None]
    assert chunks[-1]["spend"]["cost_usd"] == "0.000135000"
    assert chunks[-1]["spend"]["usage_source"] == "reported"
    assert (gate.spent_nano, gate.held_nano) == (USED_NANO, 0)
    assert gate.stream.is_closed.is_set()


def test_the_upstream_is_asked_for_usage_whether_the_client_asks_or_not(opened: Any) -> None:
    gate = opened(FINISH, USED, DONE)

    list(started(gate, stream_options={"unheard_of": 1}))

    sent = gate.upstream.bodies[-1]
    assert sent["stream"] is True
    assert sent["stream_options"] == {"unheard_of": 1, "include_usage": True}


def test_money_is_held_while_chunks_come(opened: Any) -> None:
    gate = opened(word("a"), word("b"), FINISH, USED, DONE)

    chunks = started(gate)
    next(chunks)
    held = gate.held_nano
    list(chunks)

    assert held > 0
    assert gate.held_nano == 0


def test_what_comes_in_one_piece_goes_out_before_its_end_is_booked(opened: Any) -> None:
    gate = opened(word("a") + word("b") + FINISH + USED + DONE)

    chunks = started(gate)
    first = next(chunks)
    second = next(chunks)
    held = gate.held_nano
    rest = documents(chunks)

    assert [one["choices"][0]["delta"]["content"] for one in documents([first, second])] == [
        "a",
        "b",
    ]
    assert held > 0
    assert rest[-1]["spend"]["cost_usd"] == "0.000135000"
    assert (gate.spent_nano, gate.held_nano) == (USED_NANO, 0)


@pytest.mark.parametrize("on_client_abort", ["drain", "close"])
def test_a_client_that_leaves_when_the_end_was_read_pays_what_it_used(
    opened: Any, budget: Any, on_client_abort: str
) -> None:
    gate = opened(
        word("a") + word("b") + FINISH + USED + DONE,
        budgets=[budget(on_client_abort=on_client_abort)],
    )

    chunks = started(gate)
    next(chunks)
    next(chunks)
    chunks.close()
    wait_for_drains()

    assert (gate.spent_nano, gate.held_nano) == (USED_NANO, 0)


def test_a_stream_without_usage_is_charged_in_full(opened: Any) -> None:
    gate = opened(word("a"), FINISH, DONE)

    spend = documents(started(gate))[-1]["spend"]

    assert spend["usage_source"] == "reserved"
    assert spend["cost_usd"] == spend["reserved_usd"]
    assert gate.events[-1].kind.value == "settled"


@pytest.mark.parametrize(
    "end",
    [
        UpstreamLost("ReadError"),
        event(error={"message": "the canary sings", "code": "overloaded"}),
        word("b"),
    ],
    ids=["lost", "error event", "stops in the middle"],
)
def test_a_stream_that_breaks_off_is_charged_in_full_and_told(opened: Any, end: Any) -> None:
    gate = opened(word("a"), end)

    chunks = documents(started(gate))

    last = chunks[-1]
    assert last["choices"] == []
    assert last["error"]["code"] == "upstream_error"
    assert last["spend"]["cost_usd"] == last["spend"]["reserved_usd"]
    assert "canary" not in json.dumps(chunks)
    assert gate.events[-1].kind.value == "expired"
    assert gate.held_nano == 0


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([UpstreamLost("ReadTimeout")], 504),
        ([event(error={"code": "overloaded"})], 502),
        ([], 502),
    ],
)
def test_a_stream_that_breaks_before_its_first_chunk_is_an_error_with_a_status(
    opened: Any, pieces: list[Any], status: int
) -> None:
    gate = opened(*pieces)

    reply = started(gate)

    assert isinstance(reply, Reply)
    assert reply.status == status
    assert reply.body["error"]["code"] == "upstream_error"  # pyright: ignore[reportIndexIssue]
    assert gate.events[-1].kind.value == "expired"


@pytest.mark.parametrize(
    ("outcome", "status", "spent"),
    [
        (UpstreamNotSent("ConnectError"), 502, 0),
        (UpstreamAnswer(429, None, 2.0), 429, 0),
        (UpstreamLost("ReadTimeout"), 504, 1),
    ],
)
def test_what_isnt_a_stream_is_answered_as_without_one(
    opened: Any, outcome: Any, status: int, spent: int
) -> None:
    gate = opened()
    gate.upstream.stream = lambda route, body: outcome

    reply = started(gate)

    assert reply.status == status
    assert (gate.spent_nano > 0) == bool(spent)
    assert gate.held_nano == 0


@pytest.mark.parametrize("wants_usage", [False, True])
def test_a_whole_answer_is_given_the_form_of_a_stream(
    opened: Any, answer: Any, wants_usage: bool
) -> None:
    gate = opened()
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    whole = answer(content="hello")
    whole.body["choices"][0]["message"]["tool_calls"] = [call]
    gate.upstream.stream = lambda route, body: whole

    reply = started(gate, stream_options={"include_usage": wants_usage})

    first, *more = documents(reply.chunks)
    assert first["object"] == "chat.completion.chunk"
    (choice,) = first["choices"]
    assert choice["delta"]["content"] == "hello"
    assert choice["delta"]["tool_calls"] == [{"index": 0, **call}]
    assert choice["finish_reason"] == "stop"
    assert "message" not in choice
    last = more[-1] if wants_usage else first
    assert last["spend"]["cost_usd"] == "0.000135000"
    assert ("usage" in last) == wants_usage
    assert (gate.spent_nano, gate.held_nano) == (USED_NANO, 0)


def test_a_refusal_sends_nothing(opened: Any, budget: Any) -> None:
    gate = opened(budgets=[budget(limit_usd="0.0001", fit=False)])

    assert started(gate).status == 402
    assert gate.upstream.bodies == []


def test_a_client_that_leaves_is_drained_to_the_usage(opened: Any) -> None:
    may_go_on = threading.Event()
    gate = opened(word("a"), lambda: may_go_on.wait(60) and None, word("b"), FINISH, USED, DONE)
    chunks = started(gate)
    next(chunks)

    chunks.close()
    draining = gate.gateway.draining
    assert draining.now == 1
    assert gate.held_nano > 0
    may_go_on.set()
    wait_for_drains()

    assert (gate.spent_nano, gate.held_nano) == (USED_NANO, 0)
    assert (draining.now, draining.drained, draining.closed) == (0, 1, 0)


def test_a_client_that_leaves_may_be_told_to_cost_all_that_was_held(
    opened: Any, budget: Any
) -> None:
    gate = opened(
        word("a"), word("b"), FINISH, USED, DONE, budgets=[budget(on_client_abort="close")]
    )
    chunks = started(gate)
    next(chunks)
    held = gate.held_nano

    chunks.close()
    wait_for_drains()

    assert gate.stream.is_closed.is_set()
    assert (gate.spent_nano, gate.held_nano) == (held, 0)
    assert gate.events[-1].kind.value == "expired"
    assert gate.gateway.draining.closed == 1


def test_one_budget_that_says_close_is_enough(opened: Any, budget: Any) -> None:
    other = budget(id="all", scope={}, on_client_abort="close")
    gate = opened(word("a"), FINISH, USED, DONE, budgets=[budget(), other])
    chunks = started(gate)
    next(chunks)

    chunks.close()
    wait_for_drains()

    assert gate.gateway.draining.closed == 1


def test_more_drains_than_allowed_are_closed(opened: Any) -> None:
    gate = opened(word("a"), FINISH, USED, DONE, draining_max=0)
    chunks = started(gate)
    next(chunks)

    chunks.close()
    wait_for_drains()

    assert (gate.gateway.draining.now, gate.gateway.draining.closed) == (0, 1)
    assert gate.events[-1].kind.value == "expired"


def test_a_stream_cut_off_inside_is_charged_in_full_and_the_cut_goes_on(opened: Any) -> None:
    gate = opened(word("a"), KeyboardInterrupt())
    chunks = started(gate)
    next(chunks)

    with pytest.raises(KeyboardInterrupt):
        next(chunks)

    assert gate.events[-1].kind.value == "expired"
    assert gate.held_nano == 0
    assert gate.stream.is_closed.is_set()


def test_a_cut_while_the_stream_is_opened_is_charged_in_full(opened: Any) -> None:
    gate = opened()

    def cut(_route: str, _body: object) -> None:
        raise KeyboardInterrupt

    gate.upstream.stream = cut
    with pytest.raises(KeyboardInterrupt):
        started(gate)

    assert gate.events[-1].kind.value == "expired"
    assert gate.held_nano == 0


def test_a_stream_is_kept_for_its_key(opened: Any) -> None:
    gate = opened(word("a"), FINISH, USED, DONE)
    own = {**CALL["custom_inputs"], "idempotency_key": "k"}  # type: ignore[dict-item]

    first = documents(started(gate, custom_inputs=own))
    again = started(gate, custom_inputs=own)

    assert documents(again.chunks) == first
    assert again.is_replay
    assert len(gate.upstream.bodies) == 1
    assert (gate.spent_nano, gate.held_nano) == (USED_NANO, 0)


def test_a_stream_that_broke_or_is_too_long_isnt_kept_for_its_key(opened: Any) -> None:
    own = {**CALL["custom_inputs"], "idempotency_key": "k"}  # type: ignore[dict-item]
    for pieces in ([word("a"), UpstreamLost("x")], [word("a" * 2**20), word("b"), FINISH, DONE]):
        gate = opened(*pieces)
        list(started(gate, custom_inputs=own))
        reply = started(gate, custom_inputs=own)

        assert reply.body["error"]["code"] == "idempotency_replayed"
        own = {**own, "idempotency_key": "k2"}


def test_what_cant_stream_says_so(opened: Any) -> None:
    gate = opened()

    reply = gate.gateway.handle(CHAT, CALL, host=Host.ASGI)

    assert reply.status == 400
    assert reply.body["error"]["param"] == "stream"


def wait_for_drains() -> None:
    for thread in threading.enumerate():
        if thread.name == "spendgate-drain":
            thread.join(60)
