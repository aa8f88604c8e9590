"""A small tokenizer like those of chat models, trained in a moment and saved as a file."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

MARKS = ("<|im_start|>", "<|im_end|>", "<|tool|>")
_TEXTS = (
    "You are a helpful assistant. Answer the user's questions in short, plain sentences.",
    "What is the weather in Berlin today? It is raining, and tomorrow the sun will shine.",
    '{"type": "function", "function": {"name": "get_weather", "parameters": {"city": "Berlin"}}}',
    "role user assistant system tool content arguments name description properties required",
)


def small_tokenizer(*, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    """Train a byte-level BPE tokenizer with the marks of a chat template."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS * 5, trainer)
    return tokenizer


def save_tokenizer(path: Path, tokenizer: Tokenizer | None = None) -> str:
    """Write a tokenizer's file and return the reference that a policy names it by."""
    (tokenizer or small_tokenizer()).save(str(path))
    return f"file:{path}"


def rendered(messages: Sequence[dict[str, str]]) -> str:
    """Write messages as ChatML does, with the beginning of the answer."""
    turns = [f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages]
    return "".join(turns) + "<|im_start|>assistant\n"
