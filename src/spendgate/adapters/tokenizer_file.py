"""A model's own tokenizer from its `tokenizer.json`, counting texts for the counted bound.

What a caller writes is counted as plain text: a provider that doesn't read `<|im_end|>` in it as
one token spends seven on it. Sentence marks such as BOS are left to the template's constants.
Truncation, padding and dropout, which a file may bring along, are off: each could lose tokens.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from spendgate.domain.budget import Policy
from spendgate.domain.counting import CountTokens
from spendgate.errors import PolicyError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_log = logging.getLogger(__name__)
FILE = "file:"
SLICE_CHARACTERS = 32_768
"""Longer texts are counted in slices: a token needs a hundred bytes of memory while it is counted,
and a body may have millions of them. A cut adds or hides a token or two in some thousands."""
UNCOUNTABLE = 10**12
"""More than any strict bound, which is then the one that holds."""
_FILES_MAX = 64


class TokenCounter:
    """Counts texts with one tokenizer; safe for many threads, which don't wait for each other."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._guard = ""
        if self._plain("x \n\t x") - self._plain("x") > self._plain(" \n\t x"):
            self._guard = "x"  # it strips a text's ends, which are no ends in the prompt

    def __call__(self, text: str) -> int:
        """Return the tokens of a text, special ones as the plain text they are."""
        try:
            return sum(map(self._plain, _slices(self._guard + text + self._guard)))
        except Exception:  # noqa: BLE001 - the library raises nothing narrower, perhaps with the text
            _log.warning("a text has no count by its model's tokenizer; the strict bound is used")
            return UNCOUNTABLE

    def _plain(self, text: str) -> int:
        # The batch call lets other threads run meanwhile and skips offsets; `encode` does neither.
        (found,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return len(found)


def load_counter(reference: str) -> CountTokens:
    """Load the tokenizer of a `file:PATH`, once per process and version of the file.

    Raises:
        PolicyError: if there is none, or it can't be used; says the way out.
    """
    path = Path(reference.removeprefix(FILE))
    try:
        stat = path.stat()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PolicyError(
            f"{path}: {reason}; name the model's tokenizer.json, or remove the line"
        ) from None
    with _LOADING:
        return _loaded(path, stat.st_mtime_ns, stat.st_size)


def counters_of(policy: Policy) -> Mapping[str, CountTokens]:
    """Load the tokenizers of a policy's models; one that isn't usable here is logged, left out."""
    counters: dict[str, CountTokens] = {}
    for model, limits in policy.models.items():
        if limits.tokenizer is None:
            continue
        try:
            counters[model] = load_counter(limits.tokenizer)
        except PolicyError as error:
            _log.error("model %r is bounded strictly: tokenizer: %s", model, error)
    return counters


_LOADING = threading.Lock()


@lru_cache(maxsize=_FILES_MAX)
def _loaded(path: Path, changed_ns: int, byte_count: int) -> TokenCounter:
    del changed_ns, byte_count  # they name the file's version
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise PolicyError(
            "needs the package tokenizers; install spendgate[counted], or remove the line"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        if getattr(tokenizer.model, "dropout", None) is not None:
            tokenizer.model.dropout = None
        return TokenCounter(tokenizer)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        reason = str(error)[:200]
        raise PolicyError(
            f"{path}: is no tokenizer.json that can be used ({reason}); export it anew from the "
            "model, or remove the line"
        ) from None


def _slices(text: str) -> Iterator[str]:
    """Cut a long text, between words where there are any."""
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # it can be any JSON
    start = 0
    while len(text) - start > SLICE_CHARACTERS:
        end = start + SLICE_CHARACTERS
        space = text.rfind(" ", start + SLICE_CHARACTERS // 2, end)
        end = end if space < 0 else space
        yield text[start:end]
        start = end
    yield text[start:]
