"""Build a tiny Llama model with random weights, so that llama.cpp can serve it without a download.

The tokenizer is real (SentencePiece with byte fallback); only the weights mean nothing.
"""

from pathlib import Path

import gguf
import numpy as np

CONTEXT_TOKENS = 4096
EMBEDDING_WIDTH = 64
FEED_FORWARD_WIDTH = 128
HEADS = 4
LAYERS = 2
SENTENCE = (
    "the a model answers with words that mean nothing but cost money all same budget agent "
    "token spend limit hold settle refuse allow window day week month team user task"
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def write_model(path: Path, seed: int = 7) -> None:
    """Write the model to `path` (about 0.6 MB); the same seed writes the same weights."""
    pieces, scores, kinds = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("spendgate-tiny")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(EMBEDDING_WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD_WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING_WIDTH // HEADS)
    writer.add_vocab_size(len(pieces))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    words = {pieces.index(f"▁{word}".encode()) for word in SENTENCE.split()}
    _add_weights(writer, len(pieces), words, seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """List pieces, scores and kinds: three controls, every byte, ASCII letters, then words."""
    kind = gguf.TokenType
    rows: list[tuple[str, float, int]] = [
        ("<unk>", 0.0, kind.UNKNOWN),
        ("<s>", 0.0, kind.CONTROL),
        ("</s>", 0.0, kind.CONTROL),
    ]
    rows += [(f"<0x{byte:02X}>", 0.0, kind.BYTE) for byte in range(256)]
    # SentencePiece joins neighbours only through pieces it knows: every prefix of a word is one.
    prefixes = {"▁"} | {chr(code) for code in range(33, 127)}
    for word in SENTENCE.split():
        prefixes |= {"▁" + word[:end] for end in range(1, len(word) + 1)}
    ordered = sorted(prefixes, key=lambda piece: (-len(piece), piece))
    rows += [(piece, -float(rank), kind.NORMAL) for rank, piece in enumerate(ordered)]
    return [row[0].encode() for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _add_weights(writer: gguf.GGUFWriter, vocabulary: int, word_rows: set[int], seed: int) -> None:
    random = np.random.default_rng(seed)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0.0, 0.05, shape).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(EMBEDDING_WIDTH, dtype=np.float32))

    tensor("token_embd.weight", vocabulary, EMBEDDING_WIDTH)
    ones("output_norm.weight")
    output = random.normal(0.0, 0.3, (vocabulary, EMBEDDING_WIDTH)).astype(np.float32)
    # Whatever isn't a word stays at logit 0, so that sampling prefers words over broken UTF-8.
    output[[row for row in range(vocabulary) if row not in word_rows]] = 0.0
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}"
        ones(f"{prefix}.attn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"{prefix}.{part}.weight", EMBEDDING_WIDTH, EMBEDDING_WIDTH)
        ones(f"{prefix}.ffn_norm.weight")
        tensor(f"{prefix}.ffn_gate.weight", FEED_FORWARD_WIDTH, EMBEDDING_WIDTH)
        tensor(f"{prefix}.ffn_up.weight", FEED_FORWARD_WIDTH, EMBEDDING_WIDTH)
        tensor(f"{prefix}.ffn_down.weight", EMBEDDING_WIDTH, FEED_FORWARD_WIDTH)
