"""Text of any length, and lengths spread as widely as real answers are."""

import math
from functools import cache

SENTENCE = (
    "every answer of this simulated model is made of plain words that a client can count so the "
    "number of words equals the number of visible tokens it is billed for"
)
_PAGE_WORDS = 8192
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads neighbouring seeds


def words(seed: int, count: int) -> str:
    """Write `count` words, the same for the same seed."""
    page, ends = _page()
    start = seed % 1024
    if start + count <= _PAGE_WORDS:
        return page[ends[start] + 1 : ends[start + count]] if count else ""
    pages, rest = divmod(count, _PAGE_WORDS)
    return " ".join([page[1:]] * pages + ([page[1 : ends[rest]]] if rest else []))


def spread(seed: int, index: int) -> int:
    """Derive a 64-bit seed for the choice or call at `index`."""
    return (seed + index * _GOLDEN) % 2**64


def answer_length(seed: int, mean: int) -> int:
    """Draw an exponential length of at least one token, the same for the same seed."""
    uniform = ((seed >> 11) + 1) / 2**53
    return 1 + int(-math.log(uniform) * (mean - 1))


@cache
def _page() -> tuple[str, tuple[int, ...]]:
    """Make the page once: each word after a blank, and where every word ends."""
    vocabulary = SENTENCE.split()
    picks = (spread(0, index) % len(vocabulary) for index in range(_PAGE_WORDS))
    picked = [vocabulary[pick] for pick in picks]
    ends = [0]
    for word in picked:
        ends.append(ends[-1] + 1 + len(word))
    return "".join(f" {word}" for word in picked), tuple(ends)
