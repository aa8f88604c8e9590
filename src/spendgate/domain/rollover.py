"""Rollover: what one calendar window leaves of its own limit can be spent in the next one.

Nothing is reset and nothing is stored: both sides are derived from the balances of neighbouring
windows, read together. So an end that comes late in the old window changes the new one's limit, a
hold that is still open there counts as spent, and what was carried is not carried a second time.

A window that follows may be in use before this one is over, where clocks differ. What it has taken
is this window's no more. Hence, of two neighbours, what one has above its own limit is never more
than what the other has left of its own: Σ used ≤ Σ own limits over any windows, whatever the order
of the calls (as long as nobody changes the limit, and no bill is above its bound).
"""

from datetime import timedelta

from spendgate.domain.window import Window, WindowKind, WindowSpec, window_at

CALENDAR = frozenset(WindowKind) - {WindowKind.LIFETIME, WindowKind.ROLLING}
"""The windows that have one before and one after them."""
_MICROSECOND = timedelta(microseconds=1)


def neighbour_keys(spec: WindowSpec, tz: str, window: Window) -> tuple[str, str] | None:
    """Return the keys of the windows before and after one; None where time isn't tiled."""
    if window.start is None or window.end is None:
        return None
    before = window_at(spec, tz, window.start - _MICROSECOND)
    return before.key, window_at(spec, tz, window.end).key


def carried_nano(
    own_nano: int, carry_max_nano: int, before_nano: int | None, after_nano: int
) -> int:
    """Return what a window may spend beyond its own limit; negative where the next has taken some.

    Args:
        own_nano: what each window may spend by itself, raises left out: they are for their time.
        carry_max_nano: the most that is carried from one window to the next.
        before_nano: spent and held in the window before; None where it has no balance. A budget, or
            a value of its scope, that was not in use then carries nothing.
        after_nano: spent and held in the window after.
    """
    taken = after_nano - own_nano
    if taken > 0:
        return -min(taken, carry_max_nano)
    if before_nano is None:
        return 0
    return min(carry_max_nano, max(0, own_nano - before_nano))
