"""Serve the tiny model with llama.cpp until standard input closes.

Run as a program (`python serve_tiny.py DIRECTORY [embeddings]`): it prints the server's address as
its first line; a server of embeddings makes nothing else. Reading standard input to its end ties
the server's life to its parent's, however that ends.
"""

import sys
from pathlib import Path

import tiny_gguf
import xllamacpp

MODEL_NAME = "tiny-llama"
PARALLEL_SLOTS = 4


def main(directory: Path, *, embeds: bool = False) -> None:
    """Build the model in `directory` and serve it on a free loopback port."""
    model = directory / "tiny.gguf"
    tiny_gguf.write_model(model)

    # pyright can't see into xllamacpp: it is a compiled module without stubs.
    params = xllamacpp.CommonParams()  # pyright: ignore[reportAttributeAccessIssue]
    params.model.path = str(model)
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.offline = True
    params.ui = False
    params.fit_params = False
    params.warmup = False
    params.n_ctx = tiny_gguf.CONTEXT_TOKENS * PARALLEL_SLOTS
    params.n_parallel = PARALLEL_SLOTS
    params.cpuparams.n_threads = 1
    if embeds:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN  # pyright: ignore[reportAttributeAccessIssue]
    server = xllamacpp.Server(params)  # pyright: ignore[reportAttributeAccessIssue]

    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), embeds=sys.argv[2:] == ["embeddings"])
