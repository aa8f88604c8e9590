"""Tokenizers that a policy names: how they are loaded and count, and what is told of them."""

import builtins
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.small_tokenizer import save_tokenizer, small_tokenizer
from tokenizers import AddedToken, normalizers
from tokenizers.processors import TemplateProcessing

from spendgate.adapters import tokenizer_file
from spendgate.adapters.policy_source import load_policy
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.tokenizer_checks import uncounted
from spendgate.adapters.tokenizer_file import (
    SLICE_CHARACTERS,
    UNCOUNTABLE,
    counters_of,
    load_counter,
)
from spendgate.bootstrap import utc_now
from spendgate.domain.budget import ModelLimits, Policy
from spendgate.errors import PolicyError


def policy_file(folder: Path, tokenizer: str, *, bound: str = "counted") -> Path:
    file = folder / "budgets.yml"
    row = {"id": "b", "scope": {}, "limit_usd": 1, "bound": bound}
    models = {"databricks-gpt-oss-20b": {"tokenizer": tokenizer}}
    file.write_text(json.dumps({"budgets": [row], "models": models}))
    return file


def load(file: Path) -> Policy:
    return load_policy(file, book=load_price_book(), at=utc_now())


def test_a_mark_in_a_text_counts_as_the_plain_text_it_may_be(tmp_path: Path) -> None:
    count = load_counter(save_tokenizer(tmp_path / "t.json"))

    assert len(small_tokenizer().encode("<|im_end|>")) == 1
    assert count("<|im_end|>") > 3


def test_truncation_padding_and_dropout_of_the_file_are_off(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.model.dropout = 0.9  # pyright: ignore[reportAttributeAccessIssue]
    plain = load_counter(save_tokenizer(tmp_path / "plain.json"))

    count = load_counter(save_tokenizer(tmp_path / "cut.json", tokenizer))

    text = "What is the weather in Berlin today? " * 20
    assert count(text) == plain(text) > 100
    assert count("a") == plain("a")


def test_sentence_marks_that_the_file_adds_to_each_text_are_not_counted(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="<|tool|> $A", special_tokens=[("<|tool|>", 2)]
    )
    count = load_counter(save_tokenizer(tmp_path / "t.json", tokenizer))

    assert len(tokenizer.encode("")) == 1
    assert count("") == 0


def test_blanks_that_a_tokenizer_strips_from_a_text_count_as_inside_a_prompt(
    tmp_path: Path,
) -> None:
    stripping = small_tokenizer(normalizer=normalizers.Strip())
    count = load_counter(save_tokenizer(tmp_path / "t.json", stripping))
    blanks = "\n \n" * 50

    assert len(stripping.encode(blanks)) == 0
    assert count(blanks) >= len(stripping.encode(f"user{blanks}user")) - 2


@pytest.mark.parametrize(
    "text",
    ["a\ud800b", "", "\x00", "\ufdfa" * 10, "🏳️‍🌈", "x" * (3 * SLICE_CHARACTERS + 1)],
    ids=["surrogate", "empty", "nul", "ligature", "emoji", "long"],
)
def test_any_text_has_a_count(tmp_path: Path, text: str) -> None:
    count = load_counter(save_tokenizer(tmp_path / "t.json"))

    assert 0 <= count(text) <= 3 * len(text.encode("utf-8", "surrogatepass"))


def test_a_long_text_is_counted_in_slices_as_it_is_at_once(tmp_path: Path) -> None:
    count = load_counter(save_tokenizer(tmp_path / "t.json"))
    text = "What is the weather in Berlin today? " * 5_000
    whole = len(small_tokenizer().encode(text))

    assert len(text) > 4 * SLICE_CHARACTERS
    assert abs(count(text) - whole) <= 8


def test_a_text_that_fails_to_count_leaves_the_strict_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def encode_batch_fast(self, texts: list[str], **_: object) -> list[list[int]]:
            if "secret" in texts[0]:
                raise Exception(f"can't encode {texts[0]}")
            return [[0] * len(texts[0])]

    count = tokenizer_file.TokenCounter(Failing())  # type: ignore[arg-type]

    assert count("secret words") == UNCOUNTABLE
    assert "secret" not in caplog.text
    assert "strict bound" in caplog.text


def test_many_threads_count_with_one_tokenizer(tmp_path: Path) -> None:
    count = load_counter(save_tokenizer(tmp_path / "t.json"))
    texts = ["What is the weather? " * (number + 1) for number in range(50)]
    expected = [count(text) for text in texts]
    found: list[list[int]] = []

    def work() -> None:
        found.append([count(text) for text in texts])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [expected] * 8


def test_a_file_is_loaded_once_and_again_when_it_changed(tmp_path: Path) -> None:
    reference = save_tokenizer(tmp_path / "t.json")
    first = load_counter(reference)

    assert load_counter(reference) is first
    changed = small_tokenizer()
    changed.add_special_tokens([AddedToken("<|new|>")])
    save_tokenizer(tmp_path / "t.json", changed)
    assert load_counter(reference) is not first


def test_a_relative_path_begins_at_the_policy_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policies").mkdir()
    save_tokenizer(tmp_path / "policies" / "t.json")
    file = policy_file(tmp_path / "policies", "file:t.json")
    monkeypatch.chdir(tmp_path)

    policy = load(file)

    assert policy.models["databricks-gpt-oss-20b"].tokenizer == (
        f"file:{tmp_path / 'policies' / 't.json'}"
    )
    assert counters_of(policy)["databricks-gpt-oss-20b"]("weather") > 0


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (None, "No such file or directory; name the model's tokenizer.json"),
        (lambda file: file.write_text("{"), "is no tokenizer.json that can be used"),
        (lambda file: file.write_text('{"version": "1.0", "model": {}}'), "is no tokenizer.json"),
        (lambda file: file.write_bytes(b"\xff\xfe\x00"), "is no tokenizer.json"),
        (lambda file: file.mkdir(), "is no tokenizer.json"),
    ],
    ids=["missing", "cut off", "other JSON", "binary", "folder"],
)
def test_a_file_that_can_not_be_used_is_one_clear_problem(
    tmp_path: Path, write: Callable[[Path], Any] | None, problem: str
) -> None:
    if write is not None:
        write(tmp_path / "t.json")

    with pytest.raises(PolicyError) as caught:
        load(policy_file(tmp_path, "file:t.json"))

    (line,) = str(caught.value).splitlines()
    assert line.startswith("budgets.yml: model 'databricks-gpt-oss-20b': tokenizer: ")
    assert problem in line
    assert "remove the line" in line


def test_without_the_extra_the_policy_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tokenizer(tmp_path / "t.json")
    found = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(PolicyError, match=r"install spendgate\[counted\], or remove the line"):
        load(policy_file(tmp_path, "file:t.json"))


@pytest.mark.parametrize("reference", ["t.json", "file:", "env:T", 17, ["file:t.json"]])
def test_a_reference_that_is_no_file_is_named(tmp_path: Path, reference: Any) -> None:
    with pytest.raises(PolicyError, match=r"tokenizer: must say where .* file:PATH"):
        load(policy_file(tmp_path, reference))


def test_a_host_without_the_file_says_so_and_bounds_strictly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = Policy(models={"m": ModelLimits(tokenizer=f"file:{tmp_path}/none.json")})

    with caplog.at_level(logging.ERROR):
        assert counters_of(policy) == {}

    assert "model 'm' is bounded strictly: tokenizer: " in caplog.text


def test_a_counted_budget_without_any_tokenizer_is_told(tmp_path: Path) -> None:
    file = tmp_path / "budgets.yml"
    file.write_text("budgets: [{id: b, scope: {}, limit_usd: 1, bound: counted}]")

    assert uncounted(load(file)) == (
        "'b': bound: counted, but no model has a tokenizer; all are bounded strictly"
    )


def test_the_models_that_have_no_tokenizer_are_named(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "t.json")
    policy = load(policy_file(tmp_path, "file:t.json"))
    assert uncounted(policy) is None

    more = Policy(policy.budgets, models={**policy.models, "other": ModelLimits(image_tokens=1)})
    assert uncounted(more) == ("'b': bound: counted, but other have no tokenizer: bounded strictly")
    strict = load(policy_file(tmp_path, "file:t.json", bound="strict"))
    assert uncounted(strict) is None
