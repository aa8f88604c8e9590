"""Count the calls among spend events."""

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.hold import EventKind

_FIRST_ENDS = (EventKind.SETTLED.value, EventKind.EXPIRED.value)


def charged_calls() -> Column:
    """Sum the calls that were charged: a void has no cost, and a correction's call has an event."""
    return F.sum(F.when(F.col("kind").isin(*_FIRST_ENDS), 1).otherwise(0))
