"""Allocation: divide a charge into parts that add up to it exactly."""

from collections.abc import Sequence
from itertools import accumulate, pairwise


def allocate(amount: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Divide a whole amount in proportion to weights; the parts add up to it exactly.

    Each running sum of the parts is the exact share, rounded towards zero, so a part is less than
    one away from its share, and one without weight gets nothing. A credit is divided as a charge
    is. `transforms.charges` does the same in columns, which a test compares.

    Raises:
        ValueError: if a weight is negative, or none is positive.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("a weight can't be negative")
    total = sum(weights)
    if total == 0:
        raise ValueError("an amount needs a positive weight to be divided by")
    sign = -1 if amount < 0 else 1
    sums = [abs(amount) * upto // total for upto in accumulate(weights, initial=0)]
    return tuple(sign * (upto - before) for before, upto in pairwise(sums))
