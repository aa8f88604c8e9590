"""Quartz cron expressions, as far as Databricks takes them: six or seven fields."""

import re

_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
_DAYS = "SUN MON TUE WED THU FRI SAT"
_FIELDS = (
    ("second", 0, 59, ""),
    ("minute", 0, 59, ""),
    ("hour", 0, 23, ""),
    ("day of month", 1, 31, ""),
    ("month", 1, 12, _MONTHS),
    ("day of week", 1, 7, "SUN MON TUE WED THU FRI SAT"),
    ("year", 1970, 2099, ""),
)
_PART = re.compile(r"(\*|(?P<from>\w+)(-(?P<to>\w+))?)(/(?P<step>\d+))?")


def quartz_problem(text: str) -> str | None:
    """Say what is wrong with an expression; None if nothing is."""
    fields = text.split()
    if len(fields) not in {6, 7}:
        return f"{text!r} has {len(fields)} fields instead of 6"
    if [fields[3], fields[5]].count("?") != 1:
        return f"{text!r} must have ? for the day of the month or of the week, not both"
    for value, (name, low, high, names) in zip(fields, _FIELDS, strict=False):
        if value == "?":
            if name not in {"day of month", "day of week"}:
                return f"{text!r}: {name} can't be ?"
            continue
        for part in value.split(","):
            if not _is_part(part, low, high, names):
                return f"{text!r}: {name} can't be {part!r}"
    return None


def _is_part(part: str, low: int, high: int, names: str) -> bool:
    found = _PART.fullmatch(part)
    if found is None:
        return False
    for end in (found["from"], found["to"]):
        if end is None or (len(end) == 3 and end.upper() in names):
            continue
        if not end.isdecimal() or not low <= int(end) <= high:
            return False
    return found["step"] is None or 1 <= int(found["step"]) <= high
