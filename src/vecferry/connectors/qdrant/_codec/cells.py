"""Vectors between Arrow columns and the flat arrays that both wire formats send and receive. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.model import VectorKind, VectorSpec


@dataclass(slots=True)
class Cells:
    """One vector of every record of a batch.

    Attributes:
        name: the vector's name in Qdrant.
        values: dense: shape (rows, dim); multi: (all rows of all records, dim); sparse: (all values,). float32 on the
            wire, where a missing dense vector is a row of zeros.
        present: which records have this vector, shape (rows,).
        offsets: sparse and multi: record i owns values[offsets[i]:offsets[i + 1]]; shape (rows + 1,).
        indices: sparse: uint32, shape (all values,).
    """

    name: str
    kind: VectorKind
    values: NDArray[Any]
    present: NDArray[np.bool_]
    offsets: NDArray[np.int64] | None = None
    indices: NDArray[np.uint32] | None = None

    def renamed(self, name: str, values: NDArray[Any]) -> Cells:
        """The same cells under another name, with other values of the same shape."""
        return Cells(name, self.kind, values, self.present, self.offsets, self.indices)

    def owner(self, row: int) -> int:
        """The record that `values[row]` belongs to."""
        return row if self.offsets is None else int(np.searchsorted(self.offsets, row, "right")) - 1

    def share(self, record: int) -> slice:
        """Where the values of one record stand."""
        return (
            slice(record, record + 1) if self.offsets is None else slice(self.offsets[record], self.offsets[record + 1])
        )


def dtype(vector: VectorSpec) -> np.dtype[Any]:
    """The number type of a vector."""
    return np.dtype(vector.element.value)


def from_batch(batch: pa.RecordBatch, vector: VectorSpec) -> Cells:
    """The cells of one vector column, float32."""
    present = arrow.present(batch, vector)
    if vector.kind is VectorKind.DENSE:
        values = arrow.dense(batch, vector)
        if not present.all():
            values = np.where(present[:, None], values, values.dtype.type(0))
        return Cells(vector.name, vector.kind, np.ascontiguousarray(values, np.float32), present)
    array = batch.column(arrow.column(vector))
    return _multi(array, vector, present) if vector.kind is VectorKind.MULTI else _sparse(array, vector, present)


def _multi(array: pa.Array, vector: VectorSpec, present: NDArray[np.bool_]) -> Cells:
    offsets, start, end = _offsets(array)
    dim, rows = array.type.value_type.list_size, array.values
    flat = rows.values.slice((rows.offset + start) * dim, (end - start) * dim).to_numpy(zero_copy_only=False)
    return Cells(vector.name, vector.kind, flat.reshape(end - start, dim).astype(np.float32), present, offsets)


def _sparse(array: pa.Array, vector: VectorSpec, present: NDArray[np.bool_]) -> Cells:
    indices, weights = array.field("indices"), array.field("values")
    offsets, start, end = _offsets(indices)
    return Cells(
        vector.name,
        vector.kind,
        weights.values.slice(weights.offsets[0].as_py(), end - start).to_numpy(zero_copy_only=False),
        present,
        offsets,
        indices.values.slice(start, end - start).to_numpy(zero_copy_only=False),
    )


def _offsets(array: pa.ListArray) -> tuple[NDArray[np.int64], int, int]:
    """(offsets that begin with 0, start, end) of a list column's values."""
    raw = array.offsets.to_numpy().astype(np.int64)
    return raw - raw[0], int(raw[0]), int(raw[-1])


def to_column(vector: VectorSpec, cells: Cells) -> pa.Array:
    """Cells as the Arrow column of `vector`; `cells.values` has the vector's own number type."""
    kind = arrow.vector_type(vector)
    missing = None if cells.present.all() else pa.array(~cells.present)
    if vector.kind is VectorKind.SPARSE:
        offsets = pa.array(cells.offsets, pa.int32())
        indices = pa.ListArray.from_arrays(offsets, pa.array(cells.indices, pa.uint32()), type=kind[0].type)
        weights = pa.ListArray.from_arrays(offsets, pa.array(cells.values, pa.float32()), type=kind[1].type)
        return pa.StructArray.from_arrays([indices, weights], fields=list(kind), mask=missing)
    dense_type = kind if vector.kind is VectorKind.DENSE else kind.value_type
    flat = pa.array(np.ascontiguousarray(cells.values).reshape(-1), dense_type.value_type)
    if vector.kind is VectorKind.DENSE:
        return pa.FixedSizeListArray.from_arrays(flat, type=dense_type, mask=missing)
    rows = pa.FixedSizeListArray.from_arrays(flat, type=dense_type)
    return pa.ListArray.from_arrays(pa.array(cells.offsets, pa.int32()), rows, type=kind, mask=missing)
