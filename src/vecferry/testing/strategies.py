"""Hypothesis strategies for everything that moves: metadata of every type, ids, vectors of all forms, specs, records.

Needs the package `hypothesis`. Values are as hostile as the model allows: keys that look like paths, integers of any
size, -0.0, NaN, empty and nested containers, ids with NUL and emoji.
"""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vecferry.ids import MAX_U64
from vecferry.model import (
    Card,
    CollectionSpec,
    Element,
    FieldIndex,
    IdKind,
    IndexKind,
    Metric,
    Record,
    VectorKind,
    VectorSpec,
)

text = st.text(max_size=20)
keys = st.one_of(text, st.sampled_from(["", "_vf", "chroma:document", "a.b", "a/b", "~", "~1", "0", "a[0]", "$ref"]))
integers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-(10**60), 10**60),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1]),
)
floats = st.one_of(st.floats(), st.sampled_from([-0.0, 1.0, 1e16, 1e22, 5e-324, 1.7976931348623157e308]))
_offsets = st.builds(timezone, st.integers(-1439, 1439).map(lambda minutes: timedelta(minutes=minutes)))
moments = st.one_of(st.datetimes(), st.datetimes(timezones=st.one_of(st.just(UTC), _offsets))).map(
    lambda moment: moment.replace(fold=0)  # the offset says it already; ISO 8601 has no word for it
)

json_scalars = st.one_of(st.none(), st.booleans(), integers, floats, text)
scalars = st.one_of(json_scalars, moments, st.dates(), st.binary(max_size=20), st.decimals())


def values(leaves: st.SearchStrategy[Any] = scalars) -> st.SearchStrategy[Any]:
    """Metadata values: `leaves`, and lists and objects of them to some depth."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


def metadata(leaves: st.SearchStrategy[Any] = scalars) -> st.SearchStrategy[dict[str, Any]]:
    """Metadata objects."""
    return st.dictionaries(keys, values(leaves), max_size=6)


@st.composite
def ids(draw: st.DrawFn, kind: IdKind = IdKind.TEXT) -> tuple[str, IdKind]:
    """An id of `kind` in its canonical text, and its kind (which `MIXED` draws)."""
    if kind is IdKind.MIXED:
        kind = draw(st.sampled_from([IdKind.INT, IdKind.UUID, IdKind.TEXT]))
    if kind is IdKind.INT:
        return str(draw(st.integers(0, MAX_U64))), kind
    if kind is IdKind.UUID:
        return str(draw(st.uuids())), kind
    odd = st.sampled_from(["../x", "a\0b", "42", "🛳️", "null", "x" * 1000])
    return draw(st.one_of(st.text(min_size=1, max_size=30), odd, st.uuids().map(str))), kind


@st.composite
def vector_specs(draw: st.DrawFn, name: str = "") -> VectorSpec:
    """One vector of any form."""
    kind = draw(st.sampled_from(VectorKind))
    if kind is VectorKind.SPARSE:
        return VectorSpec(name=name, kind=kind, metric=Metric.IP)
    if kind is VectorKind.BITS:
        dim = draw(st.integers(1, 40))
        return VectorSpec(name=name, kind=kind, dim=dim, metric=Metric.HAMMING, element=Element.UINT8)
    metric = draw(st.sampled_from([Metric.COSINE, Metric.L2, Metric.IP, Metric.L1]))
    element = draw(st.sampled_from(Element))
    return VectorSpec(name=name, kind=kind, dim=draw(st.integers(1, 6)), metric=metric, element=element)


@st.composite
def specs(draw: st.DrawFn) -> CollectionSpec:
    """A collection with one unnamed vector, or up to three named ones."""
    names = draw(
        st.one_of(st.just([""]), st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3, unique=True))
    )
    return CollectionSpec(
        name=draw(st.text(min_size=1, max_size=20)),
        namespace=tuple(draw(st.lists(st.text(min_size=1, max_size=8), max_size=2))),
        id_kind=draw(st.sampled_from(IdKind)),
        vectors=tuple(draw(vector_specs(name=name)) for name in names),
        metadata=draw(
            metadata(
                st.one_of(st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), text)
            )
        ),
        indexes=tuple(draw(st.lists(st.builds(FieldIndex, key=keys, kind=st.sampled_from(IndexKind)), max_size=2))),
        card=draw(st.one_of(st.none(), st.builds(Card, tenant=text, run=text, id_kind=st.sampled_from(IdKind)))),
    )


def vectors(spec: VectorSpec) -> st.SearchStrategy[Any]:
    """A value of one vector, or None."""
    return st.one_of(st.none(), _vectors(spec))


def _vectors(spec: VectorSpec) -> st.SearchStrategy[Any]:
    dim = spec.dim or 0
    if spec.kind is VectorKind.BITS:
        return hnp.arrays(np.uint8, dim, elements=st.integers(0, 1)).map(lambda bits: np.packbits(bits).tobytes())
    if spec.kind is VectorKind.SPARSE:
        return st.dictionaries(
            st.integers(0, 2**32 - 1), st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6
        ).map(_sparse)
    dense = hnp.arrays(np.dtype(spec.element.value), dim, elements=_elements(spec.element))
    if spec.kind is VectorKind.DENSE:
        return dense
    return st.lists(dense, max_size=3).map(lambda rows: np.array(rows, spec.element.value).reshape(-1, dim))


def _elements(element: Element) -> st.SearchStrategy[Any]:
    if element is Element.FLOAT32:
        return st.floats(width=32, allow_nan=False, allow_infinity=False)
    if element is Element.FLOAT16:
        return st.floats(width=16, allow_nan=False, allow_infinity=False)
    return st.integers(0, 255) if element is Element.UINT8 else st.integers(-128, 127)


def _sparse(values: dict[int, float]) -> tuple[Any, Any]:
    indices = np.array(sorted(values), np.uint32)
    return indices, np.array([values[int(index)] for index in indices], np.float32)


@st.composite
def records(draw: st.DrawFn, spec: CollectionSpec) -> Record:
    """A record of `spec`."""
    name, kind = draw(ids(spec.id_kind))
    return Record(
        id=name,
        id_kind=kind,
        seq=draw(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))),
        vectors={vector.name: draw(vectors(vector)) for vector in spec.vectors},
        document=draw(st.one_of(st.none(), text)),
        uri=draw(st.one_of(st.none(), text)),
        metadata=draw(st.one_of(st.none(), metadata())),
    )


def record_lists(spec: CollectionSpec, *, max_size: int = 8) -> st.SearchStrategy[list[Record]]:
    """Records of `spec` with different ids."""
    return st.lists(records(spec), max_size=max_size, unique_by=lambda record: (record.id, record.id_kind))


@st.composite
def collections(draw: st.DrawFn, *, max_size: int = 8) -> tuple[CollectionSpec, list[Record]]:
    """A spec and records of it."""
    spec = draw(specs())
    return spec, draw(record_lists(spec, max_size=max_size))
