"""Qdrant's edge engine behind a fence: typed calls, our errors, and guards where the engine would take us down with it.

Facts about qdrant-edge-py 0.9.0 that this module answers for (docs/adr, "Embedded Qdrant", has how they were measured):

- A full disk kills the process: the engine writes into mapped files, and the kernel answers with SIGBUS. So every
  call that may write looks at the free space first and refuses while there is still room to close in order.
- A payload nested deeper than 123 levels is accepted, and the folder can never be opened again.
- Its errors are bare `Exception`s, its panics derive from `BaseException`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from vecferry.errors import ConnectorError, CorruptData, DataError, StoreFull, Unavailable, VecferryError
from vecferry.registry import missing_extra

MAX_DEPTH = 120
"""Levels of nesting that a payload may have, the payload itself being the first."""
RESERVE_BYTES = 96 << 20
"""Free space below which nothing is written: the engine's log takes up to three files of 32 MiB when it opens."""
_ROOM = 4
"""Free bytes asked for per byte of a batch: once in the log, once in the segment, and both rounded up."""

Result = TypeVar("Result")


def engine() -> ModuleType:
    """The module `qdrant_edge`.

    Raises:
        ConfigError: it is not installed; says the command.
    """
    try:
        return import_module("qdrant_edge")
    except ModuleNotFoundError as error:
        raise missing_extra("Embedded Qdrant folders", "qdrant-local") from error


class Shard:
    """One open collection of the engine. Thread-safe, as the engine is."""

    def __init__(self, path: Path, inner: Any) -> None:
        self._path = path
        self._inner = inner
        self._edge = engine()

    @classmethod
    def create(cls, path: Path, config: Any) -> Shard:
        """A new, empty shard in the folder `path`."""
        ask_for_room(path.parent, 0)
        path.mkdir(parents=True)
        return cls(path, _guarded(path, lambda: engine().EdgeShard.create(str(path), config)))

    @classmethod
    def load(cls, path: Path) -> Shard:
        """The shard in the folder `path`.

        Raises:
            Unavailable: another process has it open.
            CorruptData: torn or not a shard.
        """
        ask_for_room(path, 0)
        return cls(path, _guarded(path, lambda: engine().EdgeShard.load(str(path)), opening=True))

    def update(self, operation: Any, *, size: int = 0) -> None:
        """Apply an operation of about `size` bytes and make it durable: it survives `kill -9` and a loss of power."""
        ask_for_room(self._path, size)
        _guarded(self._path, lambda: self._inner.update(operation))
        _guarded(self._path, self._inner.flush)

    def count(self, where: Any = None) -> int:
        """The exact number of points that match."""
        request = self._edge.CountRequest(exact=True, filter=where)
        count: int = _guarded(self._path, lambda: self._inner.count(request))
        return count

    def scroll(self, *, start: Any, limit: int, content: bool | Sequence[str] = True, where: Any = None) -> list[Any]:
        """Up to `limit` points from id `start` on (inclusive): numbers ascending, then UUIDs by their bytes.

        `content` is everything, nothing, or the payload at these paths.
        """
        request = self._edge.ScrollRequest(
            offset=start, limit=limit, filter=where, with_payload=content, with_vector=content is True
        )
        points: list[Any] = _guarded(self._path, lambda: self._inner.scroll(request))[0]
        return points

    def retrieve(self, ids: Sequence[Any], *, content: bool = True) -> list[Any]:
        """Those of the points `ids` that are there."""
        points: list[Any] = _guarded(self._path, lambda: self._inner.retrieve(list(ids), content, content))
        return points

    def query(self, requests: Sequence[Any]) -> list[list[Any]]:
        """The scored points of each request."""
        batch = self._edge.QueryBatchRequest(list(requests))
        answers: list[list[Any]] = _guarded(self._path, lambda: self._inner.query_batch(batch))
        return answers

    def indexes(self) -> frozenset[str]:
        """Payload paths that are indexed."""
        return frozenset(_guarded(self._path, self._inner.info).payload_schema)

    def close(self) -> None:
        _guarded(self._path, self._inner.close)


def ask_for_room(path: Path, size: int) -> None:
    """Refuse to write about `size` bytes where the disk could become full under the engine.

    Raises:
        StoreFull: with the figures.
    """
    while not path.exists():
        path = path.parent
    needed, free = RESERVE_BYTES + _ROOM * size, shutil.disk_usage(path).free
    if free < needed:
        raise StoreFull(
            f"The disk of {path} has {free >> 20} MiB free; Qdrant's engine needs {needed >> 20} MiB to be safe.",
            store=f"qdrant:{path}",
            hint="Make room and run the same command again. What was written so far is complete.",
            free_bytes=free,
            needed_bytes=needed,
        )


def depth(value: Any) -> int:
    """Levels of nesting of a JSON value; a scalar has none. Not recursive: the value may be hostile."""
    deepest, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        deepest += 1
        level = [item for v in level for item in (v.values() if isinstance(v, dict) else v)]
    return deepest


def _guarded(path: Path, call: Callable[[], Result], *, opening: bool = False) -> Result:
    try:
        return call()
    except (VecferryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the engine's panics are no `Exception`s
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _translated(path, error, opening) from error


def _translated(path: Path, error: BaseException, opening: bool) -> VecferryError:
    text, store = str(error), f"qdrant:{path}"
    if "WouldBlock" in text:
        return in_use(path)
    if "No space left" in text or "os error 28" in text:
        return StoreFull(f"The disk of {path} is full.", store=store, hint="Make room and run the same command again.")
    if "Read-only file system" in text or "Permission denied" in text:
        return StoreFull(
            f"{path} cannot be written to, and Qdrant's engine writes even to read: {text}.",
            store=store,
            hint="Copy the folder to a place that you may write to, and read the copy.",
        )
    if opening or type(error).__name__ == "PanicException":
        return CorruptData(
            f"The embedded Qdrant collection in {path} cannot be opened: {text}.",
            hint="Restore the folder from a backup, or write the collection again from its source.",
        )
    if isinstance(error, TypeError | ValueError) or "Vector dimension error" in text or "Not existing vector" in text:
        return DataError(
            f"Qdrant's engine refused a record: {text[:300]}",
            hint="Mend the record in the source, or take it out; then run the same command again.",
        )
    return ConnectorError(
        f"Qdrant's engine failed: {text}",
        store=store,
        hint="Run the same command again. Where it fails again, write to a Qdrant server instead, and report this.",
    )


def in_use(path: Path, by: str = "another process") -> Unavailable:
    """The error for a folder that somebody else has open."""
    return Unavailable(
        f"{path} is open in {by}; an embedded Qdrant folder belongs to one process at a time.",
        store=f"qdrant:{path}",
        hint="Wait until it ends, or use a Qdrant server, which many processes may use at once.",
    )
