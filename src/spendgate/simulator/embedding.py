"""Read an embeddings call and make its vectors."""

import base64
import hashlib
import struct
from dataclasses import dataclass

from spendgate.simulator.directive import Directives
from spendgate.simulator.prompt import utf8_length
from spendgate.simulator.settings import SimulatorSettings
from spendgate.simulator.usage import GARBAGE, Usage, embedding_usage
from spendgate.simulator.wire import BadCallError, JsonObject, encode, list_in, whole

DIMENSIONS = 1024  # as databricks-gte-large-en has
_MOST_DIMENSIONS = 8192
_MOST_INPUTS = 2048


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """The encoded answer to one call, and what it used."""

    payload: bytes
    usage: Usage


def answer_embedding(
    body: JsonObject, model: str, settings: SimulatorSettings, directives: Directives
) -> EmbeddingAnswer:
    """Embed each input as numbers made from its hash. Raise BadCallError."""
    inputs = _inputs(body.get("input"))
    dimensions = DIMENSIONS
    if body.get("dimensions") is not None:
        dimensions = whole(body["dimensions"], "dimensions", 1, _MOST_DIMENSIONS)
    as_base64 = body.get("encoding_format") == "base64"
    counted = sum(_count(entry, settings.bytes_per_token) for entry in inputs)
    usage = Usage(counted if directives.prompt_tokens is None else directives.prompt_tokens)
    answer: dict[str, object] = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _vector(entry, dimensions, as_base64),
            }
            for index, entry in enumerate(inputs)
        ],
        "model": model,
    }
    if not directives.no_usage:
        answer["usage"] = GARBAGE if directives.garbage_usage else embedding_usage(usage)
    return EmbeddingAnswer(encode(answer), usage)


def _inputs(value: object) -> list[str | list[object]]:
    """List the inputs: a text, a list of texts, a list of token ids, or a list of such lists."""
    entries = list_in(value) or [value]
    if entries and all(isinstance(entry, int) for entry in entries):
        entries = [entries]
    inputs = [entry if isinstance(entry, str) else list_in(entry) for entry in entries]
    if not all(inputs) or len(inputs) > _MOST_INPUTS:
        raise BadCallError(f"input must be 1 to {_MOST_INPUTS} texts or token lists, none empty")
    return inputs


def _count(entry: str | list[object], bytes_per_token: int) -> int:
    if isinstance(entry, str):
        return -(-utf8_length(entry) // bytes_per_token)
    return len(entry)


def _vector(entry: str | list[object], dimensions: int, as_base64: bool) -> object:
    digest = hashlib.shake_256(encode({"entry": entry})).digest(2 * dimensions)
    vector = [number / 32768 for number in struct.unpack(f"<{dimensions}h", digest)]
    if as_base64:
        return base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode("ascii")
    return vector
