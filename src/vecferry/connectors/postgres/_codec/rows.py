"""A canonical batch as columns of a COPY: for a table of our own, or for somebody else's by its form. Pure.

Into our own, every column goes in its own type, so that the stream may go straight into the table. Into another's, the
values of its ordinary columns go as text and are cast by the server, which knows every type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vecferry import arrow
from vecferry.connectors.postgres._codec import copy_write as wire
from vecferry.connectors.postgres._codec.sparse_write import sparse_cells
from vecferry.connectors.postgres.ddl import is_own
from vecferry.errors import DataError
from vecferry.ids import MAX_U64, is_canonical_uuid
from vecferry.model import CollectionSpec, IdKind, VectorKind, VectorSpec
from vecferry.tables import Column, Form, Table, envelope, keys
from vecferry.tables.metadata import from_metadata
from vecferry.tables.model import SPREAD
from vecferry.tables.types import is_int, is_json, is_uuid, vector_type
from vecferry.tags import loads, pack, unpack

Problems = dict[int, str]
"""row -> why the table cannot hold it"""
_NUL = "\0"
_SHOWN = 5
_SIGN = 1 << 63
_ANY = re.compile(r"[^\0]*")
_CASTABLE = {
    IdKind.INT: re.compile(r"-?\d{1,18}"),
    IdKind.UUID: re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One column on its way: its type in the stream, and whether the server casts it into the column's own."""

    column: str
    type: str
    cells: wire.Cells
    cast: bool = False


def parts(batch: pa.RecordBatch, spec: CollectionSpec, table: Table, form: Form) -> list[Part]:
    """The columns of a batch that has no `problems`."""
    texts = _own_texts(batch, table, form, spec) if is_own(table, form) else _foreign_texts(batch, table, form)
    vectors = (_vector(batch, vector, table, form) for vector in spec.vectors)
    return [*texts, *vectors]


def problems(batch: pa.RecordBatch, spec: CollectionSpec, table: Table, form: Form, *, id_bytes: int) -> Problems:
    """The records that the table cannot hold, each with the reason for a person."""
    found: Problems = {}
    if is_own(table, form):
        found |= _long_ids(batch, id_bytes)
        found |= _outside(batch, spec)
    else:
        found |= _foreign_problems(batch, form)
    for vector in spec.vectors:
        if vector.kind is VectorKind.SPARSE:
            _, wrong = sparse_cells(batch.column(arrow.column(vector)), _dim(vector, table, form))
            found |= wrong
    return found


def _long_ids(batch: pa.RecordBatch, most: int) -> Problems:
    lengths = pc.binary_length(batch.column("id"))
    if (pc.max(lengths).as_py() or 0) <= most:
        return {}
    long = pc.greater(lengths, most)
    return dict.fromkeys(pc.indices_nonzero(long).to_pylist(), f"its id has more than {most:,} bytes")


def _outside(batch: pa.RecordBatch, spec: CollectionSpec) -> Problems:
    """Numbers that are no unsigned ones of 64 bits: a negative one would stand where a large one does."""
    if spec.id_kind is not IdKind.INT:
        return {}
    texts = enumerate(batch.column("id").to_pylist())
    return {row: "its id is no number from 0 to 2^64 - 1" for row, text in texts if not _is_u64(text)}


def _is_u64(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= MAX_U64


def _foreign_problems(batch: pa.RecordBatch, form: Form) -> Problems:
    """What a table without an envelope has no place for: NUL, and metadata that none of its columns holds."""
    found = _no_composites(batch, len(form.key)) if len(form.key) > 1 and not form.id else {}
    for name, column in (("id", "id"), ("document", form.document), ("uri", form.uri)):
        if column is not None:
            hit = pc.match_substring(batch.column(name), _NUL).fill_null(False)
            found |= dict.fromkeys(
                pc.indices_nonzero(hit).to_pylist(), f"its {name} holds NUL, which PostgreSQL refuses"
            )
    for row, text in enumerate(arrow.utf8(batch, "metadata")):
        reason = None if text is None else _misfit(text, form)
        if reason is not None:
            found[row] = reason
    return found


def _misfit(text: bytes, form: Form) -> str | None:
    if b"\\u0000" in text:
        return "its metadata holds NUL, which PostgreSQL refuses"
    if form.metadata is not None:
        return None
    more = loads(text).keys() - {*form.keys, SPREAD}
    return f"the table has no column for {', '.join(sorted(more)[:_SHOWN])}" if more else None


def _no_composites(batch: pa.RecordBatch, columns: int) -> Problems:
    found: Problems = {}
    for row, text in enumerate(batch.column("id").to_pylist()):
        try:
            keys.split(text, columns)
        except DataError as error:
            found[row] = error.message
    return found


# --------------------------------------------------------------------------- our own table


def _own_texts(batch: pa.RecordBatch, table: Table, form: Form, spec: CollectionSpec) -> list[Part]:
    slots = {"d": form.document or "", "m": form.metadata or ""}
    filled = "".join(short for short, column in slots.items() if not table.column(column).nullable)
    fitted = envelope.fit(batch, jsonb=True, nul=False, uri=form.uri is not None, filled=filled)
    return [
        _own_id(batch, table.column(form.key[0]), spec),
        Part(slots["d"], "text", wire.text(fitted.document)),
        *([] if form.uri is None else [Part(form.uri, "text", wire.text(fitted.uri))]),
        Part(slots["m"], "jsonb", wire.jsonb(fitted.metadata)),
        Part(envelope.COLUMN, "jsonb", wire.jsonb(fitted.envelope)),
    ]


def _own_id(batch: pa.RecordBatch, column: Column, spec: CollectionSpec) -> Part:
    ids = batch.column("id")
    if is_int(column.type):
        return Part(column.name, "bigint", wire.bigint(ids))
    if is_uuid(column.type):
        return Part(column.name, "uuid", wire.uuid(ids))
    kinds = arrow.id_kinds(batch, spec) if spec.id_kind is IdKind.MIXED else None
    return Part(column.name, "text", wire.text(envelope.stored_ids(ids, kinds)))


# --------------------------------------------------------------------------- somebody else's


def _foreign_texts(batch: pa.RecordBatch, table: Table, form: Form) -> list[Part]:
    found = list(_keys(batch, form))
    for name, column in (("document", form.document), ("uri", form.uri)):
        if column is not None:
            found.append(Part(column, "text", wire.text(batch.column(name)), cast=True))
    values, whole = _values(batch, table, form)
    if form.metadata is not None:
        found.append(Part(form.metadata, "text", wire.text(pa.array(whole, pa.string())), cast=True))
    taken = {part.column for part in found}
    texts = (
        Part(column, "text", wire.text(pa.array(cells, pa.string())), cast=True) for column, cells in values.items()
    )
    return [*found, *(part for part in texts if part.column not in taken)]


def _keys(batch: pa.RecordBatch, form: Form) -> Iterator[Part]:
    """The key columns, out of the id; where ids have a shape of their own, they come out of the metadata."""
    if form.id:
        return
    ids = batch.column("id")
    if len(form.key) == 1:
        yield Part(form.key[0], "text", wire.text(ids), cast=True)
        return
    split = [keys.split(text, len(form.key)) for text in ids.to_pylist()]
    for number, column in enumerate(form.key):
        yield Part(column, "text", wire.text(pa.array([str(value[number]) for value in split], pa.string())), cast=True)


def _values(batch: pa.RecordBatch, table: Table, form: Form) -> tuple[dict[str, list[str | None]], list[str | None]]:
    """(by column, the text of its value per record; the text of the JSON column per record)."""
    columns = {name: table.column(name).type for name in form.columns if not table.column(name).generated}
    values: dict[str, list[str | None]] = {name: [] for name in columns}
    whole: list[str | None] = []
    texts, tags = arrow.utf8(batch, "metadata"), arrow.utf8(batch, "tags")
    for text, tag in zip(texts, tags, strict=True):
        found, rest, missing = from_metadata(form, None if text is None else unpack(text, tag))
        for name, kind in columns.items():
            values[name].append(column_text(found.get(name), kind))
        whole.append(None if missing else envelope.jsonb_text(json_text(rest).encode()).decode())
    return values, whole


def column_text(value: Any, kind: str) -> str | None:
    """The text that the server reads as `value` in a column of type `kind`; None for NULL."""
    if value is None:
        return None
    if is_json(kind):
        text = json_text(value)
        return envelope.jsonb_text(text.encode()).decode() if kind == "jsonb" else text
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and kind.endswith("]"):
        return "{" + ",".join(_element(item) for item in value) + "}"
    return json_text(value) if isinstance(value, list | dict) else _scalar(value)


def json_text(value: Any) -> str:
    """JSON of a value with integers of any size; what JSON cannot say is the text that `vecferry.tags` has for it."""
    packed, tags = pack({"": value})
    return packed.decode()[4:-1] if tags is None else orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str | bool | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int):
        return orjson.Fragment(str(value))
    if isinstance(value, Decimal) and value.is_finite() and Decimal(repr(float(value))) != value:
        return orjson.Fragment(format(value, "f"))  # a number of JSON that a float would round: it is read as one again
    return loads(pack({"": value})[0])[""]


def _scalar(value: Any) -> str:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _element(value: Any) -> str:
    """One element of an array's text (PostgreSQL's manual, "Array Input and Output Syntax")."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "{" + ",".join(map(_element, value)) + "}"
    text = column_text(value, "") or ""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --------------------------------------------------------------------------- vectors


def _vector(batch: pa.RecordBatch, vector: VectorSpec, table: Table, form: Form) -> Part:
    column = form.vectors[vector.name]
    kind, _ = vector_type(table.column(column).type) or ("vector", None)
    present = arrow.present(batch, vector)
    array = batch.column(arrow.column(vector))
    if vector.kind is VectorKind.SPARSE:
        cells, _ = sparse_cells(array, _dim(vector, table, form))
        return Part(column, kind, cells)
    if vector.kind is VectorKind.BITS:
        raw = arrow_bits(array)
        return Part(column, f"bit({vector.dim})", wire.bits(raw, present, vector.dim or 0))
    return Part(column, kind, wire.dense(arrow.dense(batch, vector), present, ">f2" if kind == "halfvec" else ">f4"))


def arrow_bits(array: pa.FixedSizeBinaryArray) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes of a bits column, shape (rows, width)."""
    width = array.type.byte_width
    raw = np.frombuffer(array.buffers()[1] or b"", np.uint8, len(array) * width, array.offset * width)
    return raw.reshape(len(array), width)


def _dim(vector: VectorSpec, table: Table, form: Form) -> int:
    found = vector_type(table.column(form.vectors[vector.name]).type)
    return (found[1] if found else None) or 1_000_000_000


# --------------------------------------------------------------------------- keys, one by one


def stored_key(text: str, spec: CollectionSpec, table: Table, form: Form) -> tuple[str, ...] | None:
    """The texts of the key columns of the record with the id `text`; None where no record can have it."""
    if is_own(table, form):
        return _own_key(text, table.column(form.key[0]).type)
    if len(form.key) == 1:
        return (text,) if _CASTABLE.get(spec.id_kind, _ANY).fullmatch(text) else None
    try:
        return tuple(str(value) for value in keys.split(text, len(form.key)))
    except DataError:
        return None


def _own_key(text: str, kind: str) -> tuple[str, ...] | None:
    if is_int(kind):
        if not _is_u64(text):
            return None
        number = int(text)
        return (str(number if number < _SIGN else number - 2 * _SIGN),)
    if is_uuid(kind):
        return (text,) if is_canonical_uuid(text.encode()) else None
    return (envelope.stored_ids(pa.array([text]))[0].as_py(),)
