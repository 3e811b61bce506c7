"""A vector's number type changed on the way: widened without loss, or narrowed where the plan says so. Pure.

A number that the narrower type has not becomes the nearest that it has; beyond its range, the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import column, dense, present, schema, vector_type
from vecferry.model import CollectionSpec, Element, VectorKind, VectorSpec

_HELD = {
    Element.FLOAT32: frozenset(Element),
    Element.FLOAT16: frozenset({Element.FLOAT16, Element.UINT8, Element.INT8}),
    Element.UINT8: frozenset({Element.UINT8}),
    Element.INT8: frozenset({Element.INT8}),
}
_TYPED = (VectorKind.DENSE, VectorKind.MULTI)


def holds(wide: Element, narrow: Element) -> bool:
    """Whether every number of type `narrow` is one of type `wide`."""
    return narrow in _HELD[wide]


def retyped_spec(spec: CollectionSpec, vectors: Sequence[VectorSpec]) -> CollectionSpec:
    """`spec` with the number types that `vectors` have under the same names."""
    wanted = {vector.name: vector.element for vector in vectors if vector.kind in _TYPED}
    changed = (
        replace(vector, element=wanted.get(vector.name, vector.element)) if vector.kind in _TYPED else vector
        for vector in spec.vectors
    )
    return replace(spec, vectors=tuple(changed))


def retyped(batch: pa.RecordBatch, spec: CollectionSpec, wanted: CollectionSpec) -> pa.RecordBatch:
    """A batch of `spec` as one of `wanted`, which differs in number types alone."""
    if spec.vectors == wanted.vectors:
        return batch
    form = schema(wanted)
    new = {vector.name: vector.element for vector in wanted.vectors}
    columns = {column(v): retyped_column(batch, v, new[v.name]) for v in spec.vectors}
    return pa.RecordBatch.from_arrays([columns.get(f.name, batch.column(f.name)) for f in form], schema=form)


def retyped_column(batch: pa.RecordBatch, vector: VectorSpec, element: Element) -> pa.Array:
    """The column of `vector` with numbers of another type."""
    array = batch.column(column(vector))
    if vector.element is element or vector.kind not in _TYPED:
        return array
    kind = vector_type(replace(vector, element=element))
    if vector.kind is VectorKind.MULTI:
        rows, start, end = array.values, array.offsets[0].as_py(), array.offsets[-1].as_py()
        flat = rows.flatten() if rows.null_count else rows.values
        dim = rows.type.list_size
        numbers = cast(flat.slice((rows.offset + start) * dim, (end - start) * dim).to_numpy(), element)
        made = pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=kind.value_type)
        offsets = pa.array(array.offsets.to_numpy() - start, pa.int32())
        return pa.ListArray.from_arrays(offsets, made, type=kind, mask=array.is_null() if array.null_count else None)
    there = present(batch, vector)
    numbers = cast(dense(batch, vector).reshape(-1), element)
    return pa.FixedSizeListArray.from_arrays(
        pa.array(numbers), type=kind, mask=None if there.all() else pa.array(~there)
    )


def cast(values: NDArray[Any], element: Element) -> NDArray[Any]:
    """Numbers as those of another type."""
    kind = np.dtype(element.value)
    if kind.kind == "f":
        most = np.finfo(kind).max
        return values.astype(kind) if element is Element.FLOAT32 else values.clip(-most, most).astype(kind)
    bounds = np.iinfo(kind)
    whole: NDArray[Any] = np.rint(np.nan_to_num(values)).clip(bounds.min, bounds.max).astype(kind)
    return whole
