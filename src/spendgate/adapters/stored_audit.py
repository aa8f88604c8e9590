"""The audit: every balance recounted from the journal and the open holds, and compared."""

from collections.abc import Mapping
from dataclasses import dataclass

from spendgate.adapters.sql_store import SqlConnection


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a recount of the journal found; no problems means every balance agrees."""

    problems: tuple[str, ...]
    balances_checked: int
    events: int
    holds_open: int
    spent_nano: int


def audit(connection: SqlConnection, sql: Mapping[str, str]) -> AuditReport:
    """Recount on one committed state, in the store's own SQL."""
    differences = connection.execute(sql["balance_differences"]).fetchall()
    holds = connection.execute(sql["hold_differences"]).fetchall()
    (orphans,) = connection.execute(sql["orphans"]).fetchone()
    (strays,) = connection.execute(sql["strays"]).fetchone()
    balances, events, open_holds, spent = connection.execute(sql["counts"]).fetchone()
    problems = [
        f"budget {budget} ({value}, {period}): spent {spent_now} nano-USD, journal says "
        f"{spent_journal}; held {held_now}, open holds say {held_open}"
        + (f"; counted {counted} entries, there are {named}" if counted != named else "")
        for budget, value, period, *figures in differences
        for spent_now, spent_journal, held_now, held_open, counted, named in [figures]
    ]
    problems += [
        f"hold {one} ({state}): charged {charged} of {amount} nano-USD in {count} events, "
        f"journal says {said} of {reserved} in {journalled}"
        for one, state, charged, count, amount, said, journalled, reserved in holds
    ]
    if orphans:
        problems.append(f"{orphans} journal entries name a balance that doesn't exist")
    if strays:
        problems.append(f"{strays} journal entries name a hold that doesn't exist")
    return AuditReport(tuple(problems), balances, events, open_holds, int(spent))
