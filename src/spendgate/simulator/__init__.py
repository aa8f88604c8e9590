"""An OpenAI-compatible model server that bills on its own.

Owns: its routes, its tokenizer stand-in, its price file and its bill. The demo, the tests and the
benchmarks put it where a provider would be, and compare its bill with the ledger; so it imports
nothing from the rest of spendgate, and no bug can hide by being in both.
"""

from spendgate.simulator.app import create_app
from spendgate.simulator.server import run
from spendgate.simulator.settings import SimulatorSettings

__all__ = ["SimulatorSettings", "create_app", "run"]
