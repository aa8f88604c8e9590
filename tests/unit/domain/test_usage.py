"""Four dialects of usage become one shape, and garbage becomes an error."""

import math

import pytest

from spendgate.domain.usage import (
    REPORTED_TOKENS_MAX,
    DisjointUsage,
    ParsedUsage,
    TokenUsage,
    UsageError,
    merge_stream_usage,
    parse_usage,
)


def certain(usage: TokenUsage) -> ParsedUsage:
    return ParsedUsage(usage, is_ambiguous=False)


def guessed(usage: TokenUsage) -> ParsedUsage:
    return ParsedUsage(usage, is_ambiguous=True)


def test_disjoint_parts_are_what_is_left_of_each_whole() -> None:
    usage = TokenUsage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=30,
        cache_write_tokens=20,
        cache_write_1h_tokens=5,
        reasoning_tokens=40,
    )

    assert usage.disjoint() == DisjointUsage(
        input_tokens=50,
        cache_read_tokens=30,
        cache_write_tokens=15,
        cache_write_1h_tokens=5,
        output_tokens=10,
        reasoning_tokens=40,
    )


@pytest.mark.parametrize("count", [True, 1.0, "1", None])
def test_a_count_that_is_not_an_integer_is_refused(count: object) -> None:
    with pytest.raises(UsageError, match="output_tokens must be an integer"):
        TokenUsage(1, count)  # pyright: ignore[reportArgumentType] the type is what is tested


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({"input_tokens": -1}, "input_tokens must not be negative"),
        (
            {"cache_read_tokens": 6, "cache_write_tokens": 5},
            r"cache_read_tokens \+ cache_write_tokens must not exceed input_tokens",
        ),
        (
            {"cache_write_tokens": 1, "cache_write_1h_tokens": 2},
            "cache_write_1h_tokens must not exceed cache_write_tokens",
        ),
        ({"reasoning_tokens": 11}, "reasoning_tokens must not exceed output_tokens"),
    ],
)
def test_a_part_larger_than_its_whole_is_refused(counts: dict[str, int], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        TokenUsage(**{"input_tokens": 10, "output_tokens": 10, **counts})


def test_openai_chat_counts_cached_and_reasoning_tokens_inside_their_wholes() -> None:
    raw = {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 80},
        "completion_tokens_details": {"reasoning_tokens": 250, "audio_tokens": None},
    }

    assert parse_usage(raw) == certain(TokenUsage(2006, 300, 1920, 80, 0, 250))


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}])
def test_absent_details_mean_no_part_is_known(details: object) -> None:
    raw = {"prompt_tokens": 12.0, "completion_tokens": 3, "prompt_tokens_details": details}

    assert parse_usage(raw) == certain(TokenUsage(12, 3))


def test_responses_api_is_read_under_its_own_names() -> None:
    raw = {
        "input_tokens": 40,
        "output_tokens": 9,
        "total_tokens": 49,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens_details": {"reasoning_tokens": 4},
    }

    assert parse_usage(raw) == certain(TokenUsage(40, 9, 8, reasoning_tokens=4))


def test_embeddings_have_no_output() -> None:
    assert parse_usage({"prompt_tokens": 8, "total_tokens": 8}) == certain(TokenUsage(8, 0))


def test_a_total_above_the_prompt_without_a_completion_count_is_charged_as_output() -> None:
    assert parse_usage({"prompt_tokens": 8, "total_tokens": 30}) == guessed(TokenUsage(8, 22))


@pytest.mark.parametrize(
    ("prompt_tokens", "total_tokens", "expected"),
    [
        # The total is prompt + completion: the cache is inside.
        (100, 110, certain(TokenUsage(100, 10, 40, 30))),
        # The total has the cache on top.
        (100, 180, certain(TokenUsage(170, 10, 40, 30))),
        # The cache exceeds the prompt, so that it can't be inside, whatever the total says.
        (5, 15, certain(TokenUsage(75, 10, 40, 30))),
        (5, None, certain(TokenUsage(75, 10, 40, 30))),
        # Nothing decides: the dearer reading.
        (100, None, guessed(TokenUsage(170, 10, 40, 30))),
        (100, 150, guessed(TokenUsage(170, 10, 40, 30))),
    ],
)
def test_claude_cache_counters_are_placed_by_the_total_or_charged_the_dearer_way(
    prompt_tokens: int, total_tokens: int | None, expected: ParsedUsage
) -> None:
    raw = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 10,
        "total_tokens": total_tokens,
        "cache_read_input_tokens": 40,
        "cache_creation_input_tokens": 30,
    }

    assert parse_usage(raw) == expected


def test_cache_counters_repeated_as_details_of_the_prompt_are_inside_it() -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cache_read_input_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 40},
    }

    assert parse_usage(raw) == certain(TokenUsage(100, 10, 40))


def test_cache_counters_that_contradict_each_other_are_charged_on_top() -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "cache_read_input_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 60},
    }

    assert parse_usage(raw) == guessed(TokenUsage(160, 10, 60))


@pytest.mark.parametrize(
    ("split", "unsplit_write_ttl", "written", "written_1h", "is_ambiguous"),
    [
        (None, "5m", 30, 0, False),
        (None, "1h", 30, 30, False),
        ({"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, "5m", 30, 20, False),
        ({"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": None}, "1h", 30, 0, False),
        ({"ephemeral_5m_input_tokens": 10}, "1h", 30, 20, True),
        ({"ephemeral_5m_input_tokens": 10}, "5m", 30, 0, True),
        ({"ephemeral_1h_input_tokens": 35}, "5m", 35, 35, True),
    ],
)
def test_cache_writes_are_split_by_their_lifetime(
    split: object, unsplit_write_ttl: str, written: int, written_1h: int, is_ambiguous: bool
) -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "cache_creation_input_tokens": 30,
        "cache_creation": split,
    }

    parsed = parse_usage(raw, unsplit_write_ttl="1h" if unsplit_write_ttl == "1h" else "5m")

    expected = TokenUsage(100, 10, 0, written, written_1h)
    assert parsed == ParsedUsage(expected, is_ambiguous)


def test_split_writes_without_their_sum_are_added_up() -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }

    assert parse_usage(raw) == certain(TokenUsage(100, 10, 0, 30, 20))


@pytest.mark.parametrize(
    ("completion_tokens", "total_tokens", "expected"),
    [
        (10, 35, certain(TokenUsage(10, 25, reasoning_tokens=15))),
        (20, 45, certain(TokenUsage(10, 35, reasoning_tokens=15))),
        (10, 20, guessed(TokenUsage(10, 25, reasoning_tokens=15))),
        (10, None, guessed(TokenUsage(10, 25, reasoning_tokens=15))),
        (20, 30, certain(TokenUsage(10, 20, reasoning_tokens=15))),
    ],
)
def test_reasoning_is_added_where_it_stands_outside_the_completion(
    completion_tokens: int, total_tokens: int | None, expected: ParsedUsage
) -> None:
    raw = {
        "prompt_tokens": 10,
        "completion_tokens": completion_tokens,
        "total_tokens": total_tokens,
        "completion_tokens_details": {"reasoning_tokens": 15},
    }

    assert parse_usage(raw) == expected


def test_cache_and_reasoning_can_both_stand_outside() -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 175,
        "cache_read_input_tokens": 40,
        "completion_tokens_details": {"reasoning_tokens": 15},
    }

    assert parse_usage(raw) == certain(TokenUsage(140, 35, 40, reasoning_tokens=15))


def test_an_excess_that_fits_cache_and_reasoning_alike_is_charged_as_output() -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 190,
        "cache_read_input_tokens": 40,
        "completion_tokens_details": {"reasoning_tokens": 40},
    }

    assert parse_usage(raw) == guessed(TokenUsage(100, 90, 40, reasoning_tokens=40))


def test_tokens_that_only_the_total_knows_are_charged_as_output() -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 100}

    assert parse_usage(raw) == guessed(TokenUsage(10, 90))


def test_a_total_below_its_parts_is_flagged_and_the_parts_charged() -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3}

    assert parse_usage(raw) == guessed(TokenUsage(10, 5))


def test_the_higher_counts_where_two_dialects_are_mixed_and_differ() -> None:
    raw = {"prompt_tokens": 10, "input_tokens": 12, "completion_tokens": 5, "output_tokens": 5}

    assert parse_usage(raw) == guessed(TokenUsage(12, 5))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (None, "usage is missing"),
        ([], "usage must be an object, got list"),
        ("12", "usage must be an object, got str"),
        ({}, "neither prompt_tokens nor input_tokens"),
        ({"prompt_tokens": None, "completion_tokens": 1}, "neither prompt_tokens nor input_tokens"),
        ({"prompt_tokens": 1}, "neither completion_tokens nor total_tokens"),
        ({"prompt_tokens": 1, "completion_tokens": None, "total_tokens": 1}, "not complete"),
        ({"input_tokens": 1, "output_tokens": None}, "not complete"),
        ({"prompt_tokens": 5, "total_tokens": 4}, "total_tokens must not be less"),
        ({"prompt_tokens": True}, "prompt_tokens must be a whole number, got bool"),
        ({"prompt_tokens": "5"}, "prompt_tokens must be a whole number, got str"),
        ({"prompt_tokens": [5]}, "prompt_tokens must be a whole number, got list"),
        ({"prompt_tokens": 1.5}, "prompt_tokens must be a whole number, got a fraction"),
        ({"prompt_tokens": math.nan}, "prompt_tokens must be a whole number"),
        ({"prompt_tokens": math.inf}, "prompt_tokens must be a whole number"),
        ({"prompt_tokens": -1}, "prompt_tokens must not be negative"),
        ({"prompt_tokens": REPORTED_TOKENS_MAX + 1}, "prompt_tokens must not exceed"),
        ({"prompt_tokens": 10**5_000}, "prompt_tokens must not exceed"),
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": 7},
            "prompt_tokens_details must be an object, got int",
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "cache_creation": "x"},
            "cache_creation must be an object, got str",
        ),
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "completion_tokens_details": {"reasoning_tokens": -2},
            },
            "reasoning_tokens must not be negative",
        ),
    ],
)
def test_garbage_is_refused_by_the_name_of_the_field(raw: object, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as refusal:
        parse_usage(raw)

    assert len(str(refusal.value)) < 120


def test_the_last_value_of_a_stream_wins_and_nulls_do_not_erase() -> None:
    chunks: list[dict[str, object]] = [
        {"prompt_tokens": 10, "completion_tokens": None, "prompt_tokens_details": None},
        {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
        },
        {
            "prompt_tokens": None,
            "completion_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": None, "audio_tokens": 1},
        },
        {"completion_tokens": 9, "prompt_tokens_details": None},
    ]

    merged: dict[str, object] | None = None
    for chunk in chunks:
        merged = merge_stream_usage(merged, chunk)

    assert merged == {
        "prompt_tokens": 10,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 1},
    }


def test_a_completion_count_that_never_came_is_not_taken_for_an_embedding() -> None:
    merged = merge_stream_usage(
        {"prompt_tokens": 10, "completion_tokens": None},
        {"completion_tokens": None, "total_tokens": 10},
    )

    with pytest.raises(UsageError, match="not complete"):
        parse_usage(merged)


def test_tools_that_the_provider_ran_make_a_usage_unpriced() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}

    with pytest.raises(UsageError, match="server_tool_use"):
        parse_usage({**usage, "server_tool_use": {"web_search_requests": 3}})
    for none in (None, {}, {"web_search_requests": 0}):
        assert parse_usage({**usage, "server_tool_use": none}).usage.output_tokens == 5
