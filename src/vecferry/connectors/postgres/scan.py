"""Rows of one statement, as COPY sends them, in blocks; the next block is under way while one is decoded."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

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
        for row in _rows(iter(copy)):
            if len(block) and (len(block) >= rows or len(block.data) + len(row) > size):
                yield block
                block = Rows()
            block.add(row)
    if len(block):
        yield block


def _rows(messages: Iterator[bytes | bytearray | memoryview]) -> Iterator[bytes | memoryview]:
    first = without_header(bytes(next(messages, b"")))
    if first and first != TRAILER:
        yield first
    for message in messages:
        if message != TRAILER:
            yield memoryview(message)


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
