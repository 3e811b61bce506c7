"""Which vectors the target gets, and which of the origin's a vector is that comes home."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.making import CHROMA_LIKE, QDRANT_LIKE
from vecferry.connectors.memory import LIMITS as MEMORY
from vecferry.model import Element, Metric, VectorKind, VectorSpec
from vecferry.planning.vectors import described, map_vectors

COL = VectorSpec(name="col", kind=VectorKind.MULTI, dim=2, metric=Metric.COSINE)
IMG = VectorSpec(name="img", dim=2, metric=Metric.IP, element=Element.FLOAT16)
THUMB = VectorSpec(name="thumb", dim=2, metric=Metric.L2)
WORDS = VectorSpec(name="words", kind=VectorKind.SPARSE, metric=Metric.IP)


@pytest.mark.parametrize(
    "there, home",
    [
        ((COL, IMG, THUMB, WORDS), IMG),
        ((WORDS, THUMB, IMG), THUMB),
        ((VectorSpec(dim=2, metric=Metric.L1), IMG), VectorSpec(dim=2, metric=Metric.L1)),
        ((IMG,), IMG),
    ],
)
def test_the_one_that_was_kept_comes_home_under_its_own_name(there: tuple[VectorSpec, ...], home: VectorSpec) -> None:
    """Others of the same dimension are not taken for it, whatever stands before it."""
    away = map_vectors(there, CHROMA_LIKE)
    (back,) = map_vectors(away, QDRANT_LIKE, home={"vectors": described(there)})
    assert back == home


def test_one_of_another_dimension_by_now_keeps_what_it_is() -> None:
    found = VectorSpec(dim=3, metric=Metric.L2)
    assert map_vectors((found,), QDRANT_LIKE, home={"vectors": described((COL, IMG))}) == (found,)


def test_named_vectors_find_their_own() -> None:
    wide = (VectorSpec(name="img", dim=2, metric=Metric.IP), VectorSpec(name="new", dim=2))
    assert map_vectors(wide, QDRANT_LIKE, home={"vectors": described((THUMB, IMG))}) == (IMG, wide[1])


def test_bits_and_sparse_vectors_have_no_number_type_to_widen() -> None:
    """A store of floats alone that holds bits (pgvector) holds them as bits."""
    limits = replace(MEMORY, elements=frozenset({Element.FLOAT32}))
    bits = VectorSpec(name="bits", kind=VectorKind.BITS, dim=9, metric=Metric.HAMMING, element=Element.UINT8)
    small = VectorSpec(name="small", dim=2, element=Element.UINT8)
    assert map_vectors((bits, small), limits) == (bits, replace(small, element=Element.FLOAT32))
