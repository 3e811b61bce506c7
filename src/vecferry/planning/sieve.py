"""What the plan's policies do to a batch on its way: records that are left out, vectors that change their form. Pure.

The engine puts every batch of the source through `Sieve.apply` before it goes to the sink; what is left out goes to
the ledger's quarantine. Where the plan has nothing to say, the batch passes untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import column, dense, present, schema, utf8
from vecferry.limits import Limits, Shape
from vecferry.model import CollectionSpec, IdKind, Rejection, VectorKind, VectorSpec
from vecferry.planning.elements import kind_column, retyped_column
from vecferry.planning.losses import record_limit
from vecferry.planning.model import CollectionPlan, Policy
from vecferry.planning.profile import lengths_of, nul_rows, record_bytes, squared_norms
from vecferry.planning.values import elements, is_long, is_reserved, longest, parse, shapes_of, singles
from vecferry.planning.vectors import match_vectors

Mask = NDArray[np.bool_]

_REASONS: dict[Shape, str] = {
    Shape.NO_VECTOR: "It has no vector, and the target needs one.",
    Shape.NON_FINITE_VECTOR: "Its vector holds NaN or infinity.",
    Shape.ZERO_VECTOR: "Its vector is all zeros.",
    Shape.ID_TOO_LONG: "Its id is longer than the target takes.",
    Shape.TOO_LARGE: "It is larger than the target takes.",
    Shape.MANY_KEYS: "It has more metadata keys than the target takes.",
    Shape.LONG_KEY: "It has a metadata key that is longer than the target takes.",
    Shape.LONG_VALUE: "It has a metadata value that is longer than the target takes.",
    Shape.LONG_URI: "Its uri is longer than the target takes.",
    Shape.LONG_LISTS: "Its lists have more elements than the target takes.",
}


class Sieve:
    """The policies of one collection, made ready for its batches. Thread-safe; holds no state between batches.

    Attributes:
        spec: describes the batches that come out.
    """

    def __init__(self, plan: CollectionPlan, source: CollectionSpec, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._shapes = [Shape(c.shape) for c in plan.cells if c.policy is Policy.QUARANTINE and c.shape in set(Shape)]
        self._pairs = [(old, new) for old, new in match_vectors(source.vectors, plan.target.vectors) if new is not None]
        self._kept = replace(source, vectors=tuple(old for old, _ in self._pairs))  # those that have a place
        kind = IdKind.MIXED if plan.target.id_kind is IdKind.MIXED else source.id_kind
        self.spec = replace(source, id_kind=kind, vectors=tuple(_reshaped(old, new) for old, new in self._pairs))
        self._same_form = schema(self.spec) == schema(source)

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        """(records that go on, records that are left out) of one canonical batch of the source."""
        batch, rejected = self._split(batch) if self._shapes else (batch, ())
        return batch if self._same_form else self._reshape(batch), rejected

    def _split(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        out = np.zeros(batch.num_rows, np.bool_)
        rejected = []
        for shape in self._shapes:
            mask = self._mask(shape, batch) & ~out
            out |= mask
            reason = _REASONS.get(shape, f"Its metadata or text has the shape '{shape}', which the plan leaves out.")
            rejected += [Rejection(batch.column("id")[row].as_py(), reason) for row in np.flatnonzero(mask).tolist()]
        return (batch.filter(pa.array(~out)) if rejected else batch), tuple(rejected)

    def _mask(self, shape: Shape, batch: pa.RecordBatch) -> Mask:
        """Which records have `shape`, shape (rows,)."""
        direct = _MASKS.get(shape)
        if direct is not None:
            return direct(batch, self._kept, self._limits)
        return _metadata_mask(shape, batch, self._limits)

    def _reshape(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        wanted = schema(self.spec)
        vectors = {
            column(new): retyped_column(batch, old, new.element)
            for (old, _), new in zip(self._pairs, self.spec.vectors, strict=True)
        }
        if self.spec.id_kind is not self._source.id_kind:
            vectors["id_kind"] = kind_column(batch, self._source)
        arrays = [vectors[f.name] if f.name in vectors else batch.column(f.name) for f in wanted]
        return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _reshaped(old: VectorSpec, new: VectorSpec) -> VectorSpec:
    """`old` under the name and number type of `new`."""
    return replace(new, dim=old.dim)


# --------------------------------------------------------------------------- one mask per shape


def _no_vector(batch: pa.RecordBatch, spec: CollectionSpec, _: Limits) -> Mask:
    masks = [present(batch, vector) for vector in spec.vectors]
    return ~np.logical_or.reduce(masks) if masks else np.zeros(batch.num_rows, np.bool_)


def _non_finite(batch: pa.RecordBatch, spec: CollectionSpec, _: Limits) -> Mask:
    return _any(batch.num_rows, (~np.isfinite(squared) & there for squared, there in _lengths(batch, spec)))


def _zero(batch: pa.RecordBatch, spec: CollectionSpec, _: Limits) -> Mask:
    return _any(batch.num_rows, ((squared == 0) & there for squared, there in _lengths(batch, spec)))


def _lengths(batch: pa.RecordBatch, spec: CollectionSpec) -> Iterator[tuple[NDArray[np.float64], Mask]]:
    """(squared lengths, presence) of each dense vector."""
    for vector in spec.vectors:
        if vector.kind is VectorKind.DENSE and vector.dim:
            yield squared_norms(dense(batch, vector), vector.element), present(batch, vector)


def _id_too_long(batch: pa.RecordBatch, _: CollectionSpec, limits: Limits) -> Mask:
    return _over(lengths_of(batch.column("id")), limits.id_bytes)


def _too_large(batch: pa.RecordBatch, _: CollectionSpec, limits: Limits) -> Mask:
    documents = _over(lengths_of(batch.column("document")), limits.document_bytes)
    return documents | _over(record_bytes(batch), record_limit(limits))


def _over(sizes: NDArray[np.int64], limit: int | None) -> Mask:
    return np.zeros(len(sizes), np.bool_) if limit is None else sizes > limit


def _uri(batch: pa.RecordBatch, _: CollectionSpec, __: Limits) -> Mask:
    return np.asarray(batch.column("uri").is_valid().to_numpy(zero_copy_only=False), np.bool_)


def _long_uri(batch: pa.RecordBatch, _: CollectionSpec, limits: Limits) -> Mask:
    return _over(lengths_of(batch.column("uri")), limits.uri_bytes)


def _nul(batch: pa.RecordBatch, _: CollectionSpec, __: Limits) -> Mask:
    mask = np.zeros(batch.num_rows, np.bool_)
    mask[nul_rows(batch.column("document"), utf8(batch, "metadata"))] = True
    return mask


_MASKS: dict[Shape, Callable[[pa.RecordBatch, CollectionSpec, Limits], Mask]] = {
    Shape.NO_VECTOR: _no_vector,
    Shape.NON_FINITE_VECTOR: _non_finite,
    Shape.ZERO_VECTOR: _zero,
    Shape.ID_TOO_LONG: _id_too_long,
    Shape.TOO_LARGE: _too_large,
    Shape.URI: _uri,
    Shape.LONG_URI: _long_uri,
    Shape.NUL_IN_TEXT: _nul,
}


def _any(rows: int, masks: Iterator[Mask]) -> Mask:
    found = np.zeros(rows, np.bool_)
    for mask in masks:
        found |= mask
    return found


def _metadata_mask(shape: Shape, batch: pa.RecordBatch, limits: Limits) -> Mask:
    """Records whose metadata has `shape`; record by record, since only plans that quarantine metadata come here."""
    pairs = zip(utf8(batch, "metadata"), utf8(batch, "tags"), strict=True)
    return np.fromiter((_has(shape, raw, tags, limits) for raw, tags in pairs), np.bool_, batch.num_rows)


def _has(shape: Shape, raw: bytes | None, tags: bytes | None, limits: Limits) -> bool:
    metadata = parse(raw, tags)
    if metadata is None:
        return False
    if shape is Shape.EMPTY_METADATA:
        return not metadata
    if shape is Shape.EMPTY_KEY:
        return "" in metadata
    if shape is Shape.RESERVED_KEY:
        return any(is_reserved(key, limits) for key in metadata)
    if shape is Shape.MANY_KEYS:
        return limits.metadata_keys is not None and singles(metadata) > limits.metadata_keys
    if shape is Shape.LONG_KEY:
        return any(is_long(key, limits) for key in metadata)
    if shape is Shape.LONG_VALUE:
        return limits.value_bytes is not None and longest(metadata) > limits.value_bytes
    if shape is Shape.LONG_LISTS:
        return limits.list_elements is not None and elements(metadata) > limits.list_elements
    return any(shape in shapes_of(value) for value in metadata.values())
