"""What a batch will be when it is read back from its table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from vecferry import arrow
from vecferry.connectors.postgres.ddl import is_own
from vecferry.model import CollectionSpec, VectorKind, VectorSpec
from vecferry.tables import Form, Table
from vecferry.tables.envelope import jsonb_text
from vecferry.tags import canonical, loads, pack, unpack


def expected(batch: pa.RecordBatch, spec: CollectionSpec, table: Table, form: Form) -> pa.RecordBatch:
    """`batch` as the table holds it.

    A table of ours holds all of it, save zeros in sparse vectors. Another's has no order, may have no document or uri,
    and gives null for every column that a record said nothing about.
    """
    columns: dict[str, Any] = {name: batch.column(name) for name in batch.schema.names}
    for vector in spec.vectors:
        if vector.kind is VectorKind.SPARSE:
            columns[arrow.column(vector)] = _without_zeros(columns[arrow.column(vector)])
        if vector.kind is VectorKind.BITS and (vector.dim or 0) % 8:
            columns[arrow.column(vector)] = _trimmed(columns[arrow.column(vector)], vector)
    if not is_own(table, form):
        columns |= {"seq": None} | {name: None for name in ("document", "uri") if getattr(form, name) is None}
        columns["metadata"], columns["tags"] = _metadata(batch, form)
    return arrow.build(spec, columns)


def _without_zeros(array: pa.StructArray) -> pa.Array:
    cells = [None if cell is None else _kept(cell) for cell in array.to_pylist()]
    return pa.array(cells, array.type)


def _kept(cell: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    pairs = [(i, v) for i, v in zip(cell["indices"], cell["values"], strict=True) if v != 0]
    return {"indices": [i for i, _ in pairs], "values": [v for _, v in pairs]}


def _trimmed(array: pa.Array, vector: VectorSpec) -> pa.Array:
    """Bits behind the last are 0."""
    mask = (0xFF << (8 - (vector.dim or 0) % 8)) & 0xFF
    cells = [None if cell is None else cell[:-1] + bytes([cell[-1] & mask]) for cell in array.to_pylist()]
    return pa.array(cells, array.type)


def _metadata(batch: pa.RecordBatch, form: Form) -> tuple[list[str | None], list[str | None]]:
    texts: list[str | None] = []
    tags: list[str | None] = []
    for text, tag in zip(arrow.utf8(batch, "metadata"), arrow.utf8(batch, "tags"), strict=True):
        values = unpack(text, tag) if text is not None else {}
        for key in form.keys:
            values.setdefault(key, None)
        if text is None and not form.keys:
            texts.append(None)
            tags.append(None)
            continue
        made, kept = pack(values)
        texts.append(canonical(loads(jsonb_text(made))).decode())
        tags.append(kept.decode() if kept is not None else None)
    return texts, tags
