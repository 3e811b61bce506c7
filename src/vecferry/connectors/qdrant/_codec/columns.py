"""Points read in C (`_native/`) as canonical batches: no Python object for each value. Pure.

It is a short cut for what most collections are: one vector or several dense ones, a layout that shows its texts and
metadata as they are, envelopes that note ids, order and lengths. Whatever else a part of an answer holds, `grpc_read`
and `restore` read that part; both give the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.qdrant._codec import restore
from vecferry.connectors.qdrant._codec.cells import Cells, to_column
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.native import native
from vecferry.layouts import ENVELOPE
from vecferry.model import IdKind, VectorKind, VectorSpec
from vecferry.tags import canonical

Keys = tuple[str | None, str | None, str | None, str | None, str | None]
"""Payload keys of the document, uri, id, metadata (None: at the top) and envelope (None: not ours)."""
TextBuffers = tuple[bytes, bytes, bytes, int]
"""A text column: bytes, int64 offsets, validity bitmap, number of nulls."""


@dataclass(frozen=True, slots=True)
class Page:
    """Points as columns; `rests` are notes of their envelopes beside `seqs` and `lengths`."""

    ids: list[str]
    names: list[str | None] | None
    rests: list[dict[str, Any] | None]
    document: TextBuffers
    uri: TextBuffers
    metadata: TextBuffers
    seqs: bytes
    ordered: bytes
    lengths: bytes
    vectors: tuple[tuple[bytes, bytes], ...]


class Reader:
    """Reads the points of one collection."""

    def __init__(self, form: Form) -> None:
        self._form, self._layout = form, form.layout
        self._keys: Keys = (
            form.layout.document_key,
            form.layout.uri_key,
            form.layout.id_key,
            form.layout.metadata_key,
            ENVELOPE if form.ours else None,
        )
        self._vectors = tuple((vector.name, vector.dim or 0) for vector in form.read_vectors)

    @staticmethod
    def possible(form: Form) -> bool:
        """Is this a collection that the short cut is for, and can this installation take it?"""
        odd_layout = form.layout.conversion or form.layout.lifted or form.layout.extras or form.layout.inner_envelope
        dense = all(vector.kind is VectorKind.DENSE and vector.dim for vector in form.read_vectors)
        return native is not None and not odd_layout and dense and form.spec.id_kind is not IdKind.MIXED

    def read(self, data: bytes, at: int, *, rows: int, result: int = 2) -> tuple[int, Page] | None:
        """(the byte behind them, points from byte `at` on), at most `rows`; None where Python must read them."""
        assert native is not None
        found = native.points(data, at, result, rows, self._keys, self._vectors, orjson.dumps)
        if found is None:
            return None
        end, ids, names, rests, document, uri, metadata, seqs, ordered, lengths, vectors = found
        return end, Page(ids, names, rests or [], document, uri, metadata, seqs, ordered, lengths, vectors)

    def batch(self, page: Page) -> pa.RecordBatch:
        """The canonical batch.

        Raises:
            CorruptData: an envelope that we did not write.
        """
        form, columns = self._form, dict[str, Any]()
        with restore.trusted(form, page.ids):
            columns["id"] = self._ids(page)
            columns["seq"] = _integers(page.seqs, page.ordered)
            columns["document"] = _texts(page.document)
            columns["uri"] = _texts(page.uri)
            columns["metadata"] = pa.ExtensionArray.from_storage(arrow.JSON, _texts(page.metadata).cast(pa.string()))
            columns["tags"] = _tags(page)
            for number, vector in enumerate(form.spec.vectors):
                columns[arrow.column(vector)] = to_column(vector, self._cells(page, number, vector))
            return arrow.build(form.spec, columns)

    def _ids(self, page: Page) -> list[str]:
        if page.names is None:
            claimed = [(row, rest["id"]) for row, rest in enumerate(page.rests) if rest is not None and "id" in rest]
        else:
            claimed = [(row, name) for row, name in enumerate(page.names) if name is not None]
        if not claimed:
            return page.ids
        rows, claims = [row for row, _ in claimed], [claim for _, claim in claimed]
        return restore.original_ids(self._form, page.ids, rows, claims, [None] * len(rows))

    def _cells(self, page: Page, number: int, vector: VectorSpec) -> Cells:
        values, there = page.vectors[number]
        stored = np.frombuffer(values, "<f4").reshape(len(page.ids), self._vectors[number][1])
        cells = Cells(vector.name, vector.kind, stored, np.frombuffer(there, np.bool_))
        if vector not in self._form.scaled or self._form.keeps_bits:
            cells.values = restore.cast(cells.values, vector)
            return cells
        lengths, kept = self._notes(page, vector)
        return restore.unscaled(vector, cells, lengths, kept)

    def _notes(self, page: Page, vector: VectorSpec) -> tuple[NDArray[np.float64], Sequence[tuple[int, str]]]:
        """(length, shape (rows,); the bits that were noted) of one vector."""
        lengths, kept = np.frombuffer(page.lengths, np.float64), list[tuple[int, str]]()
        if page.rests:
            lengths = lengths.copy()
        for row, rest in enumerate(page.rests):
            if rest is None:
                continue
            if (told := rest.get("n")) is not None:
                lengths[row : row + 1] = restore.numbers(told if self._form.one_length else told.get(vector.name, 1.0))
            if "v" in rest and vector.name in rest["v"]:
                kept.append((row, rest["v"][vector.name]))
        return lengths, kept


def _texts(buffers: TextBuffers) -> pa.Array:
    data, offsets, valid, nulls = buffers
    parts = [pa.py_buffer(valid) if nulls else None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) // 8 - 1, parts, nulls)


def _integers(values: bytes, there: bytes) -> pa.Array:
    numbers, mask = np.frombuffer(values, np.int64), np.frombuffer(there, np.bool_)
    return pa.array(numbers, pa.int64(), mask=None if mask.all() else ~mask)


def _tags(page: Page) -> list[bytes | None] | None:
    """The tags of each record's metadata; what is noted of metadata that is gone is gone too."""
    if not any(rest is not None and "t" in rest for rest in page.rests):
        return None
    there = _texts(page.metadata).is_valid().to_pylist()
    noted = [rest.get("t") if rest is not None else None for rest in page.rests]
    tags = [canonical(one) if one and there[row] else None for row, one in enumerate(noted)]
    return tags + [None] * (len(page.ids) - len(tags))
