"""Records as rows: the literals of each, and the statements that upsert them. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.mariadb._codec.types import is_binary
from vecferry.connectors.mariadb.facts import MAX_DEPTH
from vecferry.connectors.mariadb.names import hexed, qualified, quote, raw
from vecferry.errors import DataError
from vecferry.model import CollectionSpec, IdKind, VectorSpec
from vecferry.tables import Form, Table
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.envelope import fit, stored_ids
from vecferry.tables.keys import split
from vecferry.tables.metadata import from_metadata
from vecferry.tables.sql import ids_sql
from vecferry.tables.types import is_int, is_json, is_text, is_uuid
from vecferry.tags import canonical, unpack

_NULL = b"NULL"
_DEFAULT = b"DEFAULT"
_OVERHEAD = 64
_EXACT = "utf8mb4_nopad_bin"
_TOGETHER = 32
"""Vectors whose digits are made at once: so many stay in the processor's cache until they stand in their rows."""


@dataclass(frozen=True, slots=True)
class Literals:
    """One column of some records, to be had once; `form` is what stands around each value, for `bytes.__mod__`."""

    values: Iterable[bytes | memoryview]
    form: bytes = b"%b"


class Writing:
    """How the records of one collection are written into `table`."""

    def __init__(self, table: Table, form: Form, spec: CollectionSpec, *, own: bool) -> None:
        self.table, self.form, self.spec, self.own = table, form, spec, own
        self.columns = _own_columns(form) if own else _columns(table, form)
        self._kinds = {column.name: column.type for column in table.columns}

    # ----------------------------------------------------------------------- statements

    def statements(self, batch: pa.RecordBatch, most: int, *, upsert: bool = True) -> Iterator[bytes]:
        """The statements of at most `most` bytes that write `batch`; one row alone may be longer.

        Without `upsert` a record that is there already is an error of MariaDB's (1062).
        """
        head, tail = self._head(), self._tail() if upsert else b""
        rows: list[bytes] = []
        size = limit = most - len(head) - len(tail) - _OVERHEAD
        for row in self.rows(batch):
            if rows and len(row) + 1 > size:
                yield head + b",".join(rows) + tail
                rows, size = [], limit
            rows.append(row)
            size -= len(row) + 1
        if rows:
            yield head + b",".join(rows) + tail

    def _head(self) -> bytes:
        place = qualified((*self.table.namespace, self.table.name))
        return f"INSERT INTO {place} ({', '.join(map(quote, self.columns))}) VALUES ".encode()

    def _tail(self) -> bytes:
        """Replace the whole record, and refuse one that meets a record of another id.

        They may share another unique key, or the collation of the key holds 'a' and 'A' for one. `key =
        IF(key <=> VALUES(key), key, NULL)`: NULL for a column that has none is an error, in every row.
        """
        key = self.form.key
        rest = [name for name in self.columns if name not in key]
        others = [] if self.own else [names for names in (self.table.primary_key, *self.table.unique) if names != key]
        loose = any(is_text(self._kinds[name]) and not (self.own and _is_exact(self.table, name)) for name in key)
        sets = [_unless_other(name, self._kinds[name]) for name in key] if others or loose else []
        sets += [f"{quote(name)} = VALUES({quote(name)})" for name in rest]
        if not sets:
            sets = [f"{quote(key[0])} = VALUES({quote(key[0])})"]
        return f" ON DUPLICATE KEY UPDATE {', '.join(sets)}".encode()

    def delete(self, ids: Sequence[str]) -> str:
        """The statement that removes the records with these original ids."""
        place = qualified((*self.table.namespace, self.table.name))
        return f"DELETE t FROM {place} t WHERE {self.with_ids(ids)}"

    def with_ids(self, ids: Sequence[str]) -> str:
        """The condition of the rows whose ids are among `ids`, letter by letter."""
        return with_ids(self.table, self.form, self.spec, ids, own=self.own)

    # ----------------------------------------------------------------------- rows

    def rows(self, batch: pa.RecordBatch) -> Iterator[bytes]:
        """Each record as `(…, …)`."""
        columns = self._own_literals(batch) if self.own else self._literals(batch)
        form = b"(" + b",".join(column.form for column in columns) + b")"
        return map(form.__mod__, zip(*(column.values for column in columns), strict=True))

    def _own_literals(self, batch: pa.RecordBatch) -> list[Literals]:
        slots = (("d", self.form.document), ("m", self.form.metadata))
        filled = "".join(short for short, name in slots if not self.table.column(name or "").nullable)
        fitted = fit(batch, jsonb=False, nul=True, uri=self.form.uri is not None, filled=filled)
        metadata, envelope = _shallow(fitted.metadata, fitted.envelope)
        uris = () if self.form.uri is None else (_bytes(fitted.uri),)
        texts = (_bytes(fitted.document), *uris, metadata, envelope)
        return [Literals(self._own_ids(batch)), *self._vectors(batch), *(Literals(_quoted(text)) for text in texts)]

    def _own_ids(self, batch: pa.RecordBatch) -> list[bytes]:
        kind = _own_kind(self.table, self.form, self.spec)
        if kind is IdKind.INT:
            return _numbers(batch.column("id"))
        if kind is IdKind.UUID:
            return _quoted(_bytes(batch.column("id")))
        kinds = arrow.id_kinds(batch, self.spec) if kind is IdKind.MIXED else None
        return _quoted(_bytes(stored_ids(batch.column("id"), kinds)))

    def _vectors(self, batch: pa.RecordBatch) -> list[Literals]:
        return [_hexadecimal(batch, vector) for vector in self.spec.vectors]

    def _literals(self, batch: pa.RecordBatch) -> list[Literals]:
        """By column of a table that is not of our make: the key from the id, the rest from the metadata."""
        found = dict(zip(self.form.vectors.values(), self._vectors(batch), strict=True))
        for slot in ("document", "uri"):
            if (column := getattr(self.form, slot)) is not None:
                found[column] = Literals(_quoted(arrow.utf8(batch, slot)))
        metadata, tags = arrow.utf8(batch, "metadata"), arrow.utf8(batch, "tags")
        rows = [self._row(None if m is None else unpack(m, t)) for m, t in zip(metadata, tags, strict=True)]
        if not self.form.id:
            for row, text in zip(rows, batch.column("id").to_pylist(), strict=True):
                row.update(self._key(text))
        return [found.get(name) or Literals([row.get(name, _DEFAULT) for row in rows]) for name in self.columns]

    def _row(self, metadata: Mapping[str, Any] | None) -> dict[str, bytes]:
        values, whole, missing = from_metadata(self.form, metadata)
        row = {name: literal(value, self._kinds[name]) for name, value in values.items()}
        if self.form.metadata is not None:
            row[self.form.metadata] = _NULL if missing else raw(_json(whole))
        return row

    def _key(self, text: str) -> dict[str, bytes]:
        key = self.form.key
        values = [text] if len(key) == 1 else list(split(text, len(key)))
        return {name: key_literal(self._kinds[name], str(value)) for name, value in zip(key, values, strict=True)}


def with_ids(table: Table, form: Form, spec: CollectionSpec, ids: Sequence[str], *, own: bool) -> str:
    """The condition of the rows whose ids are among `ids`; ids that the key cannot hold are left out."""
    kinds = {column.name: column.type for column in table.columns}
    if own:
        stored = ", ".join(_own_stored(ids, _own_kind(table, form, spec)))
        return _among(form.key[0], stored, loose=is_text(kinds[form.key[0]]) and not _is_exact(table, form.key[0]))
    if form.id:
        exactly = "CONVERT({} USING utf8mb4) COLLATE utf8mb4_nopad_bin"
        return ids_sql(table, form, ids, quote, lambda text: raw(text.encode()).decode(), binary=exactly)
    if len(form.key) == 1:
        return _exactly(form.key[0], kinds[form.key[0]], ids)
    rows = []
    for text in ids:
        try:
            values = split(text, len(form.key))
        except DataError:
            continue
        rows.append(" AND ".join(_exactly(n, kinds[n], [str(v)]) for n, v in zip(form.key, values, strict=True)))
    return " OR ".join(f"({row})" for row in rows) or "FALSE"


def _own_kind(table: Table, form: Form, spec: CollectionSpec) -> IdKind:
    """As what the ids stand in a table with an envelope: a text column holds those of any kind."""
    column = table.column(form.key[0]).type
    if is_int(column) or is_uuid(column):
        return IdKind.INT if is_int(column) else IdKind.UUID
    return IdKind.MIXED if spec.id_kind is IdKind.MIXED else IdKind.TEXT


def _own_stored(ids: Sequence[str], kind: IdKind) -> list[str]:
    if kind is IdKind.INT:
        return [text for text in ids if text.isascii() and text.isdigit()]
    if kind is not IdKind.MIXED:
        stored = pa.array(ids, pa.string())
        return [raw(v or b"").decode() for v in _bytes(stored if kind is IdKind.UUID else stored_ids(stored))]
    texts = pa.array([*ids, *ids], pa.string())
    kinds = [IdKind.UUID] * len(ids) + [IdKind.TEXT] * len(ids)  # as it is, and as a text that reads as a number
    return [raw(v or b"").decode() for v in _bytes(stored_ids(texts, kinds))]


def _exactly(name: str, kind: str, values: Sequence[str]) -> str:
    """`name` is one of `values`: by its collation, so that its index is used, and letter by letter."""
    if is_int(kind):
        numbers = [str(int(value)) for value in values if value.removeprefix("-").isdigit() and value.isascii()]
        return _among(name, ", ".join(numbers), loose=False)
    try:
        literals = ", ".join(key_literal(kind, value).decode() for value in values)
    except ValueError:
        return "FALSE"
    return _among(name, literals, loose=not is_binary(kind) and kind != "uuid")


def _among(name: str, literals: str, *, loose: bool) -> str:
    """`name` is one of `literals`; `loose`: its collation holds several texts for one."""
    if not literals:
        return "FALSE"
    column = f"t.{quote(name)}"
    exactly = f" AND CONVERT({column} USING utf8mb4) COLLATE {_EXACT} IN ({literals})" if loose else ""
    return f"{column} IN ({literals}){exactly}"


def _is_exact(table: Table, name: str) -> bool:
    """Whether texts that differ in anything differ for the collation of a column."""
    return (table.column(name).collation or table.options.get("collation")) == _EXACT


# --------------------------------------------------------------------------- literals


def literal(value: Any, kind: str) -> bytes:
    """A value of the metadata as a literal for a column of type `kind`."""
    if value is None:
        return _NULL
    if is_json(kind):
        return raw(_json(value))
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, int | float | Decimal):
        return raw(repr(value).encode()) if isinstance(value, float) else str(value).encode()
    if isinstance(value, bytes):
        return hexed(value)
    if isinstance(value, datetime):
        return raw(_naive(value).isoformat(" ").encode())
    if isinstance(value, date):
        return raw(value.isoformat().encode())
    if isinstance(value, str):
        return raw(value.encode())
    return raw(canonical(value))


def key_literal(kind: str, value: str) -> bytes:
    """A value of a key column.

    Raises:
        DataError: it is no number, or no bytes in hexadecimal.
    """
    try:
        if is_int(kind):
            return str(int(value)).encode()
        return hexed(bytes.fromhex(value)) if is_binary(kind) else raw(value.encode())
    except ValueError as error:
        raise DataError(
            f"The id is no value of a column of type {kind}.", ids=[value], hint="Write into a table of another key."
        ) from error


def _naive(value: datetime) -> datetime:
    """As the session's time zone, UTC, has it."""
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _json(value: Any) -> bytes:
    """JSON text. Numbers that a column held with more digits than 64 bits come back with all of them."""
    try:
        return canonical(value)
    except TypeError:
        return _exact_json(value).encode()


def _exact_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(key).decode()}:{_exact_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_exact_json, value)) + "]"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    try:
        return canonical(value).decode()
    except TypeError as error:
        raise DataError(
            f"A JSON column cannot hold a value of the metadata: {error}.",
            hint="Dates and bytes need columns of their own.",
        ) from error


def _numbers(ids: pa.Array) -> list[bytes]:
    if not pc.all(pc.match_substring_regex(ids, "^[0-9]+$")).as_py():
        wrong = [text for text in ids.to_pylist() if not (text.isascii() and text.isdigit())]
        raise DataError("The id is no number.", ids=wrong[:1], hint="Mend it in the source, or choose text ids.")
    found: list[bytes] = ids.cast(pa.binary()).to_pylist()
    return found


def _bytes(array: pa.Array) -> list[bytes | None]:
    wide = pa.types.is_large_string(array.type)
    values: list[bytes | None] = array.cast(pa.large_binary() if wide else pa.binary()).to_pylist()
    return values


def _quoted(values: Sequence[bytes | None]) -> list[bytes]:
    return [_NULL if value is None else raw(value) for value in values]


def _hexadecimal(batch: pa.RecordBatch, vector: VectorSpec) -> Literals:
    """The vectors of a column: little-endian float32, 8 digits each."""
    digits = _digits(np.ascontiguousarray(arrow.dense(batch, vector), "<f4"))
    if not batch.column(arrow.column(vector)).null_count:
        return Literals(digits, b"x'%b'")
    there = arrow.present(batch, vector).tolist()
    return Literals(b"x'" + value + b"'" if has else _NULL for value, has in zip(digits, there, strict=True))


def _digits(values: NDArray[np.float32]) -> Iterator[memoryview]:
    """The hexadecimal digits of each row, to be used before the next is asked for; half the time of `binascii`."""
    width = 8 * values.shape[1]
    for start in range(0, len(values), _TOGETHER):
        made = values[start : start + _TOGETHER].view(np.uint8).astype("<u2")  # two digits in the place of each byte
        low = made & 0xF
        made >>= 4
        made |= low << 8
        letters = (made + 0x0606 >> 4) & 0x0101  # where a digit is more than 9
        made += letters * 39 + 0x3030  # "0", and from there to "a"
        digits = made.reshape(-1).view(np.uint8).data
        yield from (digits[row * width : (row + 1) * width] for row in range(len(made)))


def _shallow(metadata: pa.Array, envelope: pa.Array) -> tuple[list[bytes | None], list[bytes | None]]:
    """JSON that is nested deeper than the server takes goes into the envelope as a text (`m`)."""
    texts, notes = _bytes(metadata), _bytes(envelope)
    levels = pc.add(pc.count_substring(metadata, "{"), pc.count_substring(metadata, "["))
    for row in pc.indices_nonzero(pc.greater(levels, MAX_DEPTH)).to_pylist():
        known, text = (notes[row] or b"{}")[1:-1], texts[row] or b""
        note = b'"m":"' + b64encode(text) + b'"'
        texts[row], notes[row] = b"{}", b"{" + (known + b"," if known else b"") + note + b"}"
    return texts, notes


def _unless_other(name: str, kind: str) -> str:
    """The key column as it is, NULL where a row of another key would be replaced; texts letter by letter."""
    binary, column = "BINARY " if is_text(kind) else "", quote(name)
    return f"{column} = IF({binary}{column} <=> {binary}VALUES({column}), {column}, NULL)"


def _own_columns(form: Form) -> tuple[str, ...]:
    texts = (name for name in (form.document, form.uri, form.metadata) if name is not None)
    return (*form.key, *form.vectors.values(), *texts, ENVELOPE)


def _columns(table: Table, form: Form) -> tuple[str, ...]:
    """The columns that a form writes, in the table's order."""
    key = () if form.id else form.key
    slots = (name for name in (form.document, form.uri, form.metadata) if name is not None)
    wanted = {*key, *form.vectors.values(), *slots, *form.columns}
    return tuple(column.name for column in table.columns if column.name in wanted and not column.generated)
