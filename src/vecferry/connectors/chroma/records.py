"""Reads the records of a normalised snapshot in bulk: one step of SQLite, one row, per chunk.

The row holds, per column, the texts of all records joined, and their lengths: exactly what an Arrow array is made of.
No Python object is made per text, and the interpreter lock is let go once per chunk, for all of SQLite's work, rather
than once per record, which beside busy writers would mean waiting for it once per record.

How many records fit is measured as the reading goes. Where they turn out far longer, SQLite refuses to make a text of
more than `TEXT_BYTES`, and fewer are read at a time: memory is bounded whatever the texts are.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import JSON, build, empty
from vecferry.connectors.chroma import _codec, catalog, hnsw, rounding
from vecferry.connectors.chroma.catalog import Entry
from vecferry.errors import CorruptData
from vecferry.model import Chunk, CollectionSpec, IdKind, Position, Rejection
from vecferry.tags import loads

CHUNK_ROWS = 2_000
CHUNK_BYTES = 2 << 20
TEXT_BYTES = 8 << 20
"""The longest text that SQLite may join; a record of its own may be longer."""
ROW_BYTES = 1_000
"""What the texts of a record are taken to need before any was read."""
LONGEST = (1 << 31) - 1
NOWHERE = -(1 << 62)

# SQLite's own text of a number is that of `orjson`, the canonical one, where 15 digits say it exactly and no exponent
# is written. That keeps Python, and with it the interpreter lock, out of most numbers; `vf_odd` writes the others.
_DIGITS = "format('%!.15g', float_value)"
_REAL = f"""json(CASE WHEN abs(float_value) BETWEEN 1e-4 AND 1e14 AND CAST({_DIGITS} AS REAL) = float_value
  THEN {_DIGITS} ELSE vf_odd(float_value) END)"""
_VALUE = f"""CASE WHEN string_value IS NOT NULL THEN string_value WHEN int_value IS NOT NULL THEN int_value
  WHEN float_value IS NOT NULL THEN {_REAL} WHEN bool_value = 1 THEN json('true')
  WHEN bool_value = 0 THEN json('false') ELSE json(vf_odd(NULL)) END"""
# The index named here gives the keys of a record in the order of their bytes, which is the canonical order.
_RECORDS = f"""
SELECT p.id AS number, p.place AS place, e.embedding_id AS id,
  json_group_object(m.key, {_VALUE}) FILTER (WHERE m.key < 'chroma:' OR m.key >= 'chroma;') AS metadata,
  max(string_value) FILTER (WHERE m.key = 'chroma:document') AS document,
  max(string_value) FILTER (WHERE m.key = 'chroma:uri') AS uri
FROM vf_place p CROSS JOIN embeddings e ON e.id = p.id
LEFT JOIN embedding_metadata m INDEXED BY sqlite_autoindex_embedding_metadata_1 ON m.id = p.id
WHERE p.number = ? AND {{which}} GROUP BY p.id ORDER BY p.id"""  # noqa: S608 (constants)
_TEXTS = ", ".join(
    f"json_group_array(coalesce(octet_length({name}), -1)), CAST(group_concat({name}, '') AS BLOB)"
    for name in ("id", "metadata", "document", "uri")
)
_JOINED = f"SELECT json_group_array(number), json_group_array(place), {_TEXTS} FROM ({_RECORDS})"  # noqa: S608 (constants)
RANGE = _JOINED.format(which="p.id > ? AND p.id <= ?")
LISTED = _JOINED.format(which="p.id IN (SELECT value FROM json_each(?))")
NEXT = """SELECT max(id), count(*) FROM
  (SELECT id FROM vf_place WHERE number = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?)"""
LISTS = """SELECT a.id, a.key, a.string_value, a.int_value, a.float_value, a.bool_value
FROM embedding_metadata_array a WHERE a.id IN (SELECT value FROM json_each(?))
AND (a.key < 'chroma:' OR a.key >= 'chroma;') ORDER BY a.id, a.key, a.rowid"""
QUEUED = """SELECT seq_id, vector, encoding FROM embeddings_queue
WHERE vector IS NOT NULL AND seq_id IN (SELECT value FROM json_each(?))"""

Queued = dict[int, tuple[bytes, str | None]]
"""Vectors that the log holds: sequence number -> (bytes, encoding)."""


class Records:
    """The records of one collection, read through one connection. One thread at a time."""

    def __init__(self, db: apsw.Connection, spec: CollectionSpec, entry: Entry, index: hnsw.Index | None) -> None:
        self._db, self._spec, self._number, self._index = db, spec, entry.number, index
        self._dim = spec.vectors[0].dim or 0
        self._rows = _within(CHUNK_BYTES // (4 * self._dim + ROW_BYTES))
        self._odd = False
        self._bits: dict[int, bytes] = {}  # row of the chunk -> bits of its vector, where we kept them
        self._mark = f"\x01{secrets.token_hex(8)}:"  # before what JSON cannot say; no text of a record can begin so
        db.create_scalar_function("vf_odd", self._real, 1, deterministic=True)
        lists = "SELECT 1 FROM embedding_metadata_array LIMIT 1"
        has_table = bool(catalog.columns(db, "embedding_metadata_array"))
        self._lists = has_table and db.execute(lists).fetchone() is not None

    def between(self, low: int, high: int) -> Iterator[Chunk]:
        """The records behind row `low` up to `high`, in order.

        Raises:
            CorruptData: they cannot be read.
        """
        while True:
            with self._readable():
                top, rows = next(self._db.execute(NEXT, (self._number, low, high, self._rows)))
            if not rows:
                return
            chunk = self._read(RANGE, (self._number, low, top), rows)
            if chunk is None:
                self._rows = max(1, rows // 8)
                continue
            low = top
            yield chunk

    def listed(self, numbers: Sequence[int]) -> Iterator[Chunk]:
        """The records with these row numbers, in order within a chunk.

        Raises:
            CorruptData: they cannot be read.
        """
        for start in range(0, len(numbers), CHUNK_ROWS):
            part = numbers[start : start + CHUNK_ROWS]
            chunk = self._read(LISTED, (self._number, orjson.dumps(part).decode()), len(part))
            if chunk is not None:
                yield chunk
                continue
            for number in part:
                yield from self.between(number - 1, number)

    # ----------------------------------------------------------------------- chunks

    def _read(self, sql: str, values: tuple[Any, ...], rows: int) -> Chunk | None:
        """The `rows` records that `sql` selects, None where their texts are too long to be joined."""
        self._db.limit(apsw.SQLITE_LIMIT_LENGTH, TEXT_BYTES if rows > 1 else LONGEST)
        with self._readable():
            try:
                found = next(self._db.execute(sql, values))
            except apsw.TooBigError:
                if rows == 1:
                    raise
                return None
            numbers, places = orjson.loads(found[0]), orjson.loads(found[1])
            ids, documents, uris = _Texts(*found[2:4]), _Texts(*found[6:8]), _Texts(*found[8:10])
            own = _Texts(*found[4:6], blank=len("{}"))
            self._rows = self._fitting(rows, sum(len(texts.data) for texts in (ids, own, documents, uris)))
            return self._chunk(numbers, places, ids, own, documents, uris)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, UnicodeDecodeError, pa.ArrowInvalid) as error:
            raise CorruptData(
                f"The records of {self._spec.qualified_name} cannot be read: {error}.",
                hint="`sqlite3 chroma.sqlite3 'PRAGMA integrity_check'` says what is damaged; restore from a backup.",
            ) from error

    def _fitting(self, rows: int, texts: int) -> int:
        """How many records like these `rows`, with `texts` bytes of text, make a chunk."""
        return min(4 * rows, _within(CHUNK_BYTES * rows // (4 * self._dim * rows + texts + 1)))

    def _chunk(
        self, numbers: list[int], places: list[int | None], ids: _Texts, own: _Texts, documents: _Texts, uris: _Texts
    ) -> Chunk:
        columns: dict[str, Any] = {
            "id": ids.array(pa.string()),
            "seq": pa.array(numbers, pa.int64()),
            "document": documents.array(pa.large_string()),
            "uri": uris.array(pa.large_string()),
            **self._metadata(numbers, own),
        }
        vectors, kept, rejected = self._vectors(places, columns["id"])
        bits = {int(kept[:row].sum()): bits for row, bits in self._bits.items() if kept[row]}
        vectors = rounding.restored(vectors, bits)
        if rejected:
            columns = {name: _filtered(column, kept) for name, column in columns.items()}
        batch = build(self._spec, columns | {"vector": vectors}) if len(vectors) else empty(self._spec)
        return Chunk(batch, Position(str(numbers[-1])), rejected)

    # ----------------------------------------------------------------------- vectors

    def _vectors(
        self, places: list[int | None], ids: pa.Array
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[Rejection, ...]]:
        """The vectors of the records that have one, which records these are, and the others as rejections."""
        at = np.array([NOWHERE if place is None else place for place in places], np.int64)
        kept = at >= 0
        if self._index is not None and kept.all():
            return self._index.read(at), kept, ()
        queued = self._queued([-place for place in at[~kept].tolist() if place != NOWHERE])
        faults = [None if place >= 0 else self._fault(queued.get(-place)) for place in at.tolist()]
        rejected = tuple(Rejection(ids[row].as_py(), why) for row, why in enumerate(faults) if why)
        kept = np.array([why is None for why in faults], np.bool_)
        return self._gathered(at[kept], queued), kept, rejected

    def _gathered(self, at: NDArray[np.int64], queued: Queued) -> NDArray[np.float32]:
        vectors = np.empty((len(at), self._dim), np.float32)
        indexed = np.flatnonzero(at >= 0)
        if self._index is not None and len(indexed):
            vectors[indexed] = self._index.read(at[indexed])
        for row in np.flatnonzero(at < 0).tolist():
            vectors[row] = _codec.queued_vector(*queued[-int(at[row])])
        return vectors

    def _queued(self, seqs: list[int]) -> Queued:
        rows = self._db.execute(QUEUED, (orjson.dumps(seqs).decode(),))
        return {seq: (vector, encoding) for seq, vector, encoding in rows}

    def _fault(self, queued: tuple[bytes, str | None] | None) -> str | None:
        """Why a record that the index does not hold cannot be read."""
        if queued is None:
            return "It has no vector: neither the index nor the log holds one."
        if len(queued[0]) != 4 * self._dim:
            return f"Its vector has {len(queued[0]) / 4:g} components, the collection's have {self._dim}."
        return None

    # ----------------------------------------------------------------------- metadata

    def _metadata(self, numbers: list[int], own: _Texts) -> dict[str, Any]:
        """The columns metadata, tags and, where our card says so, id_kind."""
        if self._spec.card is not None:
            return self._unwrap(self._repaired(numbers, own)[0] if self._odd or self._lists else own.cells())
        if self._odd or self._lists:
            metadata, tags = self._repaired(numbers, own)
            return {"metadata": metadata, "tags": tags}
        return {"metadata": pa.ExtensionArray.from_storage(JSON, own.array(pa.string()))}

    def _real(self, *arguments: Any) -> str:
        """The JSON of a real number of more than 15 digits; a text behind our mark where JSON cannot say it."""
        (value,) = arguments
        text = orjson.dumps(value)
        if text != b"null":
            return text.decode()
        self._odd = True
        return orjson.dumps(f"{self._mark}{value}").decode()

    def _repaired(self, numbers: list[int], own: _Texts) -> tuple[list[Any], list[Any]]:
        """Put right what SQLite could not say: lists, infinite numbers, and rows without a value, which are no keys."""
        lists: dict[int, dict[str, list[Any]]] = {}
        if self._lists:
            lists = _codec.lists_of(self._db.execute(LISTS, (orjson.dumps(numbers).decode(),)).fetchall())
        texts, mark = own.cells(), orjson.dumps(self._mark)[:-1]
        tags: list[Any] = [None] * len(texts)
        for row, number in enumerate(numbers):
            text = texts[row]
            if number in lists or (text is not None and mark in text):
                value = {**(loads(text) if text else {}), **lists.get(number, {})}
                texts[row], tags[row] = _codec.pack_odd(value, self._mark)
        self._odd = False
        return texts, tags

    def _unwrap(self, texts: list[bytes | None]) -> dict[str, Any]:
        """Undo our envelopes, in a collection that we wrote: the columns metadata, tags and, where mixed, id_kind."""
        tags, kinds = list[Any]([None] * len(texts)), [IdKind.TEXT.value] * len(texts)
        self._bits.clear()
        for row, text in enumerate(texts):
            if text is not None and b'"_vf":' in text:
                texts[row], tags[row], kind, bits = _codec.unwrap(text)
                kinds[row] = kind or kinds[row]
                self._bits.update({row: bits} if bits is not None else {})
        mixed = {"id_kind": kinds} if self._spec.id_kind is IdKind.MIXED else {}
        return {"metadata": texts, "tags": tags, **mixed}


class _Texts:
    """A column: one text per record, UTF-8, joined."""

    def __init__(self, lengths: str, data: bytes | None, *, blank: int = -1) -> None:
        """`lengths` is a JSON list of bytes per text, -1 where there is none; texts of `blank` bytes count as none.

        Raises:
            ArrowInvalid: the lengths are not those of the data.
        """
        self.data = data or b""
        sizes = np.array(orjson.loads(lengths), np.int64)
        self._there = (sizes >= 0) & (sizes != blank)
        self._ends = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(np.maximum(sizes, 0), out=self._ends[1:])
        if self._ends[-1] != len(self.data):
            raise pa.ArrowInvalid(f"texts of {self._ends[-1]} bytes came as {len(self.data)}")

    def array(self, kind: pa.DataType) -> pa.Array:
        """An Arrow array over the same bytes.

        Raises:
            ArrowInvalid: they are not UTF-8.
        """
        offsets = self._ends if pa.types.is_large_string(kind) else self._ends.astype(np.int32)
        valid = np.packbits(self._there, bitorder="little")
        buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), pa.py_buffer(self.data)]
        array = pa.Array.from_buffers(kind, len(self._there), buffers)
        array.validate(full=True)
        return array

    def cells(self) -> list[bytes | None]:
        """The texts as Python objects."""
        data, ends = self.data, self._ends.tolist()
        spans = zip(self._there.tolist(), ends[:-1], ends[1:], strict=True)
        return [data[start:end] if there else None for there, start, end in spans]


def _filtered(column: Any, kept: NDArray[np.bool_]) -> Any:
    if isinstance(column, pa.Array):
        return column.filter(pa.array(kept))
    return [cell for cell, keep in zip(column, kept.tolist(), strict=True) if keep]


def _within(rows: int) -> int:
    return min(CHUNK_ROWS, max(1, rows))
