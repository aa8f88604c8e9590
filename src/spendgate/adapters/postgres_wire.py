"""Prepared statements sent together in one round trip, below psycopg's cursors.

A cursor costs some 50 µs for each statement; a reserve has four and is asked for hundreds of times
a second. Parameters travel as text: numbers, strings, and arrays written by this module.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.waiting import Ready, Wait

Row = tuple[Any, ...]
Command = tuple[str, Sequence[int | str]]
"""A statement with `%s` for its parameters, and these."""
_BACKSLASH, _TWO = "\\", "\\\\"
_QUOTE, _ESCAPED = '"', '\\"'
_OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class PostgresWire:
    """The statements that one connection has prepared, and a way to send several at once."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection
        self._names: dict[str, bytes] = {}
        self._made = 0

    def exchange(self, commands: Sequence[Command]) -> list[list[Row]]:
        """Send all commands, wait for all answers; return each one's rows.

        Raises:
            psycopg.Error: that of the first command that failed; those after it weren't run.
        """
        pgconn = self._connection.pgconn
        encoded = [(sql, [_encoded(one) for one in parameters]) for sql, parameters in commands]
        is_over = False
        try:
            pgconn.enter_pipeline_mode()
            names = [self._send(pgconn, sql, values) for sql, values in encoded]
            pgconn.pipeline_sync()
            results = self._connection.wait(_received(pgconn))
            pgconn.exit_pipeline_mode()
            is_over = True
        finally:
            if not is_over:
                self._connection.close()  # in the middle of something: nothing else fits in here
        return self._rows(commands, names, results)

    def _send(self, pgconn: pq.abc.PGconn, sql: str, values: list[bytes]) -> bytes:
        """Queue one command; return the name that it is being prepared under, if it is."""
        name = self._names.get(sql)
        if name is not None:
            pgconn.send_query_prepared(name, values)
            return b""
        self._made += 1
        # Begins with the statement's own first word, for those who look at what runs.
        name = b"%s spendgate %d" % (sql.split(maxsplit=1)[0].encode(), self._made)
        pgconn.send_prepare(name, _numbered(sql))
        pgconn.send_query_prepared(name, values)
        return name

    def _rows(
        self,
        commands: Sequence[Command],
        names: Sequence[bytes],
        results: Iterable[pq.abc.PGresult],
    ) -> list[list[Row]]:
        rows: list[list[Row]] = []
        one_by_one = iter(results)
        loader = Transformer(self._connection)
        for (sql, _), name in zip(commands, names, strict=True):
            if name:
                _check(next(one_by_one))
                self._names[sql] = name
            result = next(one_by_one)
            _check(result)
            if result.ntuples:
                loader.set_pgresult(result)
                rows.append(loader.load_rows(0, result.ntuples, tuple))
            else:
                rows.append([])
        return rows


def array(values: Iterable[int]) -> str:
    """Write an array of numbers as Postgres reads it."""
    return "{" + ",".join(map(str, values)) + "}"


def text_array(values: Sequence[str]) -> str:
    """Write an array of texts as Postgres reads it."""
    if not values:
        return "{}"
    plain = '","'.join(values)
    if _BACKSLASH not in plain and plain.count(_QUOTE) == 2 * (len(values) - 1):
        return f'{{"{plain}"}}'  # nearly always: nothing in them is to be escaped
    quoted = [f'"{one.replace(_BACKSLASH, _TWO).replace(_QUOTE, _ESCAPED)}"' for one in values]
    return "{" + ",".join(quoted) + "}"


def lines(values: Iterable[str]) -> str:
    """Write JSON texts one below the other; none of them has a line break of its own."""
    return "\n".join(values)


@cache
def _numbered(sql: str) -> bytes:
    """Return a statement with `$1`, `$2` … in the place of each `%s`."""
    first, *rest = sql.split("%s")
    return "".join([first, *(f"${n}{part}" for n, part in enumerate(rest, 1))]).encode()


def _encoded(value: int | str) -> bytes:
    text = str(value).encode()
    if b"\0" in text:
        raise psycopg.DataError("a text with a NUL can't be stored")
    return text


def _check(result: pq.abc.PGresult) -> None:
    if result.status not in _OK:
        raise error_from_result(result)


def _received(pgconn: pq.abc.PGconn) -> PQGen[list[pq.abc.PGresult]]:
    """Send what is queued and collect the results up to the end of the round trip."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    results: list[pq.abc.PGresult] = []
    while True:
        while pgconn.is_busy():
            if (yield Wait.R):
                pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            if pgconn.status == pq.ConnStatus.BAD:
                raise psycopg.OperationalError("the connection is lost")
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return results
        results.append(result)
