"""How a collection's vectors lie in the target: which are kept, under which name, number type and metric. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vecferry.limits import Limits
from vecferry.model import UNNAMED, Element, JsonObject, Metric, VectorKind, VectorSpec

NEAREST = {Metric.L1: Metric.L2, Metric.L2: Metric.COSINE, Metric.COSINE: Metric.IP, Metric.IP: Metric.COSINE}
"""The metric to search by where the target lacks the source's and the person agrees."""


_TYPED = (VectorKind.DENSE, VectorKind.MULTI)
"""Kinds that have number types; bits are bits, and the numbers of sparse vectors are float32, everywhere."""


def map_vectors(
    vectors: tuple[VectorSpec, ...], limits: Limits, *, home: JsonObject | None = None
) -> tuple[VectorSpec, ...]:
    """The target's vectors. What has no place there is left out; the plan's cells say so.

    Args:
        home: the origin that the source's card tells of, where the target is a store of the origin's own kind: names,
            number types and metrics are then those of the origin again.
    """
    kept = [vector for vector in vectors if vector.kind in limits.vector_kinds]
    if not limits.named_vectors:
        kept = [replace(vector, name=UNNAMED) for vector in kept[:1]]
    return tuple(_restored(_fit(vector, limits), home, limits) for vector in kept)


def _fit(vector: VectorSpec, limits: Limits) -> VectorSpec:
    kept = vector.element in limits.elements or vector.kind not in _TYPED
    element = vector.element if kept else Element.FLOAT32
    return replace(vector, element=element, metric=_metric(vector.metric, limits))


def _metric(metric: Metric, limits: Limits) -> Metric:
    nearest = NEAREST.get(metric)
    return nearest if metric not in limits.metrics and nearest in limits.metrics else metric


def _restored(vector: VectorSpec, home: JsonObject | None, limits: Limits) -> VectorSpec:
    """`vector` as the origin had it, where the origin knew a vector that this one can only have come from."""
    known = _origin_of(vector, (home or {}).get("vectors", ()))
    if known is None:
        return vector
    found = replace(vector, metric=Metric(known["metric"]))
    if limits.named_vectors:
        found = replace(found, name=known.get("name", UNNAMED))
    if Element(known["element"]) in limits.elements:
        found = replace(found, element=Element(known["element"]))
    return found


def _origin_of(vector: VectorSpec, known: Sequence[JsonObject]) -> JsonObject | None:
    """The origin's vector of the same form and name; of one that lost its name, the one that `map_vectors` kept."""
    alike = [one for one in known if one.get("kind", vector.kind) == vector.kind]
    if vector.name == UNNAMED and not any(one.get("name", UNNAMED) == UNNAMED for one in alike):
        alike = alike[:1]
    else:
        alike = [one for one in alike if one.get("name", UNNAMED) == vector.name]
    return next((one for one in alike if one.get("dim") == vector.dim), None)


def described(vectors: tuple[VectorSpec, ...]) -> list[dict[str, object]]:
    """Vectors as plain values, for a card's origin."""
    return [
        {"name": v.name, "kind": v.kind.value, "dim": v.dim, "metric": v.metric.value, "element": v.element.value}
        for v in vectors
    ]


def match_vectors(
    source: tuple[VectorSpec, ...], target: tuple[VectorSpec, ...]
) -> list[tuple[VectorSpec, VectorSpec | None]]:
    """Each vector of the source with what it becomes in the target: of the same name, else of the same form."""
    by_name = {vector.name: vector for vector in target}
    taken = {vector.name for vector in source} & set(by_name)
    free = [vector for vector in target if vector.name not in taken]
    pairs: list[tuple[VectorSpec, VectorSpec | None]] = []
    for vector in source:
        found = by_name.get(vector.name) or next(
            (f for f in free if (f.kind, f.dim) == (vector.kind, vector.dim)), None
        )
        if found in free:
            free.remove(found)
        pairs.append((vector, found))
    return pairs
