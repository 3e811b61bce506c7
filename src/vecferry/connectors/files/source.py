"""The reading side of an archive: one partition per part file, each proven by its SHA-256 before it is handed out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vecferry.arrow import empty, id_kinds, utf8
from vecferry.connectors.files._codec import Entry, Part, corrupt, from_parquet
from vecferry.connectors.files._manifest import State
from vecferry.connectors.files._resolve import superseded
from vecferry.model import Chunk, CollectionSpec, IdKind, Partition, PartitionId, Position
from vecferry.objects.place import Place

CHUNK_BYTES = 4 << 20
_NO_ROWS = np.zeros(0, np.int64)


class FilesSource:
    """Reads one collection as it was when the source was made.

    Guarantee: a part file is read whole, compared with its SHA-256, and only then are its records handed out. The
    trap: while an archive is being written, a part may hold rows that a later part has again; they are left out.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._parts = {entry.file: entry for entry in state.entries if isinstance(entry, Part)}
        self._superseded: dict[str, NDArray[np.int64]] | None = None if state.journal else {}
        self._lock = Lock()

    def describe(self) -> CollectionSpec:
        return replace(self._state.spec, count=None if self._state.journal else self._state.rows)

    def partitions(self) -> list[Partition]:
        return [
            Partition(
                id=PartitionId(file.removesuffix(".parquet")),
                bounds=json.dumps({"file": file, "sha256": part.sha256}),
                estimated_rows=part.rows,
            )
            for file, part in self._parts.items()
        ]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        part, spec = self._part(json.loads(partition.bounds)), self._state.spec
        dead, done = self._dead(part), int(after) if after is not None else 0
        end = 0
        for batch in self._batches(part, self._load(part)):
            start, end = end, end + batch.num_rows
            skip = max(0, done - start)
            if skip >= batch.num_rows:
                continue
            live = _without(batch.slice(skip), dead - start - skip)
            if live.num_rows:
                yield Chunk(live, Position(str(end)))
        if end != part.rows:
            raise corrupt(self._path(part), f"holds {end} records where the manifest says {part.rows} ({spec.name})")

    def close(self) -> None:
        """Nothing is held."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return self._state.rows - sum(len(self._dead(part)) for part in self._parts.values())

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        wanted = pa.array(sorted(set(ids)), pa.string())
        found: set[str] = set()
        for part in self._parts.values() if ids else ():
            column = self._ids(part, self._load(part)).take(pa.array(self._live(part)))
            found.update(column.filter(pc.is_in(column, wanted)).to_pylist())
        return frozenset(found)

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        wanted = pa.array(sorted(set(ids)), pa.string())
        found = [empty(self._state.spec)]
        for part in self._parts.values() if ids else ():
            data = self._load(part)
            hits = pc.is_in(self._ids(part, data), wanted).to_numpy(zero_copy_only=False)
            hits[self._dead(part)] = False
            found += self._take(part, data, hits) if hits.any() else []
        return pa.concat_batches(found)

    def _take(self, part: Part, data: pa.Buffer, hits: NDArray[np.bool_]) -> list[pa.RecordBatch]:
        taken, start = [], 0
        for batch in self._batches(part, data):
            chosen = np.flatnonzero(hits[start : start + batch.num_rows])
            start += batch.num_rows
            taken += [batch.take(pa.array(chosen))] if len(chosen) else []
        return taken

    # ----------------------------------------------------------------------- part files

    def _part(self, bounds: dict[str, str]) -> Part:
        part = self._parts.get(bounds["file"])
        if part is None or part.sha256 != bounds["sha256"]:
            raise corrupt(
                self._state.place.shown(bounds["file"]), "is no longer part of the archive, which was written since"
            )
        return part

    def _path(self, part: Part) -> str:
        return self._state.place.shown(part.file)

    def _load(self, part: Part) -> pa.Buffer:
        return load(self._state.place, part)

    def _batches(self, part: Part, data: pa.Buffer) -> Iterator[pa.RecordBatch]:
        """The part in slices of about `CHUNK_BYTES`, always the same."""
        rows = max(1, int(part.rows * CHUNK_BYTES / max(len(data), 1)))
        try:
            yield from from_parquet(data, self._state.spec, rows=rows)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise corrupt(self._path(part), f"does not hold records of {self._state.spec.name} ({error})") from error

    def _ids(self, part: Part, data: pa.Buffer) -> pa.Array:
        try:
            ids = pq.ParquetFile(pa.BufferReader(data)).read(columns=["id"]).column("id")
        except (pa.ArrowException, OSError, KeyError) as error:
            raise corrupt(self._path(part), f"is not a Parquet file with ids ({error})") from error
        return ids.combine_chunks()

    def _live(self, part: Part) -> NDArray[np.int64]:
        return np.setdiff1d(np.arange(part.rows), self._dead(part), assume_unique=True)

    def _dead(self, part: Part) -> NDArray[np.int64]:
        """Rows of `part` that a later entry supersedes."""
        with self._lock:
            if self._superseded is None:
                self._superseded = superseded_rows(self._state)
            return self._superseded.get(part.file, _NO_ROWS)


def load(place: Place, part: Part) -> pa.Buffer:
    """The bytes of a part file, proven to be those that were written.

    Raises:
        CorruptData: the file is missing, truncated or changed; the message names it.
    """
    file = place.shown(part.file)
    try:
        data = place.read(part.file)
    except FileNotFoundError as error:
        raise corrupt(file, "is missing, but the manifest names it") from error
    if len(data) != part.bytes:
        raise corrupt(file, f"has {len(data)} bytes where the manifest says {part.bytes}")
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise corrupt(file, "was changed since it was written: its SHA-256 differs")
    return pa.py_buffer(data)


def superseded_rows(state: State) -> dict[str, NDArray[np.int64]]:
    """Part file -> rows in it that a later entry of the collection has again, or removes.

    Reads the id columns only; Parquet's own page checksums guard them.
    """
    spec = replace(state.spec, vectors=())

    def keys_of(entry: Entry) -> list[bytes]:
        if isinstance(entry, Part):
            return _keys(state.place, entry.file, spec)
        kinds = (
            [kind for kind in IdKind if kind is not IdKind.MIXED] if spec.id_kind is IdKind.MIXED else [spec.id_kind]
        )
        return [_key(kind, text.encode()) for kind in kinds for text in entry.removed]

    return superseded(state.entries, keys_of)


def _keys(place: Place, name: str, spec: CollectionSpec) -> list[bytes]:
    columns = ["id", "id_kind"] if spec.id_kind is IdKind.MIXED else ["id"]
    try:
        with place.open(name) as file:
            table = pq.read_table(file, columns=columns, page_checksum_verification=True, use_threads=False)
    except FileNotFoundError as error:
        raise corrupt(place.shown(name), "is missing, but the journal or the manifest names it") from error
    except (pa.ArrowException, OSError) as error:
        raise corrupt(place.shown(name), f"cannot be read ({error})") from error
    keys: list[bytes] = []
    for batch in table.to_batches():
        texts = utf8(batch, "id")
        keys += [_key(kind, text or b"") for kind, text in zip(id_kinds(batch, spec), texts, strict=True)]
    return keys


def _key(kind: IdKind, text: bytes) -> bytes:
    return kind.encode() + b":" + text


def _without(batch: pa.RecordBatch, dead: NDArray[np.int64]) -> pa.RecordBatch:
    """`batch` without the rows `dead`, which are counted from its first row and may lie outside."""
    inside = dead[(dead >= 0) & (dead < batch.num_rows)]
    if not len(inside):
        return batch
    return batch.take(pa.array(np.setdiff1d(np.arange(batch.num_rows), inside, assume_unique=True)))
