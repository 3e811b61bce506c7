"""The collections and records that the contracts use, derived from a store's limits: what is promised is tested."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from vecferry.limits import Limits, Shape
from vecferry.model import Card, CollectionSpec, Element, IdKind, Metric, Record, VectorKind, VectorSpec

DIM = 8
DENSE_METRICS = (Metric.L2, Metric.COSINE, Metric.IP, Metric.L1)


def vectors(limits: Limits) -> Iterator[VectorSpec]:
    """Every form of vector that a store says it holds: float32 by every metric, other forms by one."""
    for metric in DENSE_METRICS:
        if metric in limits.metrics:
            yield VectorSpec(dim=DIM, metric=metric)
    usual = usual_metric(limits)
    for element in sorted(limits.elements - {Element.FLOAT32}):
        yield VectorSpec(dim=DIM, metric=usual, element=element)
    if VectorKind.SPARSE in limits.vector_kinds:
        yield VectorSpec(kind=VectorKind.SPARSE, metric=Metric.IP, name="words" if limits.named_vectors else "")
    if VectorKind.MULTI in limits.vector_kinds:
        yield VectorSpec(kind=VectorKind.MULTI, dim=DIM, metric=usual)
    if VectorKind.BITS in limits.vector_kinds:
        yield VectorSpec(kind=VectorKind.BITS, dim=12, metric=Metric.HAMMING, element=Element.UINT8)


def usual_metric(limits: Limits) -> Metric:
    """A metric under which the store keeps vectors as they are."""
    return next((metric for metric in DENSE_METRICS if metric in limits.metrics - limits.normalises), Metric.COSINE)


def collections(limits: Limits, *, id_kind: IdKind = IdKind.TEXT) -> Iterator[CollectionSpec]:
    """A collection per form of vector, and one with several vectors where the store names them."""
    for vector in vectors(limits):
        yield collection(limits, vector, id_kind=id_kind)
    if limits.named_vectors:
        pair = (VectorSpec(name="text", dim=DIM, metric=usual_metric(limits)), VectorSpec(name="image", dim=4))
        yield replace(collection(limits, *pair, id_kind=id_kind), name="contract-named")


def collection(limits: Limits, *chosen: VectorSpec, id_kind: IdKind = IdKind.TEXT) -> CollectionSpec:
    """A collection to seed. Without `chosen` it has one dense vector by the store's usual metric."""
    first = chosen[0] if chosen else VectorSpec(dim=DIM, metric=usual_metric(limits))
    name = f"contract-{first.kind}-{first.element}-{first.metric}"
    return CollectionSpec(name=name, id_kind=id_kind, vectors=chosen or (first,))


def target(spec: CollectionSpec, **card: Any) -> CollectionSpec:
    """`spec` as a plan would give it to a sink: with a card."""
    made = Card(vecferry="contract", id_kind=spec.id_kind, vectors=spec.vectors, run="run-1", origin={"name": "here"})
    return replace(spec, card=replace(made, **card))


def ids(kind: IdKind, count: int) -> list[tuple[str, IdKind]]:
    """`count` ids of one kind; `MIXED` alternates numbers and UUIDs."""
    mixed = (IdKind.UUID, IdKind.INT)
    return [_id(mixed[n % 2] if kind is IdKind.MIXED else kind, n) for n in range(count)]


def _id(kind: IdKind, number: int) -> tuple[str, IdKind]:
    if kind is IdKind.INT:
        return str(number), kind
    return (f"00000000-0000-4000-8000-{number:012x}" if kind is IdKind.UUID else f"id-{number:06}"), kind


def plain_records(spec: CollectionSpec, count: int, *, seed: int = 0, unit: bool = True) -> list[Record]:
    """Records that every store holds: all vectors there, a document, flat metadata of the four scalar types.

    `unit` scales dense float32 vectors of cosine collections to length 1, so that no store changes them.
    """
    random = np.random.default_rng(seed)
    return [
        Record(
            id=text,
            id_kind=kind,
            seq=number,
            vectors={vector.name: make_vector(vector, random, unit=unit) for vector in spec.vectors},
            document=f"document {number} of {seed}",
            metadata={
                "number": number,
                "share": number / 4,
                "even": number % 2 == 0,
                "group": f"g{number % 7}",
                "version": seed,
            },
        )
        for number, (text, kind) in enumerate(ids(spec.id_kind, count))
    ]


def make_vector(vector: VectorSpec, random: np.random.Generator, *, unit: bool = True) -> Any:
    """A random value of one vector."""
    match vector.kind:
        case VectorKind.SPARSE:
            indices = np.sort(random.choice(10_000, size=5, replace=False)).astype(np.uint32)
            return indices, random.standard_normal(5).astype(np.float32)
        case VectorKind.BITS:
            return np.packbits(random.integers(0, 2, vector.dim or 0, np.uint8)).tobytes()
        case VectorKind.MULTI:
            return np.stack([_dense(vector, random, unit) for _ in range(int(random.integers(1, 4)))])
        case _:
            return _dense(vector, random, unit)


def _dense(vector: VectorSpec, random: np.random.Generator, unit: bool) -> np.ndarray[Any, Any]:
    if vector.element in (Element.UINT8, Element.INT8):
        low = 0 if vector.element is Element.UINT8 else -128
        return random.integers(low, low + 256, vector.dim or 0).astype(vector.element.value)
    values = random.standard_normal(vector.dim or 0)
    if unit and vector.metric is Metric.COSINE:
        values /= np.linalg.norm(values)
    return values.astype(vector.element.value)


ODD_IDS = (
    "../x",
    "/etc/passwd",
    "C:\\nul",
    " leading and trailing ",
    "line\nbreak",
    "percent%2Fslash/slash",
    "quote'\"`;--",
    "Zürich",
    "Zu\u0308rich",
    "日本語",
    "🛳️ ferry",
    "\u202eright to left",
    "x" * 1000,
    "42",
    "042",
    "null",
    "00000000-0000-4000-8000-00000000abcd",
    "00000000-0000-4000-8000-00000000ABCD",
)
"""Text ids that break naive code; the two spellings of Zürich and of the UUID are different ids."""

_METADATA: dict[Shape, tuple[dict[str, Any], ...]] = {
    Shape.NULL_VALUE: ({"a": None}, {"a": None, "b": 1}),
    Shape.NESTED_OBJECT: ({"a": {"b": "c"}}, {"a": {"b": {"c": {"d": 1}}}}),
    Shape.LIST: ({"a": ["x", "y"]}, {"a": [1, 2]}, {"a": [1.5, 2.0]}, {"a": [True, False]}),
    Shape.EMPTY_LIST: ({"a": []},),
    Shape.MIXED_LIST: ({"a": [1, "x", True, 2.5]},),
    Shape.UINT64: ({"a": 2**63}, {"a": 2**64 - 1}),
    Shape.BIG_INT: ({"a": 2**64}, {"a": -(2**63) - 1}, {"a": 10**40}),
    Shape.NEGATIVE_ZERO: ({"a": -0.0},),
    Shape.TAGGED: (
        {"a": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "b": datetime(2026, 1, 2)},  # noqa: DTZ001 (naive on purpose)
        {"a": date(2026, 1, 2), "b": Decimal("1.20"), "c": b"\x00\xff"},
        {"a": math.nan, "b": math.inf, "c": -math.inf},
    ),
    Shape.EMPTY_KEY: ({"": "empty"},),
    Shape.EMPTY_METADATA: ({},),
}
_ALWAYS: tuple[dict[str, Any], ...] = (
    {"a": "text", "b": "", "c": "日本語 🛳️"},
    {"a": 1, "b": 1.0, "c": True, "d": False, "e": 0, "f": 0.0},
    {"a": 2**63 - 1, "b": -(2**63), "c": 2**53 + 1},
    {"a": 1e300, "b": 5e-324, "c": 0.1, "d": -1.5, "e": 1e16},
    {"a.b": 1, "a/b": 2, "a~b": 3, "a b": 4, 'a"b': 5, "ä": 6, "a[0]": 7, "a\\b": 8},
    {"datetime": "2026-01-02T03:04:05+00:00", "number": "1", "bool": "true", "null": "null", "json": '{"a": 1}'},
)


def held(limits: Limits, *, sink: bool) -> frozenset[Shape]:
    """The shapes to test: what the store keeps, and for a sink also what it restores."""
    return limits.keeps | limits.restores if sink else limits.keeps


def shaped_records(limits: Limits, spec: CollectionSpec, *, sink: bool) -> list[Record]:
    """One record per promise of the limits: ids, nulls, every shape of metadata, documents and vectors."""
    shapes, random = held(limits, sink=sink), np.random.default_rng(7)
    vector = spec.vectors[0]
    changes: list[dict[str, Any]] = [{"metadata": value} for value in _metadata(limits, shapes)]
    changes += [{"document": ""}, {"document": "日本語 🛳️\n\t\u200b"}, {"document": "x" * 100_000}, {"metadata": None}]
    changes += [{"document": None}] if Shape.NO_DOCUMENT in shapes else []
    changes += [{"uri": "https://example.org/a?b=c#d"}, {"uri": ""}] if Shape.URI in shapes else []
    changes += [{"document": "a\0b"}] if Shape.NUL_IN_TEXT in shapes else []
    changes += [{"vectors": {vector.name: value}} for value in _vectors(limits, vector, shapes, random)]
    if spec.id_kind is IdKind.TEXT and Shape.ID_TEXT in shapes:
        changes += [{"id": text} for text in _odd_ids(limits, shapes)]
    return [
        replace(record, **change)
        for record, change in zip(plain_records(spec, len(changes), seed=3), changes, strict=True)
    ]


def _metadata(limits: Limits, shapes: frozenset[Shape]) -> Iterator[dict[str, Any]]:
    yield from _ALWAYS
    for shape, values in _METADATA.items():
        if shape in shapes:
            yield from values
    if Shape.RESERVED_KEY in shapes:
        reserved = [*sorted(limits.reserved_keys), *(f"{prefix}x" for prefix in limits.reserved_prefixes), "_vf"]
        yield {key: number for number, key in enumerate(reserved)}


def _vectors(
    limits: Limits, vector: VectorSpec, shapes: frozenset[Shape], random: np.random.Generator
) -> Iterator[np.ndarray[Any, Any] | None]:
    if Shape.NO_VECTOR in shapes:
        yield None
    if vector.kind is not VectorKind.DENSE:
        return
    zero = np.zeros(vector.dim or 0, vector.element.value)
    if vector.metric is not Metric.COSINE or Shape.ZERO_VECTOR in shapes:
        yield zero
    if vector.metric not in limits.normalises:
        yield zero + np.float32(-0.0)
        yield (random.standard_normal(vector.dim or 0) * 1000).astype(vector.element.value)


def _odd_ids(limits: Limits, shapes: frozenset[Shape]) -> Iterator[str]:
    for text in (*ODD_IDS, *(("nul\0inside",) if Shape.NUL_IN_TEXT in shapes else ())):
        if limits.id_bytes is None or len(text.encode()) <= limits.id_bytes:
            yield text
