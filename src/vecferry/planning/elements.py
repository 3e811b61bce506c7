"""A record's form in the target: number types widened or narrowed as the plan says, a kind with each id. Pure.

A number that the narrower type has not becomes the nearest that it has; beyond its range, the last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import column, dense, id_kinds, present, schema, vector_type
from vecferry.model import CollectionSpec, Element, IdKind, VectorKind, VectorSpec
from vecferry.planning.vectors import match_vectors

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


def retyped_spec(spec: CollectionSpec, target: CollectionSpec) -> CollectionSpec:
    """`spec` with the number types of the target's vectors of the same names, and of mixed ids where its are."""
    wanted = {vector.name: vector.element for vector in target.vectors if vector.kind in _TYPED}
    id_kind = IdKind.MIXED if target.id_kind is IdKind.MIXED else spec.id_kind
    changed = (
        replace(vector, element=wanted.get(vector.name, vector.element)) if vector.kind in _TYPED else vector
        for vector in spec.vectors
    )
    return replace(spec, vectors=tuple(changed), id_kind=id_kind)


def comparable_spec(spec: CollectionSpec, target: CollectionSpec) -> CollectionSpec:
    """`spec` with those of its vectors alone that the target has, under their names and with their number types there.

    What the target lacks, or calls otherwise, is for the schema check to find.
    """
    vectors = (
        replace(old, name=new.name, element=new.element if old.kind in _TYPED else old.element)
        for old, new in match_vectors(spec.vectors, target.vectors)
        if new is not None
    )
    return replace(retyped_spec(spec, target), vectors=tuple(vectors))


def retyped(batch: pa.RecordBatch, spec: CollectionSpec, wanted: CollectionSpec) -> pa.RecordBatch:
    """A batch of `spec` as one of `wanted`: with other number types, names or fewer vectors, or with mixed ids."""
    if spec.vectors == wanted.vectors and spec.id_kind is wanted.id_kind:
        return batch
    form = schema(wanted)
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns |= {
        column(new): retyped_column(batch, old, new.element)
        for old, new in match_vectors(spec.vectors, wanted.vectors)
        if new is not None
    }
    if wanted.id_kind is IdKind.MIXED:
        columns["id_kind"] = kind_column(batch, spec)
    return pa.RecordBatch.from_arrays([columns[name] for name in form.names], schema=form)


def kind_column(batch: pa.RecordBatch, spec: CollectionSpec) -> pa.Array:
    """The kind of each id, for a collection of mixed ids."""
    return pa.array([kind.value for kind in id_kinds(batch, spec)], pa.string())


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
