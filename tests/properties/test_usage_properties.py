"""What holds for every usage report."""

from collections.abc import Mapping

from hypothesis import example, given
from hypothesis import strategies as st

from spendgate.domain.usage import (
    ParsedUsage,
    TokenUsage,
    UsageError,
    merge_stream_usage,
    parse_usage,
)

counts = st.integers(0, 10**7)
optional_counts = st.none() | counts
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
DETAILS = {
    "prompt_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "completion_tokens_details": ("reasoning_tokens",),
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
}
reports = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(FIELDS, optional_counts),
        **{
            name: st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys(parts, counts))
            for name, parts in DETAILS.items()
        },
    },
)


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    input_tokens, output_tokens = draw(counts), draw(counts)
    written = draw(st.integers(0, input_tokens))
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=draw(st.integers(0, input_tokens - written)),
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        reasoning_tokens=draw(st.integers(0, output_tokens)),
    )


@given(usages())
def test_disjoint_parts_are_never_negative_and_sum_to_the_wholes(usage: TokenUsage) -> None:
    parts = usage.disjoint()

    assert min(parts) >= 0
    assert usage.input_tokens == (
        parts.input_tokens
        + parts.cache_read_tokens
        + parts.cache_write_tokens
        + parts.cache_write_1h_tokens
    )
    assert usage.output_tokens == parts.output_tokens + parts.reasoning_tokens


@given(usages(), st.booleans())
def test_a_usage_survives_openai_and_claude_dialects(
    usage: TokenUsage, is_cache_at_top: bool
) -> None:
    cache = (
        {
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
        }
        if is_cache_at_top
        else {
            "prompt_tokens_details": {
                "cached_tokens": usage.cache_read_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
            }
        }
    )

    parsed = parse_usage(
        {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
                "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
            },
            **cache,
        }
    )

    assert parsed.usage == usage
    assert not parsed.is_ambiguous


@given(reports)
def test_a_usage_never_has_fewer_tokens_than_any_count_reported(
    report: Mapping[str, object],
) -> None:
    try:
        usage = parse_usage(report).usage
    except UsageError:
        # Refused only where a whole is missing, or the total can't hold the prompt.
        assert (
            report.get("prompt_tokens") is report.get("input_tokens") is None
            or report.get("completion_tokens") is report.get("output_tokens") is None
        )
        return

    for name, whole in (
        ("prompt_tokens", usage.input_tokens),
        ("input_tokens", usage.input_tokens),
        ("completion_tokens", usage.output_tokens),
        ("output_tokens", usage.output_tokens),
        ("cache_read_input_tokens", usage.cache_read_tokens),
        ("cache_creation_input_tokens", usage.cache_write_tokens),
        ("total_tokens", usage.input_tokens + usage.output_tokens),
    ):
        reported = report.get(name) or 0
        assert isinstance(reported, int)
        assert whole >= reported


@given(
    json_values
    | st.dictionaries(
        st.sampled_from((*FIELDS, *DETAILS)),
        json_values | st.dictionaries(st.sampled_from(sum(DETAILS.values(), ())), json_values),
    )
)
def test_any_json_is_a_usage_or_a_usage_error(raw: object) -> None:
    try:
        outcome = parse_usage(raw)
    except UsageError as error:
        outcome = error

    if isinstance(outcome, UsageError):
        assert len(str(outcome)) < 120
    else:
        assert isinstance(raw, dict)
        assert outcome.usage.input_tokens >= 0


@given(st.lists(reports, min_size=1, max_size=5))
def test_merging_a_stream_keeps_the_last_non_null_value_of_each_field(
    chunks: list[dict[str, object]],
) -> None:
    merged: dict[str, object] | None = None
    for chunk in chunks:
        merged = merge_stream_usage(merged, chunk)

    assert merged is not None
    for name in FIELDS:
        values = [chunk[name] for chunk in chunks if chunk.get(name) is not None]
        assert merged.get(name) == (values[-1] if values else None)
    for name, parts in DETAILS.items():
        details = [d for chunk in chunks if isinstance(d := chunk.get(name), dict)]
        for part in parts:
            values = [d[part] for d in details if part in d]
            found = merged.get(name)
            assert (found.get(part) if isinstance(found, dict) else None) == (
                values[-1] if values else None
            )


@given(reports, reports)
def test_merging_a_chunk_twice_changes_nothing_and_edits_nothing(
    earlier: dict[str, object], chunk: dict[str, object]
) -> None:
    copies = (repr(earlier), repr(chunk))
    once = merge_stream_usage(earlier, chunk)

    assert merge_stream_usage(once, chunk) == once
    assert (repr(earlier), repr(chunk)) == copies


nothing = st.sampled_from([0, 0, 0, None, 3, False, 0.0, "0"])
details = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens"]),
    nothing,
)


@given(
    counts,
    counts,
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens_details": st.none() | details,
            "completion_tokens_details": st.none() | details,
            "prompt_cache": st.none() | details,
            "cache_read_input_tokens": nothing,
            "cache_creation_input_tokens": nothing,
        },
    ),
)
@example(9, 1, {"prompt_tokens_details": {"cached_tokens": False}})
@example(9, 1, {"completion_tokens_details": {"reasoning_tokens": 1}})
@example(9, 1, {"cache_read_input_tokens": False})
@example(9, 1, {"cache_creation_input_tokens": 0.0})
def test_plain_counts_with_or_without_zeros_are_read_as_any_other_report(
    prompt: int, completion: int, more: dict[str, object]
) -> None:
    plain: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **more,
    }

    # A split of no cache writes says nothing, and keeps a report from being read as a plain one.
    assert _read(plain) == _read({**plain, "cache_creation": {}})


def _read(report: Mapping[str, object]) -> ParsedUsage | str:
    try:
        return parse_usage(report)
    except UsageError as error:
        return str(error)
