"""Records as points of Qdrant's edge engine, and back; specs as its configuration.

What a record looks like as a point, `_codec` says. The engine speaks Python objects: a payload is a dict, a vector
comes back as a list. Vectors go in as memory views of their rows, which it copies without a Python list in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.connectors.qdrant._codec import restore
from vecferry.connectors.qdrant._codec.cells import Cells
from vecferry.connectors.qdrant._codec.form import Form, Rows
from vecferry.connectors.qdrant.embedded.engine import engine
from vecferry.errors import Unsupported
from vecferry.model import Element, Metric, VectorKind, VectorSpec

_DISTANCES = {Metric.COSINE: "Cosine", Metric.IP: "Dot", Metric.L2: "Euclid", Metric.L1: "Manhattan"}
_DATATYPES = {
    Element.FLOAT32: "Float32",
    Element.FLOAT16: "Float16",
    Element.UINT8: "Uint8",
    Element.INT8: "Float32",  # holds every int8 exactly
}


# --------------------------------------------------------------------------- configuration


def configuration(form: Form) -> Any:
    """The engine's configuration for the collection of `form`.

    Raises:
        Unsupported: it has no vectors at all.
    """
    if not form.stored_vectors:
        raise Unsupported(
            f"Embedded Qdrant holds no collection without vectors, and '{form.spec.name}' has none.",
            hint="Embed its documents on the way (--transform, re_embed), or move it to a Qdrant server or an archive.",
        )
    edge = engine()
    dense = {v.name: _dense(v) for v in form.stored_vectors if v.kind is not VectorKind.SPARSE}
    sparse = {v.name: edge.EdgeSparseVectorParams() for v in form.stored_vectors if v.kind is VectorKind.SPARSE}
    return edge.EdgeConfig(vectors=dense, sparse_vectors=sparse)


def _dense(vector: VectorSpec) -> Any:
    edge = engine()
    if vector.kind is VectorKind.BITS or vector.metric not in _DISTANCES or vector.element not in _DATATYPES:
        raise Unsupported(
            f"Qdrant has no {vector.kind} vectors of {vector.element} compared by {vector.metric}.",
            hint="Leave the vector out, or choose a policy for it in the plan.",
        )
    several = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if vector.kind is VectorKind.MULTI else None
    return edge.EdgeVectorParams(
        size=vector.dim or 1,  # not known yet: the collection stays empty, and is made anew once it is
        distance=getattr(edge.Distance, _DISTANCES[vector.metric]),
        datatype=getattr(edge.VectorStorageDatatype, _DATATYPES[vector.element]),
        multivector_config=several,
    )


# --------------------------------------------------------------------------- writing


def points(rows: Rows, payloads: Sequence[dict[str, Any]], chosen: Iterable[int]) -> list[Any]:
    """The engine's points of the records `chosen`."""
    edge = engine()
    return [edge.Point(point_id(rows.ids[row].decode()), _vectors(rows, row), payloads[row]) for row in chosen]


def point_id(text: str) -> int | str:
    """A point id as the engine takes it."""
    return int(text) if text.isdigit() else text


def _vectors(rows: Rows, row: int) -> dict[str, Any]:
    return {cells.name: _vector(cells, row) for cells in rows.vectors if cells.present[row]}


def _vector(cells: Cells, row: int) -> Any:
    if cells.offsets is None:
        return memoryview(cells.values[row])
    share = cells.share(row)
    if cells.indices is None:
        return [memoryview(one) for one in cells.values[share]]
    return engine().SparseVector(cells.indices[share].tolist(), cells.values[share].tolist())


# --------------------------------------------------------------------------- reading


def batch(form: Form, found: Sequence[Any]) -> pa.RecordBatch:
    """A canonical batch of points as the engine returns them (or of anything with `id`, `vector` and `payload`)."""
    vectors = [_named(point.vector) for point in found]
    cells = {v.name: _cells(v, [one.get(v.name) for one in vectors]) for v in form.read_vectors}
    return restore.batch(form, [str(point.id) for point in found], [point.payload or {} for point in found], cells)


def _named(vector: Any) -> Mapping[str, Any]:
    """The vectors of a point by name; a point that has only the unnamed one gives it bare."""
    return vector if isinstance(vector, Mapping) else {"": vector}


def _cells(vector: VectorSpec, found: Sequence[Any]) -> Cells:
    present = np.array([one is not None for one in found], bool)
    if vector.kind is VectorKind.DENSE:
        values = np.zeros((len(found), vector.dim or 0), np.float32)
        if present.any():
            values[present] = [one for one in found if one is not None]
        return Cells(vector.name, vector.kind, values, present)
    if vector.kind is VectorKind.MULTI:
        shares = [np.asarray(() if one is None else one, np.float32).reshape(-1, vector.dim or 0) for one in found]
        return Cells(vector.name, vector.kind, _joined(shares, (0, vector.dim or 0)), present, _offsets(shares))
    pairs = [_ascending(one) for one in found]
    weights, indices = [pair[1] for pair in pairs], [pair[0] for pair in pairs]
    return Cells(
        vector.name, vector.kind, _joined(weights, (0,)), present, _offsets(indices), _joined(indices, (0,), np.uint32)
    )


def _ascending(sparse: Any) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    if sparse is None:
        return np.empty(0, np.uint32), np.empty(0, np.float32)
    indices, values = np.asarray(sparse.indices, np.uint32), np.asarray(sparse.values, np.float32)
    order = np.argsort(indices, kind="stable")
    return indices[order], values[order]


def _joined(shares: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: type[Any] = np.float32) -> NDArray[Any]:
    return np.concatenate([np.empty(shape, dtype), *shares])


def _offsets(shares: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(share) for share in shares])]).astype(np.int64)
