"""Rows of a table as canonical records: what is selected, and what becomes of a block of rows. Pure.

A row is read as: its key, its id where that has a shape of its own, vectors, document, uri, the JSON column, the
envelope of a table of ours, and every other column that is a metadata key (`vecferry.tables`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.postgres._codec import copy_read
from vecferry.connectors.postgres._codec.columns import Type, Values, type_of
from vecferry.connectors.postgres._codec.copy_read import Fields, Rows
from vecferry.connectors.postgres.ddl import quote
from vecferry.errors import DataError
from vecferry.model import Chunk, CollectionSpec, Element, IdKind, Position, Rejection, VectorKind, VectorSpec
from vecferry.tables import Form, Table, envelope
from vecferry.tables.cells import Cells, Made, composite, exactly, metadata_json
from vecferry.tables.sql import id_sql, selected
from vecferry.tables.types import is_int, is_text, is_uuid
from vecferry.tags import canonical, loads, pack

_TEXT = type_of("text")


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a row: the SQL that it is selected as, how it is read, and what it is for."""

    name: str
    sql: str
    type: Type


class Reading:
    """How the rows of one table are read as records. Immutable."""

    def __init__(self, spec: CollectionSpec, table: Table, form: Form, *, own: bool, types: Mapping[str, str]) -> None:
        """Settle what is selected.

        Args:
            spec: what the records are.
            table, form: where they stand, and how.
            own: the table is of our own form, with an envelope (`ddl.own`).
            types: metadata key -> type text, for every one of `form.keys`.
        """
        self.spec = spec
        self.table, self.form, self._own = table, form, own
        self._keys = [_key(table, name) for name in form.key]
        self._id = [Part("id", id_sql(table, form, quote), _TEXT)] if form.id else []
        self._vectors = [_raw(form.vectors[vector.name]) for vector in spec.vectors]
        self._texts = {name: _text(table, column) for name, column in self._text_columns()}
        self._metadata = [] if form.metadata is None else [_raw(form.metadata)]
        verbatim = form.metadata is not None and table.column(form.metadata).type == "json"
        self._read_json = copy_read.jsons if verbatim else copy_read.jsonbs
        self._envelope = [_raw(envelope.COLUMN)] if own else []
        expressions = selected(table, form, quote)
        self._columns = [_typed(key, expression, types[key]) for key, expression in expressions.items()]

    def _text_columns(self) -> Iterator[tuple[str, str]]:
        for name, column in (("document", self.form.document), ("uri", self.form.uri)):
            if column is not None:
                yield name, column

    @property
    def parts(self) -> list[Part]:
        """Every field, in its order in a row."""
        return [
            *self._keys,
            *self._id,
            *self._vectors,
            *self._texts.values(),
            *self._metadata,
            *self._envelope,
            *self._columns,
        ]

    @property
    def select(self) -> str:
        """What follows SELECT."""
        return ", ".join(part.sql for part in self.parts)

    @property
    def select_id(self) -> str:
        """What follows SELECT where only ids are wanted; see `ids`."""
        return ", ".join(part.sql for part in (*self._keys, *self._id))

    def chunk(self, rows: Rows) -> Chunk:
        """The records of a block of rows, and the position behind it.

        Raises:
            CorruptData, DataError: what the server sent cannot be read.
        """
        fields = Fields(rows, len(self.parts))
        try:
            batch, rejected, misfits = self._batch(fields)
        except (UnicodeDecodeError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{self.spec.qualified_name} holds text that is no UTF-8.",
                hint="The database has no encoding (SQL_ASCII): mend the text, or move the table to one that has.",
            ) from error
        return Chunk(batch, Position(orjson.dumps(self._last_key(fields)).decode()), rejected, misfits)

    def last_key(self, rows: Rows) -> list[str]:
        """The key of the last row, as texts."""
        return self._last_key(Fields(rows.last(), len(self.parts)))

    def ids(self, rows: Rows, more: int = 0) -> tuple[list[str], list[str | None]]:
        """(ids, further texts) of rows that were selected by `select_id` and `more` (0 or 1) texts behind it."""
        known = len(self._keys) + len(self._id)
        fields = Fields(rows, known + more)
        columns = {"id": self._ids(fields)}
        ids = self._original(columns) if self._own else columns["id"]
        return ids.to_pylist(), copy_read.texts(fields, known) if more else []

    # ----------------------------------------------------------------------- parts of a batch

    def _batch(self, fields: Fields) -> tuple[pa.RecordBatch, tuple[Rejection, ...], pa.RecordBatch | None]:
        """(records, those that cannot be read, of those the ones that lack but their one vector)."""
        at = len(self._keys) + len(self._id)
        columns: dict[str, pa.Array] = {"id": self._ids(fields)}
        wrong: dict[int, str] = {}
        for number, vector in enumerate(self.spec.vectors):
            columns[arrow.column(vector)], others = _vector(fields, at + number, vector)
            wrong |= dict.fromkeys(others.tolist(), f"its vector '{vector.name}' has not {vector.dim} dimensions")
        at += len(self._vectors)
        for number, name in enumerate(self._texts):
            columns[name] = copy_read.large_strings(fields, at + number)
            columns[name].validate(full=True)
        at += len(self._texts)
        made = self._own_metadata(fields, at, columns) if self._own else self._metadata_of(fields, at)
        columns |= {"metadata": _as_json(made.metadata), "tags": _as_json(made.tags)}
        batch = arrow.build(self.spec, columns)
        short = [row for row in wrong if row not in made.unreadable] if len(self.spec.vectors) == 1 else []
        misfits = batch.take(pa.array(short, pa.int64())) if short else None
        return *self._without(batch, {**made.unreadable, **wrong}), misfits

    def _ids(self, fields: Fields) -> pa.Array:
        if self._id:
            return self._id[0].type.decode(fields, len(self._keys)).array
        keys = [part.type.decode(fields, number).array for number, part in enumerate(self._keys)]
        if len(keys) > 1:
            return composite(keys)
        if not self._own:
            return keys[0].cast(pa.string())
        if pa.types.is_integer(keys[0].type):
            return pa.array([str(envelope.unsigned(number)) for number in keys[0].to_pylist()], pa.string())
        return keys[0]

    def _last_key(self, fields: Fields) -> list[str]:
        return [str(part.type.decode(fields, number).array[-1].as_py()) for number, part in enumerate(self._keys)]

    def _without(self, batch: pa.RecordBatch, wrong: Mapping[int, str]) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        if not wrong:
            return batch, ()
        ids = batch.column("id")
        rejected = tuple(Rejection(ids[row].as_py(), reason) for row, reason in sorted(wrong.items()))
        keep = np.ones(batch.num_rows, np.bool_)
        keep[list(wrong)] = False
        return batch.filter(pa.array(keep)), rejected

    # ----------------------------------------------------------------------- metadata

    def _metadata_of(self, fields: Fields, at: int) -> Made:
        spread = pa.array(self._read_json(fields, at), pa.string()) if self._metadata else None
        first = at + len(self._metadata)
        values = {part.name: part.type.decode(fields, first + n) for n, part in enumerate(self._columns)}
        cells = [Cells(key, value.array, value.tag, value.json) for key, value in values.items()]
        doubles = self.form.metadata is not None and self.table.column(self.form.metadata).type == "json"
        made = metadata_json(len(fields), cells, self.form, spread, doubles=doubles)
        wrong = {
            row: f"its JSON column '{key}' cannot be read: {reason}"
            for key, value in values.items()
            for row, reason in value.unreadable.items()
        }
        return _mended(replace(made, unreadable={**made.unreadable, **wrong}), values)

    def _own_metadata(self, fields: Fields, at: int, columns: dict[str, pa.Array]) -> Made:
        """The metadata of a table of ours, and what its envelopes restore, set right in `columns`."""
        texts, notes = self._read_json(fields, at), copy_read.jsonbs(fields, at + 1)
        metadata: list[bytes | None] = []
        tags: list[bytes | None] = []
        seq: list[int | None] = []
        unreadable: dict[int, str] = {}
        nothing = pa.nulls(len(fields), pa.large_string())
        shown = {name: columns.get(name, nothing).to_pylist() for name in ("document", "uri")}
        for row, (text, note) in enumerate(zip(texts, notes, strict=True)):
            plain, own_tags = (None, None) if text is None else _plainly(text)
            if plain is not None and not plain.startswith(b"{"):
                unreadable[row] = "its metadata is no JSON object"
            try:
                told = envelope.restore(
                    note or b"{}",
                    document=shown["document"][row],
                    uri=shown["uri"][row],
                    metadata=plain,
                    jsonb=True,
                )
            except ValueError:
                unreadable[row] = f"its column {envelope.COLUMN} cannot be read"
                told = envelope.Texts(None, None, plain, None, None)
            shown["document"][row], shown["uri"][row] = told.document, told.uri
            metadata.append(told.metadata)
            tags.append(told.tags or own_tags)
            seq.append(told.seq)
        columns |= {name: pa.array(values, pa.large_string()) for name, values in shown.items()}
        columns |= {"seq": pa.array(seq, pa.int64()), "id": self._original(columns)}
        return Made(pa.array(metadata, pa.string()), pa.array(tags, pa.string()), unreadable)

    def _original(self, columns: dict[str, pa.Array]) -> pa.Array:
        """The ids that a table of ours was given; `id_kind` is set where the kinds are mixed."""
        stored: list[str] = columns["id"].to_pylist()
        if self.spec.id_kind is IdKind.MIXED:
            columns["id_kind"] = pa.array([envelope.mixed_kind(text).value for text in stored], pa.string())
        return pa.array([envelope.original_id(text) for text in stored], pa.string())


def _key(table: Table, name: str) -> Part:
    """A key column: integers, UUIDs and texts as they are, any other type by its text."""
    kind = table.column(name).type
    known = is_int(kind) or is_uuid(kind) or is_text(kind)
    read = type_of(kind) if known else type_of("")
    return Part(name, read.select.format(f"t.{quote(name)}"), read)


def _typed(name: str, expression: str, kind: str) -> Part:
    read = type_of(kind)
    return Part(name, read.select.format(expression), read)


def _raw(column: str) -> Part:
    return Part(column, f"t.{quote(column)}", _TEXT)


def _text(table: Table, column: str) -> Part:
    return _typed(column, f"t.{quote(column)}", table.column(column).type)


def _vector(fields: Fields, at: int, vector: VectorSpec) -> tuple[pa.Array, NDArray[np.int64]]:
    """A vector's column, and the rows whose vector has another dimension."""
    if vector.kind is VectorKind.SPARSE:
        return copy_read.sparse(fields, at), np.zeros(0, np.int64)
    if vector.kind is VectorKind.BITS:
        return copy_read.bits(fields, at, vector.dim or 0)
    return copy_read.dense(fields, at, vector.dim or 0, half=vector.element is Element.FLOAT16)


def _as_json(texts: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(arrow.JSON, texts)


def _plainly(text: bytes) -> tuple[bytes, bytes | None]:
    """(canonical JSON, its tags) of a value that somebody may have changed."""
    value = loads(text)
    try:
        return canonical(value), None
    except TypeError:  # an integer past 64 bits
        return pack(value)


# --------------------------------------------------------------------------- values that whole columns get wrong


def _mended(made: Made, values: Mapping[str, Values]) -> Made:
    """`made` with the numbers in, and the tags out, that `Values` tells of."""
    rows = {row for value in values.values() for row in (*value.plain, *value.long)}
    if not rows:
        return made
    metadata, tags = made.metadata.to_pylist(), made.tags.to_pylist()
    for row in rows - made.unreadable.keys():
        metadata[row], tags[row] = _mended_row(metadata[row], tags[row], row, values)
    return Made(pa.array(metadata, pa.string()), pa.array(tags, pa.string()), made.unreadable)


def _mended_row(text: str, tags: str | None, row: int, values: Mapping[str, Values]) -> tuple[str, str | None]:
    whole, told = loads(text), orjson.loads(tags or "{}")
    for key, value in values.items():
        if row in value.plain:
            told.pop("/" + key.replace("~", "~0").replace("/", "~1"), None)
        if row in value.long:
            whole[key] = exactly(value.long[row].decode())
    packed, more = pack(whole)
    told |= orjson.loads(more or b"{}")
    return packed.decode(), canonical(told).decode() if told else None
