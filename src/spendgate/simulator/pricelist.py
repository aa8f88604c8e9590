"""Price a call: integer nano-USD from the simulator's own price file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files

from spendgate.simulator.usage import Usage

PICO_PER_NANO = 1_000


@dataclass(frozen=True, slots=True)
class ModelRates:
    """Hold a model's rates in pico-USD per token, which are micro-USD per million tokens."""

    input: int
    output: int | None
    """None for a model that only embeds."""

    cache_read: int
    cache_write: int

    def cost_nano(self, usage: Usage) -> int:
        """Price disjoint parts of `usage` and round the sum up, once."""
        cost_pico = (
            usage.uncached_tokens * self.input
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_tokens * self.cache_write
            + usage.output_tokens * (self.output or 0)
        )
        return -(-cost_pico // PICO_PER_NANO)


def load_pricelist() -> dict[str, ModelRates]:
    """Read the rates of every model in `prices.json`; a missing cache rate is the input rate."""
    text = files("spendgate.simulator").joinpath("prices.json").read_text(encoding="utf-8")
    models: dict[str, dict[str, str]] = json.loads(text)["models"]
    return {name: _rates(row) for name, row in models.items()}


def _rates(row: Mapping[str, str]) -> ModelRates:
    rate = _pico(row["input"])
    return ModelRates(
        input=rate,
        output=_pico(row["output"]) if "output" in row else None,
        cache_read=_pico(row["cache_read"]) if "cache_read" in row else rate,
        cache_write=_pico(row["cache_write"]) if "cache_write" in row else rate,
    )


def _pico(usd_per_million: str) -> int:
    pico = Decimal(usd_per_million) * 1_000_000
    if pico != int(pico) or pico < 0:
        raise ValueError(f"{usd_per_million} USD per million is no whole pico-USD per token")
    return int(pico)
