"""The rows of an answer straight from PyMySQL's connection, in large pieces: four times as fast as its cursor.

The text protocol sends each row as a packet, each value with its length before it (MariaDB's knowledge base: "Resultset
row", "Protocol data types"). PyMySQL makes an object of every packet and reads the socket 8 KB at a time. Nothing here
is for anything but the rows of one SELECT: commands, columns, errors and the way in are PyMySQL's own, and
tests/integration/test_mariadb_packets.py compares every row with its cursor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pymysql.protocol import MysqlPacket

Row = tuple[bytes | None, ...]
_BUFFER = 1 << 18
_MOST = 0xFFFFFF
"""A packet of this length goes on in the next one."""
_NULL, _TWO, _THREE, _ERROR, _END = 0xFB, 0xFC, 0xFD, 0xFF, 0xFE


def widen(connection: Any) -> None:
    """Let a fresh connection read its socket in large pieces; nothing of an answer may be waiting in it."""
    connection._rfile = connection._sock.makefile("rb", buffering=_BUFFER)  # noqa: SLF001


def rows(connection: Any, sql: str, *, most_rows: int, most_bytes: int) -> Iterator[list[Row]]:
    """The rows that `sql` gives, as they arrive, so many or so many bytes of them at a time.

    Raises:
        pymysql.Error: MariaDB refused, or broke off.
        EOFError: the connection broke.
    """
    connection.query(sql, unbuffered=True)
    result = connection._result  # noqa: SLF001
    read = connection._rfile.read  # noqa: SLF001
    found: list[Row] = []
    size = 0
    while (packet := _packet(read, result)) is not None:
        found.append(_row(packet))
        size += len(packet)
        if len(found) >= most_rows or size >= most_bytes:
            yield found
            found, size = [], 0
    if found:
        yield found


def _packet(read: Callable[[int], bytes], result: Any) -> bytes | None:
    """The next row, None behind the last one."""
    data = _one(read)
    if data[0] == _ERROR or (data[0] == _END and len(data) < 9):
        result.unbuffered_active, result.connection = False, None  # PyMySQL need not read on
        if data[0] == _ERROR:
            MysqlPacket(data, "utf8").raise_for_error()
        return None
    if len(data) < _MOST:
        return data
    parts = [data]
    while len(parts[-1]) == _MOST:
        parts.append(_one(read))
    return b"".join(parts)


def _one(read: Callable[[int], bytes]) -> bytes:
    """One packet: three bytes of length, a number, and what it holds."""
    head = read(4)
    if len(head) < 4:
        raise EOFError("the connection broke in the middle of an answer")
    length = head[0] | head[1] << 8 | head[2] << 16
    data = read(length)
    if len(data) < length:
        raise EOFError("the connection broke in the middle of a row")
    return data


def _row(packet: bytes) -> Row:
    """The values of a row: a length of 1, 3, 4 or 9 bytes before each, or the sign of NULL."""
    at, end = 0, len(packet)
    values: list[bytes | None] = []
    while at < end:
        size = packet[at]
        at += 1
        if size == _NULL:
            values.append(None)
            continue
        if size == _TWO:
            size = packet[at] | packet[at + 1] << 8
            at += 2
        elif size > _NULL:
            width = 3 if size == _THREE else 8
            size = int.from_bytes(packet[at : at + width], "little")
            at += width
        values.append(packet[at : at + size])
        at += size
    return tuple(values)
