"""Folders of qdrant-client's local mode (`QdrantClient(path=…)`), read without the client and without running pickles.

    PATH/meta.json                         collections and their configuration
    PATH/.lock                             locked while a client has the folder open
    PATH/collection/NAME/storage.sqlite    points(id: base64 of a pickled id, point: a pickled PointStruct)

Vectors are read as they were written: under cosine the client scales them when it loads them, and shows those. Points
that were written twice under two spellings of one id (by old clients) count once, the later one.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import orjson
import pyarrow as pa

from vecferry import catalog
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.settings import vectors
from vecferry.connectors.qdrant.embedded.engine import in_use
from vecferry.connectors.qdrant.embedded.limits import LOCAL_MODE
from vecferry.connectors.qdrant.embedded.lock import share, unlock
from vecferry.connectors.qdrant.embedded.points import batch
from vecferry.connectors.qdrant.local_mode.points import Point, check_vectors, read_id, read_point
from vecferry.errors import CorruptData, NotFound, Unsupported
from vecferry.layouts.detect import detect_payloads
from vecferry.limits import Limits
from vecferry.model import (
    Chunk,
    CollectionSpec,
    IdKind,
    Partition,
    PartitionId,
    Position,
    Rejection,
    StoreIdentity,
)

META, LOCK = "meta.json", ".lock"
_ROWS = 500
_SAMPLE = 100


def is_local_mode(path: Path) -> bool:
    """True where `path` looks like a folder that `QdrantClient(path=…)` made."""
    return (path / META).is_file() and (path / LOCK).is_file()


class LocalModeDatabase:
    """One folder, held still: while it is open here, no client can open it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store = f"qdrant:{path}"
        self._configs = _configs(path)
        self._sources: dict[str, LocalModeSource] = {}
        try:
            self._lock: BinaryIO | None = share(path / LOCK)
        except BlockingIOError:
            raise in_use(path) from None

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(kind="qdrant", where=str(self._path), transport="local-mode")

    @property
    def limits(self) -> Limits:
        return LOCAL_MODE

    def collections(self) -> list[CollectionSpec]:
        return [self.source(name).describe() for name in sorted(self._configs)]

    def source(self, name: str) -> LocalModeSource:
        catalog.find([(known,) for known in self._configs], name, store=self._store)
        if name not in self._sources:
            self._sources[name] = LocalModeSource(name, self._configs[name], self._file(name))
        return self._sources[name]

    def sink(self, spec: CollectionSpec) -> NoReturn:
        raise Unsupported(
            f"{self._path} belongs to qdrant-client's local mode; vecferry reads such folders and does not write them.",
            store=self._store,
            hint=f"Write '{spec.name}' to another folder (qdrant:PATH, Qdrant's edge engine) or to a server.",
        )

    def close(self) -> None:
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def _file(self, name: str) -> Path:
        base = (self._path / "collection").resolve()
        file = (base / name / "storage.sqlite").resolve()
        if not file.is_relative_to(base) or file.parent == base:
            raise CorruptData(
                f"{self._path / META} puts the collection '{name}' outside of the folder.",
                hint="Nothing there was read. Treat the folder as hostile unless you know who wrote it.",
            )
        if not file.is_file():
            raise NotFound(
                f"The points of '{name}' are not there: {file} does not exist.",
                store=self._store,
                hint="Folders of qdrant-client before 1.1.7 keep them elsewhere: open it once with version 1.1.7.",
            )
        return file


class LocalModeSource:
    """Reads one collection in the order in which its points were last written."""

    def __init__(self, name: str, config: Mapping[str, Any], file: Path) -> None:
        self._spec = CollectionSpec(name=name, id_kind=IdKind.MIXED, vectors=vectors(config))
        self._file = file

    def describe(self) -> CollectionSpec:
        return replace(self._form.spec, count=self.count())

    def partitions(self) -> list[Partition]:
        return [Partition(id=PartitionId("all"), bounds="", estimated_rows=self.count())]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:  # noqa: ARG002 (only one)
        start = int(after or 0)
        rows = [row for row in self._rows.values() if row > start]
        for first in range(0, len(rows), _ROWS):
            wanted = rows[first : first + _ROWS]
            points, rejected = self._points(wanted)
            yield Chunk(batch(self._form, points), Position(str(wanted[-1])), rejected)

    def close(self) -> None:
        """Nothing is held between reads."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return len(self._rows)

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        return batch(self._form, self._points([self._rows[text] for text in ids if text in self._rows])[0])

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(ids) & self._rows.keys()

    # ----------------------------------------------------------------------- the file

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Id -> row of its latest writing, in the order of rows."""
        found: dict[str, int] = {}
        for row, key in self._select("SELECT rowid, id FROM points ORDER BY rowid"):
            text = _id_text(key)
            found.pop(text, None)
            found[text] = row
        return found

    @cached_property
    def _form(self) -> Form:
        points, _ = self._points(list(self._rows.values())[:_SAMPLE])
        layout = detect_payloads([point.payload for point in points])
        return Form(replace(self._spec, layout=layout), foreign_layout=layout)

    def _points(self, rows: Sequence[int]) -> tuple[list[Point], tuple[Rejection, ...]]:
        """The points of these rows, and those that cannot be read."""
        found, rejected = [], []
        for row, key, raw in self._stored(rows):
            try:
                point = read_point(raw)
                check_vectors(point, self._spec.vectors)
                found.append(point)
            except CorruptData as error:
                rejected.append(Rejection(_id_text(key), f"row {row}: {error.message}"))
        return found, tuple(rejected)

    def _stored(self, rows: Sequence[int]) -> list[tuple[int, str, bytes]]:
        if not rows:
            return []
        marks = ",".join(map(str, rows))
        return self._select(f"SELECT rowid, id, point FROM points WHERE rowid IN ({marks}) ORDER BY rowid")  # noqa: S608 (integers)

    def _select(self, query: str) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.DatabaseError as error:
            raise CorruptData(
                f"{self._file} cannot be read: {error}.",
                hint="Restore it from a backup. `sqlite3 FILE .recover` may save some of it.",
            ) from error


def _id_text(key: str) -> str:
    """The id in a key; where it cannot be read, the key itself."""
    try:
        return str(read_id(base64.b64decode(key, validate=True)))
    except (CorruptData, ValueError):
        return key


def _configs(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        collections = orjson.loads((path / META).read_bytes())["collections"]
        if all(isinstance(config, dict) for config in collections.values()):
            return dict(collections)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_meta(path, f"cannot be read: {type(error).__name__}: {error}") from error
    raise _no_meta(path, "does not describe collections")


def _no_meta(path: Path, problem: str) -> CorruptData:
    return CorruptData(
        f"{path / META} {problem}.",
        hint="Restore it from a backup, or copy that of a folder whose collections have the same settings.",
    )
