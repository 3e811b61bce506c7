"""What a record looks like as a Qdrant point: id, payload, envelope, vectors. Pure, and of no wire format.

A point's payload has the shape of its layout (`vecferry.layouts`, `shape`), and everything of ours under `_vf`:

| key     | meaning                                                                                           |
|---------|---------------------------------------------------------------------------------------------------|
| `id`    | the original id, where the point's id is another                                                  |
| `kind`  | the original id's kind, in a collection of mixed ids, where the point's id does not tell           |
| `seq`   | place in the source's own order                                                                   |
| `n`     | length of the cosine vector: a number, or {vector name: number or list}; missing means 1           |
| `v`     | {vector name: base64} of vectors that the length would not restore (see `norms.strayed`)           |
| `t`     | tags of the metadata (`vecferry.tags`)                                                            |
| `f`     | {JSON Pointer: text} of floats that Qdrant's own storage moves by a unit in the last place         |
| `k`     | {key: value} of metadata whose key the layout needs for itself (`flat` only)                       |
| `null`  | fields that are null although the payload shows an empty value, for a framework's sake            |
| `empty` | names of multi-vectors without a row (Qdrant knows none: they are left out)                        |
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.qdrant._codec import floats, norms, shape
from vecferry.connectors.qdrant._codec.cells import Cells, dtype, from_batch, to_column
from vecferry.ids import IdMapper, is_canonical_uuid, is_u64
from vecferry.layouts import ENVELOPE, Layout, id_rule, layout
from vecferry.model import Card, CollectionSpec, Element, IdKind, Keep, Metric, VectorKind, VectorSpec
from vecferry.tags import canonical


@dataclass(slots=True)
class Rows:
    """A batch as points, column by column.

    Attributes:
        ids: point ids as text: digits, or a canonical UUID (36 characters).
        document, uri: UTF-8; None where the payload has no such key.
        metadata: JSON objects; None where the payload has none.
        names: original ids, where the layout shows them under a key of its own.
        lifted: values that stand beside the metadata, at the top level of the payload; None where there are none.
        envelope: key -> a value per record: UTF-8 bytes for text, else JSON values; None where a record has none.
        vectors: what is sent; records without a vector are in `Cells.present`.
    """

    ids: list[bytes]
    document: list[bytes | None]
    uri: list[bytes | None]
    metadata: list[bytes | None]
    names: list[bytes | None] | None = None
    lifted: list[dict[str, Any] | None] | None = None
    envelope: dict[str, list[Any]] = field(default_factory=dict)
    vectors: list[Cells] = field(default_factory=list)
    _parsed: dict[int, Any] = field(default_factory=dict)

    def parse(self, row: int) -> Any:
        """The metadata of record `row` as a Python object; parsed once, not to be changed."""
        text = self.metadata[row]
        if text is None:
            return None
        known = self._parsed.get(row)
        if known is None:
            known = self._parsed[row] = orjson.loads(text)
        return known

    def set_metadata(self, row: int, value: dict[str, Any]) -> None:
        """Give record `row` other metadata."""
        self.metadata[row], self._parsed[row] = canonical(value), value

    def objects(self) -> list[Any]:
        """The metadata of every record as Python objects; not to be changed."""
        loads, parsed = orjson.loads, self._parsed.get
        return [None if text is None else parsed(row) or loads(text) for row, text in enumerate(self.metadata)]

    def texts(self, layout: Layout) -> list[tuple[str, list[bytes | None]]]:
        """The columns of text at the top level of a payload, with their keys."""
        found = [(layout.document_key, self.document), (layout.uri_key, self.uri)]
        return found if layout.id_key is None or self.names is None else [(layout.id_key, self.names), *found]

    def lift(self, row: int, values: dict[str, Any]) -> None:
        """Give record `row` values at the top level of its payload."""
        if self.lifted is None:
            self.lifted = [None] * len(self.ids)
        self.lifted[row] = values

    def note(self, key: str, row: int, value: Any) -> None:
        """Put one value into the envelope of record `row`."""
        self.envelope.setdefault(key, [None] * len(self.ids))[row] = value

    def note_named(self, key: str, row: int, name: str, value: Any) -> None:
        """Put one value, that of vector `name`, into the object under `key` in the envelope of record `row`."""
        known = self.envelope.setdefault(key, [None] * len(self.ids))[row] or {}
        self.note(key, row, {**known, name: value})


def normalises(vector: VectorSpec) -> bool:
    """True where Qdrant would scale this vector to length 1 when it arrives."""
    dense = vector.kind in (VectorKind.DENSE, VectorKind.MULTI)
    return dense and vector.metric is Metric.COSINE and vector.element is not Element.UINT8


def kept_name(name: str) -> str:
    """The name of the vector that holds the original bits of vector `name`."""
    return f"{ENVELOPE}.{name}" if name else ENVELOPE


class Form:
    """How the records of one collection stand in Qdrant. Made from a spec; the spec's card decides.

    A spec without card is a collection that somebody else wrote: only its reading side is of use (`restore`).
    """

    def __init__(self, spec: CollectionSpec, *, foreign_layout: str = "flat") -> None:
        self.spec = spec
        self.ours = spec.card is not None
        self.card = spec.card or Card(
            id_kind=spec.id_kind,
            vectors=spec.vectors,
            layout=foreign_layout,
            id_rule=id_rule(foreign_layout, Card().id_rule),
        )
        self.layout = layout(self.card.layout)
        self.keeps_bits = self.card.exact_vectors is Keep.BITS
        self.scaled = tuple(vector for vector in spec.vectors if self.ours and normalises(vector))
        self._mapper = IdMapper(self.card.id_rule, tenant=self.card.tenant)

    @property
    def one_length(self) -> bool:
        """True where `n` is a single number: one scaled vector, and that a dense one."""
        return len(self.scaled) == 1 and self.scaled[0].kind is VectorKind.DENSE

    @property
    def stored_vectors(self) -> tuple[VectorSpec, ...]:
        """The vectors that the collection has in Qdrant, under their names there."""
        beside = [vector for vector in self.scaled if self.keeps_bits]
        return self.spec.vectors + tuple(_beside(vector) for vector in beside)

    @property
    def read_vectors(self) -> tuple[VectorSpec, ...]:
        """The vectors to fetch, under their names there: the original bits rather than what was made of them."""
        return tuple(_beside(v) if self.keeps_bits and v in self.scaled else v for v in self.spec.vectors)

    # ----------------------------------------------------------------------- ids

    def point_ids(self, ids: Iterable[str]) -> dict[str, str]:
        """Point id -> original id, for every point that one of these original ids may be."""
        mixed = self.spec.id_kind is IdKind.MIXED
        kinds = [IdKind.INT, IdKind.UUID, IdKind.TEXT] if mixed else [self.spec.id_kind]
        ruled = self.ours or self.layout.id_rule is not None
        found = {}
        for text in ids:
            for kind in kinds:
                point, rewritten = self._mapper.map(kind, text.encode())
                if (ruled or not rewritten) and (is_u64(point) or is_canonical_uuid(point)):
                    found[point.decode()] = text
        return found

    def original_id(self, point: str, payload: Mapping[str, Any] | None) -> str:
        """The original id of a point, from a payload that may be cut down to `layout.id_path`."""
        told_id = self.layout.original_id(payload) if self.ours or self.layout.id_rule is not None else None
        return point if told_id is None else told_id

    def places(self, ids: Sequence[str], kinds: Sequence[str | None]) -> list[str]:
        """The point where our rule puts each of these original ids; a kind of None is the collection's own."""
        texts = [text.encode() for text in ids]
        if any(kinds):
            known = [IdKind(kind) if kind else self.spec.id_kind for kind in kinds]
            pairs = [self._mapper.map(kind, text) for kind, text in zip(known, texts, strict=True)]
        else:
            pairs = self._mapper.map_all(self.spec.id_kind, texts)
        return [point.decode() for point, _ in pairs]

    def _ids(self, batch: pa.RecordBatch) -> tuple[list[bytes], dict[str, list[Any]]]:
        """The point ids of a batch, and the envelope columns that undo them."""
        texts = [text or b"" for text in arrow.utf8(batch, "id")]
        kinds = arrow.id_kinds(batch, self.spec)
        if self.spec.id_kind is not IdKind.MIXED:
            pairs = self._mapper.map_all(self.spec.id_kind, texts)
        else:
            pairs = [self._mapper.map(kind, text) for kind, text in zip(kinds, texts, strict=True)]
        notes: dict[str, list[Any]] = {}
        if self.layout.id_key is None:
            notes["id"] = [text if rewritten else None for text, (_, rewritten) in zip(texts, pairs, strict=True)]
        if self.spec.id_kind is IdKind.MIXED:
            notes["kind"] = [
                kind.value.encode() if rewritten or kind is not told(point) else None
                for kind, (point, rewritten) in zip(kinds, pairs, strict=True)
            ]
        return [point for point, _ in pairs], notes

    # ----------------------------------------------------------------------- a batch as points

    def rows(self, batch: pa.RecordBatch) -> Rows:
        """`batch` (canonical, of this form's spec) as points."""
        ids, notes = self._ids(batch)
        tags = [None if tags is None else orjson.loads(tags) for tags in _texts(batch, "tags")]
        rows = Rows(
            ids=ids,
            document=_texts(batch, "document"),
            uri=_texts(batch, "uri"),
            metadata=_texts(batch, "metadata"),
            names=arrow.utf8(batch, "id") if self.layout.id_key is not None else None,
            envelope={**notes, "seq": batch.column("seq").to_pylist(), "t": tags},
        )
        floats.guard(rows)
        shape.fit(rows, self.layout)
        for vector in self.spec.vectors:
            self._add_vector(rows, batch, vector)
        rows.envelope = {key: values for key, values in rows.envelope.items() if values.count(None) < len(values)}
        return rows

    # ----------------------------------------------------------------------- vectors

    def _add_vector(self, rows: Rows, batch: pa.RecordBatch, vector: VectorSpec) -> None:
        cells = from_batch(batch, vector)
        if cells.kind is VectorKind.MULTI and cells.offsets is not None:
            without_row = cells.present & (np.diff(cells.offsets) == 0)
            for row in np.flatnonzero(without_row):
                known = rows.envelope.get("empty", {row: None})[row] or []
                rows.note("empty", int(row), [*known, vector.name])
            cells.present = cells.present & ~without_row
        rows.vectors += self._scale(rows, cells, vector) if vector in self.scaled else [cells]

    def _scale(self, rows: Rows, cells: Cells, vector: VectorSpec) -> list[Cells]:
        scaled, lengths = norms.scale(cells.values)
        sent = cells.renamed(vector.name, scaled)
        if self.keeps_bits:
            return [sent, cells.renamed(kept_name(vector.name), cells.values)]
        self._note_lengths(rows, cells, vector, lengths)
        original = cells.values.astype(dtype(vector), copy=False)
        for row in np.flatnonzero(norms.strayed(original, as_stored(scaled, vector), lengths)):
            record = cells.owner(int(row))
            rows.note_named("v", record, vector.name, _base64(original[cells.share(record)]))
        return [sent]

    def _note_lengths(self, rows: Rows, cells: Cells, vector: VectorSpec, lengths: NDArray[np.float64]) -> None:
        told = [None if length == 1.0 else norms.sayable(length) for length in lengths.tolist()]
        if self.one_length:
            rows.envelope["n"] = told
            return
        for record in range(len(rows.ids)):
            share = told[cells.share(record)]
            if any(length is not None for length in share):
                value = share[0] if cells.offsets is None else [1.0 if n is None else n for n in share]
                rows.note_named("n", record, vector.name, value)

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What reading `batch` back from Qdrant gives, bit for bit."""
        if self.keeps_bits or not self.scaled:
            return batch
        columns = {name: batch.column(name) for name in batch.schema.names}
        for vector in self.scaled:
            columns[arrow.column(vector)] = _expected(batch, vector)
        return arrow.build(self.spec, columns)

    # ----------------------------------------------------------------------- payloads as Python objects

    def payloads(self, rows: Rows) -> list[dict[str, Any]]:
        """The payload of each record as a Python object (the wire formats are made from `Rows` directly)."""
        return [self._payload(rows, row) for row in range(len(rows.ids))]

    def _payload(self, rows: Rows, row: int) -> dict[str, Any]:
        metadata: Any = None if (text := rows.metadata[row]) is None else orjson.loads(text)
        payload: dict[str, Any] = metadata if self.layout.metadata_key is None else {}
        named = ((key, texts[row]) for key, texts in rows.texts(self.layout))
        payload |= {key: text.decode() for key, text in named if text is not None}
        if rows.lifted is not None:
            payload |= rows.lifted[row] or {}
        if self.layout.metadata_key is not None and metadata is not None:
            payload[self.layout.metadata_key] = metadata
        envelope = {key: values[row] for key, values in rows.envelope.items() if values[row] is not None}
        if envelope:
            holder = metadata if self.layout.inner_envelope else payload
            holder[ENVELOPE] = {k: v.decode() if isinstance(v, bytes) else v for k, v in envelope.items()}
        return payload


def _texts(batch: pa.RecordBatch, name: str) -> list[bytes | None]:
    """A text column as UTF-8; a column of nulls, the rule for some, costs nothing."""
    empty = batch.column(name).null_count == batch.num_rows
    return [None] * batch.num_rows if empty else arrow.utf8(batch, name)


def told(point: bytes | str) -> IdKind:
    """The kind that a point's id itself tells."""
    return IdKind.UUID if len(point) == 36 else IdKind.INT


def _beside(vector: VectorSpec) -> VectorSpec:
    """The vector that holds the original bits of a scaled one: never scaled, never indexed."""
    return VectorSpec(
        name=kept_name(vector.name), kind=vector.kind, dim=vector.dim, metric=Metric.IP, element=vector.element
    )


def as_stored(scaled: NDArray[np.float32], vector: VectorSpec) -> NDArray[Any]:
    """What Qdrant makes of a float32 vector that it stores in this vector's type."""
    return scaled.astype(np.float16) if vector.element is Element.FLOAT16 else scaled


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()).decode()


def _expected(batch: pa.RecordBatch, vector: VectorSpec) -> pa.Array:
    cells = from_batch(batch, vector)
    scaled, lengths = norms.scale(cells.values)
    stored, original = as_stored(scaled, vector), cells.values.astype(dtype(vector), copy=False)
    back = norms.unscale(stored, lengths, dtype(vector))
    for row in np.flatnonzero(norms.strayed(original, stored, lengths)):
        share = cells.share(cells.owner(int(row)))
        back[share] = original[share]
    return to_column(vector, cells.renamed(vector.name, back))
