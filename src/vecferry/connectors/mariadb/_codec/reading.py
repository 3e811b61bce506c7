"""How the rows of one table are asked for, and what they are as canonical batches. Pure.

A table of ours has its texts in columns of their own and an envelope (`vecferry.tables.envelope`); any other is read by
its form (`vecferry.tables.metadata`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vecferry import arrow
from vecferry.connectors.mariadb._codec.block import Block
from vecferry.connectors.mariadb._codec.keys import Key
from vecferry.connectors.mariadb._codec.types import Read, cells, is_binary, selected
from vecferry.connectors.mariadb.names import quote
from vecferry.model import CollectionSpec, IdKind, Position, Rejection
from vecferry.tables import Form, Table, sql
from vecferry.tables.cells import Made, composite, metadata_json
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.envelope import mixed_kind, original_id, restore
from vecferry.tables.types import is_int
from vecferry.tags import canonical, loads, pack

Rows = Sequence[Sequence[bytes | None]]
Columns = Sequence[pa.LargeBinaryArray] | Mapping[int, pa.LargeBinaryArray]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A canonical batch of the rows that can be read, and the others."""

    batch: pa.RecordBatch
    rejected: tuple[Rejection, ...]
    position: Position


class Reading:
    """The SELECT of one collection, and its answers as batches.

    Attributes:
        key: what the table is read by: the form's key, or the number that a table of ours has.
    """

    def __init__(
        self, table: Table, form: Form, spec: CollectionSpec, *, own: bool, parents: Mapping[str, str] | None = None
    ) -> None:
        """`parents`: metadata key -> type, of the columns that joins bring."""
        self.table, self.form, self.spec, self.own = table, form, spec, own
        self.parents = parents or {}
        self.key = Key.of(table, table.primary_key if own else form.key)
        self._slots: dict[str, int] = {}
        self._columns: list[str] = []
        self._own_kinds = {column.name: column.type for column in table.columns}
        self._choose()

    # ----------------------------------------------------------------------- the statement

    def _choose(self) -> None:
        """The columns of the SELECT: the key's come first."""
        for number, column in enumerate(self.key.selected):
            self._add(f"key {number}", column)
        if self.own:
            self._add("id", f"t.{quote(self.form.key[0])}")
            self._add("envelope", f"t.{quote(ENVELOPE)}")
        elif self.form.id:
            self._add("id", sql.id_sql(self.table, self.form, quote))
        for name, column in self.form.vectors.items():
            self._add(f"vector {name}", f"t.{quote(column)}")
        for slot in ("document", "uri", "metadata"):
            if (given := getattr(self.form, slot)) is not None:
                self._add(slot, f"t.{quote(given)}")
        for key, expression in sql.selected(self.table, self.form, quote).items():
            self._add(f"value {key}", selected(self._kind(key), expression))

    def _add(self, slot: str, expression: str) -> None:
        self._slots[slot] = len(self._columns)
        self._columns.append(expression)

    def _kind(self, key: str) -> str:
        """The type of the column behind a metadata key; ranks are numbers, a parent's columns say so in their text."""
        column = self.form.own.get(key)
        if column is not None:
            return self._own_kinds[column]
        return "bigint" if key in map(self.form.name, self.form.ranks) else self.parents.get(key, "longtext")

    def select(self, *conditions: str, order: bool = True) -> str:
        """The statement that gives the rows that meet all `conditions`."""
        where = " AND ".join(f"({condition})" for condition in (sql.where_sql(self.form), *conditions))
        source = sql.from_sql(self.table, self.form, quote)
        return f"SELECT {', '.join(self._columns)} FROM {source} WHERE {where} {self.key.order if order else ''}"

    @property
    def id_columns(self) -> str:
        """What `ids_of` needs of a row."""
        return ", ".join(self._columns[slot] for slot in self._id_slots())

    def _id_slots(self) -> list[int]:
        own = [self._slots["id"]] if "id" in self._slots else []
        return own or [self._slots[f"key {number}"] for number in range(len(self.key.columns))]

    def select_ids(self, condition: str) -> str:
        """The statement that gives the ids of the rows that meet `condition`."""
        source = sql.from_sql(self.table, self.form, quote)
        return f"SELECT {self.id_columns} FROM {source} WHERE {sql.where_sql(self.form)} AND ({condition})"

    def ids_of(self, rows: Rows) -> list[str]:
        """The ids of rows that have the columns `id_columns` and no others."""
        if not rows:
            return []
        columns = [pa.array(values, pa.large_binary()) for values in zip(*rows, strict=True)]
        found = self.ids(dict(zip(self._id_slots(), columns, strict=True)))["id"]
        return found.to_pylist() if isinstance(found, pa.Array) else list(found)

    # ----------------------------------------------------------------------- the answer

    def decode(self, rows: Block) -> Decoded:
        """Rows that `select` gave, as a batch."""
        columns = rows.columns
        ids = self.ids(columns)
        made = self._own_texts(columns) if self.own else self._texts(columns)
        batch = arrow.build(self.spec, {**ids, **self._vectors(columns), **made.columns})
        position = self.key.position([column[-1].as_py() for column in columns[: len(self.key.columns)]])
        names = batch.column("id")
        bare = pc.indices_nonzero(pc.equal(names, "")).to_pylist()
        unreadable = {**made.unreadable, **dict.fromkeys(bare, "its id is an empty text")}
        if not unreadable:
            return Decoded(batch, (), position)
        kept = [row for row in range(len(rows)) if row not in unreadable]
        rejected = tuple(Rejection(names[row].as_py(), reason) for row, reason in unreadable.items())
        return Decoded(batch.take(pa.array(kept, pa.int64())), rejected, position)

    def ids(self, columns: Columns) -> dict[str, Any]:
        """The columns `id` and `id_kind` of a batch, from those of an answer."""
        if self.own:
            return self._own_ids(columns[self._slots["id"]])
        if self.form.id:
            return {"id": columns[self._slots["id"]].cast(pa.string())}
        parts = [columns[self._slots[f"key {number}"]] for number in range(len(self.key.columns))]
        kinds = [column.type for column in self.key.columns]
        if len(parts) == 1:
            return {"id": _key_texts(kinds[0], parts[0])}
        return {"id": composite([_key_values(kind, part) for kind, part in zip(kinds, parts, strict=True)])}

    def _own_ids(self, stored: pa.LargeBinaryArray) -> dict[str, Any]:
        texts = stored.cast(pa.string())
        if self.spec.id_kind in (IdKind.INT, IdKind.UUID):
            return {"id": texts}
        found: list[str] = texts.to_pylist()
        if self.spec.id_kind is IdKind.MIXED:
            kinds = [mixed_kind(text).value for text in found]
            return {"id": [original_id(text) for text in found], "id_kind": kinds}
        return {"id": [original_id(text) for text in found]}

    def _vectors(self, columns: Columns) -> dict[str, Any]:
        return {
            arrow.column(vector): _floats(columns[self._slots[f"vector {vector.name}"]], vector.dim or 0)
            for vector in self.spec.vectors
        }

    def _text(self, columns: Columns, slot: str) -> pa.Array | None:
        return columns[self._slots[slot]].cast(pa.large_string()) if slot in self._slots else None

    def _texts(self, columns: Columns) -> _Texts:
        """The texts and metadata of rows of somebody else's, by the form."""
        rows = len(columns[0])
        read = [cells(key, self._kind(key), columns[self._slots[f"value {key}"]].to_pylist()) for key in self.form.keys]
        spread = self._text(columns, "metadata")
        made = metadata_json(rows, [one.cells for one in read], self.form, spread, doubles=True)
        tags = _told(made, read)
        known = {"document": self._text(columns, "document"), "uri": self._text(columns, "uri")}
        unreadable = dict(pair for one in read for pair in one.unreadable.items()) | dict(made.unreadable)
        return _Texts({**known, "metadata": made.metadata, "tags": tags}, unreadable)

    def _own_texts(self, columns: Columns) -> _Texts:
        """The texts of rows of ours; an application may have changed them, so the metadata is put in order again."""
        shown = {name: self._text(columns, name) for name in ("document", "uri")}
        empty: list[str | None] = [None] * len(columns[0])
        documents, uris = (empty[:] if one is None else one.to_pylist() for one in shown.values())
        metadata: list[bytes | None] = []
        tags: list[bytes | None] = []
        seqs: list[int | None] = []
        unreadable: dict[int, str] = {}
        texts, notes = (columns[self._slots[name]].to_pylist() for name in ("metadata", "envelope"))
        for row, (text, envelope) in enumerate(zip(texts, notes, strict=True)):
            try:
                ordered, told = _ordered(text)
                seq = None
                if envelope is not None:
                    kept = restore(envelope, document=documents[row], uri=uris[row], metadata=ordered, jsonb=False)
                    ordered, told, seq = kept.metadata, kept.tags or told, kept.seq
                    documents[row], uris[row] = kept.document, kept.uri
            except (ValueError, TypeError, LookupError) as error:
                ordered, told, seq, unreadable[row] = None, None, None, f"its metadata cannot be read: {error}"
            metadata.append(ordered)
            tags.append(told)
            seqs.append(seq)
        known = {"document": documents, "uri": uris, "metadata": metadata, "tags": tags}
        return _Texts({**known, "seq": seqs}, unreadable)


@dataclass(frozen=True, slots=True)
class _Texts:
    columns: Mapping[str, Any]
    unreadable: Mapping[int, str]


def _ordered(text: bytes | None) -> tuple[bytes | None, bytes | None]:
    """(canonical JSON, tags) of the text of a metadata column."""
    if text is None:
        return None, None
    value = loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 (what is at fault is data)
    try:
        return canonical(value), None
    except TypeError:  # an integer past 64 bits
        return pack(value)


def _floats(values: pa.LargeBinaryArray, dim: int) -> pa.Array:
    """A vector column, shape (rows, dim), float32 in the machine's order; little-endian on the wire."""
    whole = values.fill_null(bytes(4 * dim)) if values.null_count else values
    flat = pa.array(np.frombuffer(whole.buffers()[2], "<f4").astype(np.float32, copy=False))
    mask = values.is_null() if values.null_count else None
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(pa.float32(), dim), mask=mask)


def _key_texts(kind: str, values: pa.LargeBinaryArray) -> pa.Array:
    """Ids of one column: a number without leading zeros, bytes in hexadecimal, all else as it is printed."""
    if is_binary(kind):
        return pa.array([(value or b"").hex() for value in values.to_pylist()], pa.string())
    texts = values.cast(pa.string())
    return texts.cast(pa.uint64() if "unsigned" in kind else pa.int64()).cast(pa.string()) if is_int(kind) else texts


def _key_values(kind: str, values: pa.LargeBinaryArray) -> pa.Array:
    texts = _key_texts(kind, values)
    return texts.cast(pa.uint64() if "unsigned" in kind else pa.int64()) if is_int(kind) else texts


def _told(made: Made, read: Sequence[Read]) -> pa.Array:
    """The tags of a batch, with what single rows say of their types."""
    if not any(one.untagged or one.tags for one in read):
        return made.tags
    tags = [orjson.loads(text or "{}") for text in made.tags.to_pylist()]
    for one in read:
        pointer = "/" + one.cells.key.replace("~", "~0").replace("/", "~1")
        for row in one.untagged:
            tags[row].pop(pointer, None)
        for row, told in one.tags.items():
            tags[row] |= {pointer + inner: tag for inner, tag in told.items()}
    return pa.array([canonical(told).decode() if told else None for told in tags], pa.string())
