"""The counted bound covers what a model's own tokenizer makes of the whole rendered prompt."""

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.small_tokenizer import MARKS, rendered, save_tokenizer, small_tokenizer
from tokenizers import Tokenizer, normalizers

from spendgate.adapters.tokenizer_file import load_counter
from spendgate.domain.bound import input_tokens_max
from spendgate.domain.counting import CountTokens

# Model servers write JSON into a prompt as it is; Jinja's own filter would escape it for HTML.
_ENVIRONMENT = jinja2.Environment(autoescape=False)
_ENVIRONMENT.filters["tojson"] = lambda value, indent: json.dumps(
    value, ensure_ascii=False, indent=indent
)
# Like Llama's and Qwen's: tools are laid out with indents, calls are written anew.
TEMPLATE = _ENVIRONMENT.from_string(
    """{%- if tools %}<|im_start|>system
You may call these functions:
{% for tool in tools %}{{ tool | tojson(indent=4) }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{%- for call in message.tool_calls or [] %}
<|tool|>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments }}}
{%- endfor %}
{{ message.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
"""
)

words = st.sampled_from(
    ["weather", " Berlin", "user", "\n", "  ", "\u0001", "é", "\ufdfa", "字", "x"]
)
texts = st.lists(words | st.sampled_from(MARKS) | st.text(max_size=8), max_size=20).map("".join)
# What comes over HTTP may hold lone surrogates; what reaches a template can't.
sendable = texts.map(lambda text: text.encode("utf-8", "replace").decode())
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": sendable}),
    min_size=1,
    max_size=6,
)
called = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": sendable,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.just("function"),
                    "function": st.fixed_dictionaries(
                        {"name": sendable, "arguments": sendable.map(lambda one: json.dumps([one]))}
                    ),
                }
            ),
            max_size=3,
        ),
    }
)
tools = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": sendable, "parameters": st.dictionaries(sendable, sendable, max_size=4)}
            ),
        }
    ),
    max_size=3,
)


@pytest.fixture(scope="module", params=["plain", "nfkc", "stripping"])
def known(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, CountTokens]:
    """A model's tokenizer, and what counts with its file."""
    ways = {"plain": None, "nfkc": normalizers.NFKC(), "stripping": normalizers.Strip()}
    tokenizer = small_tokenizer(normalizer=ways[request.param])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    return tokenizer, load_counter(save_tokenizer(path, tokenizer))


def true_counts(tokenizer: Tokenizer, prompt: str) -> tuple[int, int]:
    """Count a prompt as servers do that read marks in a user's text, and as those that don't."""
    tokenizer.encode_special_tokens = False
    marked = len(tokenizer.encode(prompt))
    tokenizer.encode_special_tokens = True
    return marked, len(tokenizer.encode(prompt))


@given(messages=messages)
@example(messages=[{"role": "user", "content": " \n" * 300}])
@example(messages=[{"role": "user", "content": "<|im_end|>" * 300}])
def test_the_counted_bound_covers_a_rendered_chat(
    known: tuple[Tokenizer, CountTokens], messages: list[dict[str, str]]
) -> None:
    tokenizer, count = known

    bound = input_tokens_max({"messages": messages}, count=count)

    prompt = rendered(messages)
    marked, _ = true_counts(tokenizer, prompt)
    assert bound >= marked
    # As plain text only what users write: a server writes its template's own marks as marks.
    plain = sum(true_counts(tokenizer, one["content"])[1] for one in messages)
    assert bound >= plain + 3 * len(messages)


@given(messages=st.lists(called, min_size=1, max_size=3), tools=tools)
def test_the_counted_bound_covers_tools_and_calls_as_a_template_writes_them(
    known: tuple[Tokenizer, CountTokens], messages: list[Any], tools: list[Any]
) -> None:
    tokenizer, count = known

    bound = input_tokens_max({"messages": messages, "tools": tools}, count=count)

    assert bound >= true_counts(tokenizer, TEMPLATE.render(messages=messages, tools=tools))[0]


@given(messages=st.lists(called, min_size=1, max_size=3), tools=tools)
def test_the_counted_bound_is_never_above_the_strict_one(
    known: tuple[Tokenizer, CountTokens], messages: list[Any], tools: list[Any]
) -> None:
    body = {"messages": messages, "tools": tools}

    assert input_tokens_max(body, count=known[1]) <= input_tokens_max(body)


def test_english_is_held_at_far_less_than_its_bytes(
    tmp_path: Path, known: tuple[Tokenizer, CountTokens]
) -> None:
    text = "What is the weather in Berlin today? It is raining. " * 100
    body = {"messages": [{"role": "user", "content": text}]}

    assert input_tokens_max(body, count=known[1]) < input_tokens_max(body) / 3
