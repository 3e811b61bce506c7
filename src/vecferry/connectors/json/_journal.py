"""What was written since the file was: `FILE.journal`, a log that only grows, folded into the file by `finish`.

    {"op":"begin","journal":"5f0c…"}                                                a name of its own, the first line
    {"op":"make","collection":["docs"],"spec":{…}}
    {"op":"write","collection":["docs"],"count":50,"bytes":40123,"xxh3":"…"}        followed by as many record lines
    {"op":"remove","collection":["docs"],"ids":["a","b"]}

An entry counts once it is whole, so a process that is killed anywhere leaves a journal that holds exactly the batches
that were confirmed. One process appends at a time, under a lock on the journal itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import orjson
import xxhash

from vecferry.connectors.json._text import corrupt
from vecferry.objects.disk import extend, reading, writing

_OPERATION = b'{"op":'
"""How the line of an entry begins, and no record line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its line, and where its record lines stand in the journal (an empty span where it has none)."""

    values: dict[str, Any]
    start: int
    end: int

    @property
    def path(self) -> tuple[str, ...]:
        """Namespace and name of the collection that it is about."""
        return tuple(self.values["collection"])


class Journal:
    """The journal of one file. Its text is read and written under `locked`."""

    def __init__(self, file: Path) -> None:
        self.path = file.with_name(f"{file.name}.journal")
        self._known: tuple[bytes, int] = (b"", 0)
        """first line of the journal that was written last, and an end of it that was whole"""

    @contextmanager
    def locked(self) -> Iterator[BinaryIO]:
        """Hold the journal alone, across threads and processes; made where it is not there."""
        with writing(self.path):
            file = self._open()
        with file:
            yield file

    def _open(self) -> BinaryIO:
        """The locked journal; another one where somebody folded it while we waited."""
        while True:
            file = self.path.open("ab+")
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if self.path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    return file
            file.close()

    def append(self, file: BinaryIO, values: dict[str, Any], payload: bytes = b"") -> None:
        """Add an entry, durable when this returns; the torn one of a killed writer is cut off first.

        Raises:
            StoreFull: no space left, or no right to write; the journal is as it was.
            CorruptData: an entry that was confirmed is damaged.
        """
        if payload:
            values = {**values, "bytes": len(payload), "xxh3": xxhash.xxh3_128_hexdigest(payload)}
        data = _line(values) + payload
        with writing(self.path):
            first, end = self._end(file)
            if not end:
                first = _line({"op": "begin", "journal": uuid4().hex})
                data = first + data
            extend(file.fileno(), end, data)
            self._known = first, end + len(data)

    def _end(self, file: BinaryIO) -> tuple[bytes, int]:
        """The first line, and where the last whole entry ends: looked for from where we left this very journal."""
        file.seek(0)
        first, known = file.readline(), self._known
        end = known[1] if first == known[0] and known[1] <= os.fstat(file.fileno()).st_size else 0
        for entry in _entries(file, end):
            end = entry.end
        return first, end

    def entries(self) -> list[Entry]:
        """Every whole entry about a collection; none where there is no journal.

        Raises:
            CorruptData: an entry that was confirmed is damaged.
        """
        try:
            with reading(self.path), self.path.open("rb") as file:
                return [entry for entry in _entries(file, 0) if "collection" in entry.values]
        except FileNotFoundError:
            return []

    def remove(self) -> None:
        """Take the journal away. Under the lock."""
        with writing(self.path):
            self.path.unlink(missing_ok=True)


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _entries(file: BinaryIO, start: int) -> Iterator[Entry]:
    """Entries from `start` on. Only the last can be torn, so only its records are compared with their hash.

    A machine that lost its power may leave pages of zeros in it too, in which there is no line, or none to be read.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(start)
    while (line := file.readline()).endswith(b"\n"):
        begin = file.tell()
        values = _values(line)
        if values is None:
            _refuse_damage(file, begin - len(line))
            return
        entry = Entry(values, begin, begin + int(values.get("bytes", 0)))
        if entry.end >= size and not _holds(file, entry):
            return
        yield entry
        file.seek(entry.end)


def _values(line: bytes) -> dict[str, Any] | None:
    """The line of an entry, None where it is damaged."""
    if not line.startswith(_OPERATION):
        return None
    with suppress(ValueError):  # of both parsers
        values: dict[str, Any] = orjson.loads(line) if _plain(line) else json.loads(line)
        return values
    return None


def _refuse_damage(file: BinaryIO, start: int) -> None:
    """Raise CorruptData where an entry stands behind the damaged one at `start`: that one had been confirmed then."""
    if any(line.startswith(_OPERATION) and _values(line) for line in file):
        raise corrupt(
            Path(file.name),
            f"is damaged at byte {start:,}: what stands there is no entry, and there are entries behind it",
            "Check the disk. Take the journal away to have the file as it was before, then write again what it held.",
        )


def _plain(line: bytes) -> bool:
    """Whether the fast parser reads a line exactly: descriptions may hold integers of any size."""
    return b'"make"' not in line[:16]


def _holds(file: BinaryIO, entry: Entry) -> bool:
    """Whether the records of an entry are all there, as they were written."""
    if entry.start == entry.end:
        return True
    file.seek(entry.start)
    payload = file.read(entry.end - entry.start)
    return bool(xxhash.xxh3_128_hexdigest(payload) == entry.values["xxh3"])
