"""What the policies do to a batch: the records that the plan sets aside, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.plan.making import CHROMA_LIKE, QDRANT_LIKE, SPEC, profiled, record
from vecferry.arrow import from_records, schema, to_records, validate
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, Element, Keep, Metric, Record, VectorKind, VectorSpec
from vecferry.planning.losses import accept, judge
from vecferry.planning.model import Cell, CollectionPlan, Policy
from vecferry.planning.sieve import Sieve
from vecferry.planning.vectors import map_vectors


def sieve(records: list[Record], limits: Limits, policies: dict[str, Policy], spec: CollectionSpec = SPEC) -> Sieve:
    profile = profiled(records, spec)
    vectors = map_vectors(spec.vectors, limits)
    cells = accept(("docs",), judge(profile, vectors, limits, exact_vectors=Keep.RESTORE), policies)
    target = replace(spec, vectors=vectors)
    return Sieve(CollectionPlan(source="docs", target=target, records=0, bytes=0, cells=cells), spec, limits)


def test_a_plan_without_quarantine_passes_the_batch_untouched() -> None:
    """The usual case costs nothing: the very same batch comes out."""
    records = [record("a"), record("b", metadata={"k": None})]
    batch = from_records(SPEC, records)
    assert sieve(records, QDRANT_LIKE, {}).apply(batch) == (batch, ())


@pytest.mark.parametrize(
    "shape,bad",
    [
        ("no-vector", {"vector": None}),
        ("non-finite-vector", {"vector": (float("inf"), 0, 0)}),
        ("null-value", {"metadata": {"k": None}}),
        ("negative-zero", {"metadata": {"k": [-0.0]}}),
        ("empty-list", {"metadata": {"k": []}}),
        ("empty-key", {"metadata": {"": 1}}),
        ("empty-metadata", {"metadata": {}}),
        ("big-int", {"metadata": {"k": 2**65}}),
        ("uint64", {"metadata": {"k": 2**63}}),
    ],
)
def test_quarantined_records_are_set_aside_and_only_they(shape: str, bad: dict[str, Any]) -> None:
    """Every cell of `profile` that may be quarantined finds the same records again, batch by batch."""
    records = [record("good", metadata={"k": 1}), record("bad", **bad), record("also good")]
    batch = from_records(SPEC, records)
    made = sieve(records, CHROMA_LIKE, {shape: Policy.QUARANTINE})
    kept, rejected = made.apply(batch)
    assert kept.column("id").to_pylist() == ["good", "also good"]
    assert [item.id for item in rejected] == ["bad"]
    assert rejected[0].reason
    assert made.apply(batch.slice(2)) == (batch.slice(2), ())


def test_a_record_with_two_faults_is_set_aside_once() -> None:
    """One record, one entry in the quarantine."""
    records = [record("bad", None, metadata={"k": None}), record("good")]
    made = sieve(records, CHROMA_LIKE, {"no-vector": Policy.QUARANTINE, "null-value": Policy.QUARANTINE})
    kept, rejected = made.apply(from_records(SPEC, records))
    assert (kept.num_rows, len(rejected)) == (1, 1)


def test_sizes_are_measured_as_in_the_profile() -> None:
    """Ids and documents beyond the target's limits, counted in bytes, not in characters."""
    limits = replace(CHROMA_LIKE, document_bytes=10)
    records = [record("ä" * 65), record("b", document="ä" * 6), record("c", document="ä" * 5)]
    policies = {"id-too-long": Policy.QUARANTINE, "too-large": Policy.QUARANTINE}
    kept, rejected = sieve(records, limits, policies).apply(from_records(SPEC, records))
    assert kept.column("id").to_pylist() == ["c"]
    assert len(rejected) == 2


def test_half_floats_are_widened_and_missing_vectors_stay_missing() -> None:
    """What comes out is a canonical batch of the sieve's spec, with the same numbers."""
    spec = replace(SPEC, vectors=(VectorSpec(dim=2, element=Element.FLOAT16),))
    records = [
        Record(id="a", vectors={"": np.array([0.1, 2], np.float16)}),
        Record(id="b", vectors={"": None}),
    ]
    made = sieve(records, CHROMA_LIKE, {}, spec)
    batch, _ = made.apply(from_records(spec, records))
    validate(batch, made.spec)
    first, second = to_records(batch, made.spec)
    assert np.array_equal(first.vectors[""], np.array([0.1, 2], np.float16).astype(np.float32))
    assert second.vectors[""] is None


def test_a_named_vector_becomes_the_only_one() -> None:
    """The first dense vector takes the only place; the others are left out."""
    spec = CollectionSpec(
        name="docs",
        vectors=(
            VectorSpec(name="words", kind=VectorKind.SPARSE, metric=Metric.IP),
            VectorSpec(name="text", dim=2),
            VectorSpec(name="image", dim=3),
        ),
    )
    values = {"text": np.ones(2, np.float32), "image": np.ones(3, np.float32)}
    records = [Record(id="a", vectors=values)]
    policies = {"vector.words": Policy.CONVERT, "vector.image": Policy.CONVERT}
    made = sieve(records, CHROMA_LIKE, policies, spec)
    batch, _ = made.apply(from_records(spec, records))
    assert batch.schema == schema(made.spec)
    assert [vector.name for vector in made.spec.vectors] == [""]
    assert to_records(batch, made.spec)[0].vectors[""].tolist() == [1, 1]


def test_a_record_without_the_one_vector_that_has_a_place_is_counted_and_set_aside() -> None:
    """Its other vectors are left out, so there it has none: the plan says so beforehand, of each such record."""
    spec = replace(SPEC, vectors=(VectorSpec(name="image", dim=2), VectorSpec(name="text", dim=3)))
    image, text = np.array([1, 2], np.float32), np.array([1, 2, 3], np.float32)
    records = [
        Record(id=ident, vectors={"image": one, "text": other})
        for ident, one, other in [
            ("both", image, text),
            ("image", image, None),
            ("text", None, text),
            ("none", None, None),
        ]
    ]
    cells = {c.shape: c for c in judged_cells(records, spec)}
    assert (cells["no-vector"].count, cells["vector.text"].count) == (2, 2)
    made = sieve(records, CHROMA_LIKE, {"no-vector": Policy.QUARANTINE, "vector.text": Policy.CONVERT}, spec)
    kept, rejected = made.apply(from_records(spec, records))
    assert kept.column("id").to_pylist() == ["both", "image"]
    assert [item.id for item in rejected] == ["text", "none"]


def judged_cells(records: list[Record], spec: CollectionSpec) -> tuple[Cell, ...]:
    vectors = map_vectors(spec.vectors, CHROMA_LIKE)
    return judge(profiled(records, spec), vectors, CHROMA_LIKE, exact_vectors=Keep.RESTORE)
