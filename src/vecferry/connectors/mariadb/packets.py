"""The rows of an answer straight from PyMySQL's connection, in large pieces: many times as fast as its cursor.

PyMySQL makes an object of every packet and reads the socket 8 KB at a time. Nothing here is for anything but the rows
of one SELECT: commands, columns, errors and the way in are PyMySQL's own, and
tests/integration/test_mariadb_packets.py compares every row with its cursor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

from pymysql.protocol import MysqlPacket

from vecferry.connectors.mariadb._codec.block import Block, Row

__all__ = ["Row", "blocks", "rows", "widen"]
_PIECE = 1 << 18
_MOST = 0xFFFFFF
"""A packet of this length goes on in the next one."""
_ERROR, _END = 0xFF, 0xFE
_HEAD = Struct("<IB")
"""Three bytes of length and a number, and the first byte of what the packet holds; none is empty."""


def widen(connection: Any) -> None:
    """Let a fresh connection read its socket in large pieces; nothing of an answer may be waiting in it."""
    connection._rfile = connection._sock.makefile("rb", buffering=_PIECE)  # noqa: SLF001


def rows(connection: Any, sql: str, *, most_rows: int, most_bytes: int) -> Iterator[list[Row]]:
    """`blocks`, as tuples."""
    for block in blocks(connection, sql, most_rows=most_rows, most_bytes=most_bytes):
        yield block.rows()


def blocks(connection: Any, sql: str, *, most_rows: int, most_bytes: int) -> Iterator[Block]:
    """The rows that `sql` gives, as they arrive, so many or so many bytes of them at a time.

    A block can be read until the next one is asked for: they stand in the same memory, which is no new one for each.

    Raises:
        pymysql.Error: MariaDB refused, or broke off.
        EOFError: the connection broke.
    """
    connection.query(sql, unbuffered=True)
    result = connection._result  # noqa: SLF001
    packets = _Packets(connection._rfile.readinto1)  # noqa: SLF001
    last: bytes | None = None
    while last is None:
        starts, ends = packets.rows(most_rows, most_bytes)
        last = packets.last
        if last is not None:
            result.unbuffered_active, result.connection = False, None  # PyMySQL need not read on
            if last[0] == _ERROR:
                MysqlPacket(last, "utf8").raise_for_error()
        if starts:
            yield Block(packets.data, starts, ends, result.field_count)


class _Packets:
    """What has arrived of an answer.

    Attributes:
        data: rows, and room for more.
        last: the packet behind the last row; None before it has arrived.
    """

    def __init__(self, read: Callable[[memoryview], int]) -> None:
        self._read = read
        self.data = bytearray(_PIECE)
        self.last: bytes | None = None
        self._had, self._there = 0, 0

    def rows(self, most_rows: int, most_bytes: int) -> tuple[list[int], list[int]]:
        """Where the next rows begin and end in `data`; fewer than so many, or so many bytes, where they are the last.

        Raises:
            EOFError: the connection broke.
        """
        self._move_up()
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        while len(starts) < most_rows and at < most_bytes:
            if at + _HEAD.size > self._there:
                self._wait_for(at + _HEAD.size)
            head, first = _HEAD.unpack_from(self.data, at)
            at, end = at + 4, at + 4 + (head & _MOST)
            if end > self._there:
                self._wait_for(end)
            if first >= _END and (first == _ERROR or end - at < 9):
                self.last = bytes(self.data[at:end])
                break
            if end - at == _MOST:
                end = self._joined(at)
            starts.append(at)
            ends.append(end)
            at = end
        self._had = at
        return starts, ends

    def _move_up(self) -> None:
        """Bring what nobody has had to the front."""
        left = self._there - self._had
        self.data[:left] = self.data[self._had : self._there]
        self._had, self._there = 0, left

    def _wait_for(self, there: int) -> None:
        """Read until so many bytes are there.

        Never more at a time than the reader has a buffer: where there is more room it gives what it has, and then waits
        for more than the answer may have.
        """
        if there > len(self.data):
            self.data.extend(bytes(max(there, 2 * len(self.data)) - len(self.data)))
        while self._there < there:
            with memoryview(self.data)[self._there : self._there + _PIECE] as room:
                arrived = self._read(room)
            if not arrived:
                raise EOFError("the connection broke in the middle of an answer")
            self._there += arrived

    def _joined(self, at: int) -> int:
        """Where a row ends that begins at `at` and goes on in further packets; their heads are taken out."""
        end, length = at + _MOST, _MOST
        while length == _MOST:
            self._wait_for(end + 4)
            length = int.from_bytes(self.data[end : end + 3], "little")
            self._wait_for(end + 4 + length)
            del self.data[end : end + 4]
            self._there -= 4
            end += length
        return end
