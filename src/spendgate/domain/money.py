"""Money as integer nano-USD: exact, and never a float.

One nano-dollar is 10⁻⁹ USD. Rates are finer (pico-USD per token), so a call's cost is summed in
pico and rounded up to the nano once (DESIGN §2.5).
"""

from decimal import ROUND_UP, Context, Decimal, Inexact, InvalidOperation

NANO_PER_USD = 10**9
PICO_PER_NANO = 10**3
NANO_MAX = 2**63 - 1
"""The largest amount a ledger column (a signed 64-bit integer) can hold: about $9.2 billion."""

_ONE_NANO = Decimal("1e-9")
# Traps what a default context does silently: digits lost by rounding, tiny amounts read as zero.
_EXACT = Context(prec=19, traps=[Inexact, InvalidOperation])
_UP = Context(prec=19, rounding=ROUND_UP, traps=[InvalidOperation])


class MoneyError(ValueError):
    """An amount can't be read as US dollars with at most nine decimals."""


def parse_usd(text: str | int | Decimal, *, rounds_up: bool = False) -> int:
    """Read US dollars into nano-USD, exactly, or rounded away from zero to the nano-dollar.

    Raises:
        MoneyError: if the text is no finite decimal number, has more than nine decimals and isn't
            to be rounded, or doesn't fit a signed 64-bit integer.
    """
    context = _UP if rounds_up else _EXACT
    if isinstance(text, bool):
        raise MoneyError("a money amount is a number, not true or false")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise MoneyError(f"{_short(text)} is not a money amount; write it like 12.50") from None
    if not amount.is_finite():
        raise MoneyError(f"{_short(amount)} is not a finite amount")
    if amount.copy_abs() > to_decimal(NANO_MAX):
        raise MoneyError(f"{_short(amount)} USD is more than a ledger can hold (about 9.2 billion)")
    try:
        return int(amount.quantize(_ONE_NANO, context=context).scaleb(9, context=context))
    except Inexact:
        raise MoneyError(f"{_short(amount)} has more than nine decimals") from None


def format_usd(nano: int) -> str:
    """Write nano-USD as dollars with nine decimals, such as `0.001230000`."""
    if nano < 0:
        return f"-{format_usd(-nano)}"
    return "%d.%09d" % divmod(nano, NANO_PER_USD)  # noqa: UP031 - two thirds of an f-string's time


def to_decimal(nano: int) -> Decimal:
    """Convert nano-USD to dollars as a Decimal of scale nine."""
    return Decimal(format_usd(nano))


def nano_from_pico(pico: int) -> int:
    """Round a sum of pico-USD up to whole nano-USD: a bill is never rounded in our favour."""
    return -(-pico // PICO_PER_NANO)


def _short(text: object) -> str:
    return repr(str(text)[:40])
