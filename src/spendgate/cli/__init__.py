"""The `spendgate` command: administration, hosts, jobs and queries.

Owns: flags, tables, exit codes (0 done, 1 failed, 2 wrong usage). Decides nothing about money.

Commands import what is slow to load (MLflow, Spark, delta-rs: seconds) inside their functions, so
that `spendgate budget set` answers at once. It is the one reason for a local import here, each
marked `PLC0415 - slow to load`.
"""

from spendgate.cli.program import main

__all__ = ["main"]
