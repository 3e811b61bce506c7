"""Rows of one statement, as COPY sends them, in blocks; the next block is under way while one is decoded."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

from psycopg.errors import error_from_result
from psycopg.generators import fetch_many

from vecferry.connectors.postgres._codec.copy_read import TRAILER, Rows, without_header
from vecferry.connectors.postgres.access import Connection

Item = TypeVar("Item")
_AHEAD = 2
_FAREWELL = 10.0
_PATIENCE = 0.1
"""Seconds after which a reader that nobody listens to looks whether it should stop."""


def blocks(connection: Connection, select: str, *, rows: int, size: int) -> Generator[Rows, None, None]:
    """The rows of `select` in blocks of at most `rows` rows and, save for one large row, `size` bytes."""
    block = Rows()
    with connection.cursor() as cursor, cursor.copy(f"COPY ({select}) TO STDOUT (FORMAT binary)".encode()) as copy:
        for row in _rows(connection, iter(copy)):
            if block.ends and (len(block.ends) >= rows or block.ends[-1] + len(row) > size):
                yield block
                block = Rows()
            block.add(row)
    if block.ends:
        yield block


def _rows(connection: Connection, messages: Iterator[bytes | bytearray | memoryview]) -> Iterator[bytes | memoryview]:
    """The rows of a COPY: what has arrived is taken from libpq itself, which is quicker; `messages` waits for more."""
    arrived = connection.pgconn.get_copy_data
    message: bytes | memoryview = without_header(bytes(next(messages, b"")))
    size = len(message)
    while True:
        while size > len(TRAILER):  # which is shorter than any row
            yield message
            size, message = arrived(1)
        if size < 0:
            raise _ended(connection)
        if (following := next(messages, None)) is None:
            return
        message = memoryview(following)
        size = len(message)


def _ended(connection: Connection) -> Exception:
    """The error with which the server ended a COPY: a whole one has a trailer before its end."""
    result = connection.wait(fetch_many(connection.pgconn))[0]
    return error_from_result(result, encoding=connection.info.encoding)


def ahead(items: Generator[Item, None, None]) -> Iterator[Item]:
    """`items`, of which a thread of its own has the next ones ready. Who stops early stops the thread too.

    Raises:
        Exception: whatever `items` raises, in its place.
    """
    ready: Queue[tuple[Item | None, BaseException | None]] = Queue(_AHEAD)
    unwanted = Event()
    thread = Thread(target=_fill, args=(items, ready, unwanted), name="vecferry-copy", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        unwanted.set()
        _drain(ready)
        thread.join(_FAREWELL)  # one that waits for a server that says nothing ends with the process


def _fill(
    items: Generator[Item, None, None], ready: Queue[tuple[Item | None, BaseException | None]], unwanted: Event
) -> None:
    end: BaseException | None = None
    try:
        with closing(items):
            for item in items:
                if not _put(ready, (item, None), unwanted):
                    return
    except BaseException as error:  # noqa: BLE001 (told to who reads)
        end = error
    _put(ready, (None, end), unwanted)


def _put(ready: Queue[Item], item: Item, unwanted: Event) -> bool:
    while not unwanted.is_set():
        try:
            ready.put(item, timeout=_PATIENCE)
        except Full:
            continue
        return True
    return False


def _drain(ready: Queue[Item]) -> None:
    while True:
        try:
            ready.get_nowait()
        except Empty:
            return
