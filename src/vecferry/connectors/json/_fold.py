"""A file and its journal as one new file: of each record the last that was written, in the order of first writing.

Lines are copied as they stand. Which of them are superseded is known by 16 bytes a record, held in memory while the
file is made; where no record was written twice, nothing is parsed.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from vecferry.connectors.json import _own
from vecferry.connectors.json._found import Found
from vecferry.connectors.json._journal import Entry, Journal
from vecferry.connectors.json._text import Text
from vecferry.model import CollectionSpec
from vecferry.objects.disk import replacing

_GZIP_LEVEL = 4
_PACKED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}


@dataclass(slots=True)
class Content:
    """One collection as file and journal have it together: `lines` first, then `entries`, later ones win."""

    spec: CollectionSpec
    found: Found | None = None
    entries: list[Entry] = field(default_factory=list)

    @property
    def path(self) -> tuple[str, ...]:
        return (*self.spec.namespace, self.spec.name)


def contents(found: Iterable[Found], entries: Iterable[Entry]) -> dict[tuple[str, ...], Content]:
    """Every collection by its path, in the order in which they were made."""
    made = {(*one.spec.namespace, one.spec.name): Content(one.spec, one) for one in found if one.spec is not None}
    for entry in entries:
        if entry.values["op"] == "make":
            spec = msgspec.convert(entry.values["spec"], CollectionSpec)
            old = made.get(entry.path)
            made[entry.path] = Content(spec, old.found if old else None, old.entries if old else [])
        elif entry.path in made:
            made[entry.path].entries.append(entry)
    return made


def packing(path: Path) -> str:
    """How a file of this name is packed: `gzip`, `zstd` or not at all."""
    return _PACKED.get(path.suffix.lower(), "")


def replace_file(path: Path, made: Iterable[Content], journal: Journal, *, lines: bool) -> None:
    """Write the collections to `path`: a temporary file beside it, made durable, takes its place.

    Raises:
        StoreFull: no space left, or no right to write; what was there is as it was.
    """
    with replacing(path) as file, _packed(file, packing(path)) as out:
        write(out, made, journal, lines=lines)


@contextmanager
def _packed(file: IO[bytes], how: str) -> Iterator[Any]:
    if how == "gzip":
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as out:
            yield out
    elif how == "zstd":
        with pa.CompressedOutputStream(pa.PythonFile(_Open(file), "w"), "zstd") as out:
            yield out
    else:
        yield file


class _Open:
    """A file that stays open when Arrow closes its own end of it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush = file.write, file.flush

    def close(self) -> None:
        self.closed = True


def write(out: Any, made: Iterable[Content], journal: Journal, *, lines: bool) -> None:
    """A whole file of ours."""
    out.write(_own.head(lines=lines))
    number = 0
    for number, content in enumerate(made, 1):
        if number > 1 and not lines:
            out.write(b",\n")
        out.write(_own.opening(content.spec, lines=lines))
        count, sha256 = _write_records(out, content, journal, lines=lines)
        out.write(_own.closing(count, sha256, lines=lines))
    out.write(_own.tail(number, lines=lines))


def _write_records(out: Any, content: Content, journal: Journal, *, lines: bool) -> tuple[int, str]:
    """The record lines of one collection that are not superseded. Returns their number and digest."""
    dead = _dead(content, journal)
    sha, count, number = _own.digest(content.spec), 0, 0
    for piece in _pieces(content, journal):
        if isinstance(piece, list):  # removed keys take up numbers, as `_dead` counted them
            number += len(piece)
            continue
        kept, seen = _alive(piece, number, dead)
        number += seen
        if not kept:
            continue
        sha.update(kept)
        rows = kept.count(b"\n")
        out.write(kept if lines else (b",\n" if count else b"") + kept[:-1].replace(b"}\n", b"},\n"))
        count += rows
    if count and not lines:
        out.write(b"\n")
    return count, sha.hexdigest()


def _alive(piece: bytes, number: int, dead: NDArray[np.int64]) -> tuple[bytes, int]:
    """Lines of a piece without those that are superseded, and how many there were."""
    seen = piece.count(b"\n")
    low, high = np.searchsorted(dead, [number, number + seen])
    if low == high:
        return piece, seen
    gone = set((dead[low:high] - number).tolist())
    return b"".join(line for row, line in enumerate(piece.splitlines(keepends=True)) if row not in gone), seen


def _pieces(content: Content, journal: Journal) -> Iterator[bytes | list[bytes]]:
    """What was written, in order: whole record lines, or the keys that were removed."""
    if content.found is not None:
        yield from _own.record_lines(content.found)
    if not content.entries:
        return
    with journal.path.open("rb") as file:
        for entry in content.entries:
            if entry.values["op"] == "remove":
                yield _own.removed_keys(entry.values["ids"], content.spec)
            else:
                file.seek(entry.start)
                yield file.read(entry.end - entry.start)


def _dead(content: Content, journal: Journal) -> NDArray[np.int64]:
    """Numbers, ascending, of lines and removals whose key a later one has again, and of the removals themselves."""
    removals: list[int] = []
    hashes = _hashes(content, journal, removals)
    first = hashes["low"]
    if not removals and len(np.unique(first)) == len(first):
        return np.empty(0, np.int64)
    order = np.lexsort((np.arange(len(hashes)), hashes["high"], first))
    ordered = hashes[order]
    older = np.flatnonzero(ordered[1:] == ordered[:-1])
    return np.unique(np.concatenate([order[older], np.array(removals, np.int64)]))


def _hashes(content: Content, journal: Journal, removals: list[int]) -> NDArray[np.void]:
    made, number = [], 0
    for piece in _pieces(content, journal):
        keys = piece if isinstance(piece, list) else [_own.key(line) for line in piece.splitlines()]
        if isinstance(piece, list):
            removals += range(number, number + len(keys))
        number += len(keys)
        made.append(b"".join([xxhash.xxh3_128_digest(key) for key in keys]))
    return np.frombuffer(b"".join(made), np.dtype([("low", "<u8"), ("high", "<u8")]))


def folded(text: Text | None, journal: Journal, *, into: Path) -> None:
    """What file and journal hold together, as lines in a file of its own, for reading an unfinished backup."""
    found = _own.index(text) if text is not None else []
    with into.open("wb") as out:
        write(out, contents(found, journal.entries()).values(), journal, lines=True)
