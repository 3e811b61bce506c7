"""Nothing lost, or said first: each shape's verdict, and what a person may answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.plan.making import CHROMA_LIKE, QDRANT_LIKE, SPEC, Limited, inspected, profiled, record, store
from vecferry.arrow import from_records
from vecferry.errors import ConfigError, LossRefused
from vecferry.limits import Limits, Shape
from vecferry.model import Element, IdKind, Keep, Metric, VectorKind, VectorSpec
from vecferry.planning import wording
from vecferry.planning.losses import accept, check, judge
from vecferry.planning.model import Cell, CollectionPlan, Plan, Policy, Profile, Seen, Verdict
from vecferry.planning.options import PlanOptions, parse_policies
from vecferry.planning.plan import make_plan
from vecferry.planning.sieve import Sieve
from vecferry.planning.vectors import map_vectors


def judged(profile: Profile, limits: Limits, keep: Keep = Keep.RESTORE) -> dict[str, Cell]:
    cells = judge(profile, map_vectors(profile.spec.vectors, limits), limits, exact_vectors=keep)
    return {cell.shape: cell for cell in cells}


def planned(limits: Limits, records: list[Any], **options: Any) -> Plan:
    source = store(docs=records)
    return make_plan(inspected(source), source, Limited(limits), PlanOptions(**options), target_url="test:")


@pytest.mark.parametrize(
    "parts,shape,limits,verdict",
    [
        ({"metadata": {"k": None}}, "null-value", QDRANT_LIKE, Verdict.EXACT),
        ({"metadata": {"k": None}}, "null-value", CHROMA_LIKE, Verdict.LOSSY),
        ({"metadata": {"k": {"a": 1}}}, "nested-object", CHROMA_LIKE, Verdict.RESTORABLE),
        ({"metadata": {"k": {"a": 1}}}, "nested-object", QDRANT_LIKE, Verdict.EXACT),
        ({"metadata": {"k": []}}, "empty-list", CHROMA_LIKE, Verdict.LOSSY),
        ({"metadata": {"k": [1]}}, "list", CHROMA_LIKE, Verdict.EXACT),
        ({"metadata": {"k": -0.0}}, "negative-zero", CHROMA_LIKE, Verdict.LOSSY),
        ({"metadata": {"k": datetime(2026, 1, 1, tzinfo=UTC)}}, "tagged", CHROMA_LIKE, Verdict.RESTORABLE),
        ({"metadata": {"_vf": 1, "chroma:x": 2}}, "reserved-key", CHROMA_LIKE, Verdict.RESTORABLE),
        ({"metadata": {"": 1}}, "empty-key", CHROMA_LIKE, Verdict.LOSSY),
        ({"metadata": {}}, "empty-metadata", CHROMA_LIKE, Verdict.LOSSY),
        ({"vector": None}, "no-vector", CHROMA_LIKE, Verdict.IMPOSSIBLE),
        ({"vector": None}, "no-vector", QDRANT_LIKE, Verdict.EXACT),
        ({"vector": (0, 0, 0)}, "zero-vector", QDRANT_LIKE, Verdict.EXACT),
        ({"vector": (float("nan"), 0, 0)}, "non-finite-vector", QDRANT_LIKE, Verdict.IMPOSSIBLE),
        ({}, "cosine-length", QDRANT_LIKE, Verdict.RESTORABLE),
        ({}, "cosine-length", CHROMA_LIKE, Verdict.EXACT),
        ({}, "id-text", QDRANT_LIKE, Verdict.RESTORABLE),
        ({}, "id-text", CHROMA_LIKE, Verdict.EXACT),
        ({"seq": 1}, "order", QDRANT_LIKE, Verdict.RESTORABLE),
        ({}, "no-document", CHROMA_LIKE, Verdict.EXACT),
    ],
)
def test_the_verdict_follows_from_the_limits(
    parts: dict[str, Any], shape: str, limits: Limits, verdict: Verdict
) -> None:
    """One record with one shape, held against a store's limits."""
    cell = judged(profiled([record("a", **parts)]), limits)[shape]
    assert cell.verdict is verdict
    assert cell.count == (2 if shape == "reserved-key" else 1)
    assert cell.meaning
    assert (cell.policy is Policy.REFUSE) == (verdict in (Verdict.LOSSY, Verdict.IMPOSSIBLE))


@pytest.mark.parametrize("vector, shape", [(None, "no-vector"), ((0, 0, 0), "zero-vector")])
def test_a_record_that_no_search_finds_may_be_left_out(vector: tuple[int, ...] | None, shape: str) -> None:
    """The target would hold it, so nothing has to be decided; but it can be."""
    cell = judged(profiled([record("a", vector=vector)]), QDRANT_LIKE)[shape]
    assert (cell.policy, cell.choices) == (None, (Policy.QUARANTINE,))
    assert f"--accept {shape}=quarantine" in cell.meaning
    [accepted] = accept(("docs",), [cell], {shape: Policy.QUARANTINE})
    assert accepted.policy is Policy.QUARANTINE


def test_keeping_the_bits_makes_cosine_exact() -> None:
    """The restorable cell of cosine vectors is gone where their bytes travel along."""
    found = profiled([record("a")])
    assert judged(found, QDRANT_LIKE)["cosine-length"].verdict is Verdict.RESTORABLE
    assert "exact_vectors: keep" in judged(found, QDRANT_LIKE)["cosine-length"].meaning
    assert judged(found, QDRANT_LIKE, Keep.BITS)["cosine-length"].verdict is Verdict.EXACT
    cannot = replace(QDRANT_LIKE, keeps_bits=False)
    assert judged(found, cannot, Keep.BITS)["cosine-length"].verdict is Verdict.RESTORABLE


@pytest.mark.parametrize("verdict", [Verdict.RESTORABLE, Verdict.LOSSY, Verdict.IMPOSSIBLE])
@pytest.mark.parametrize("shape", list(Shape))
def test_every_sentence_reads_well(shape: Shape, verdict: Verdict) -> None:
    """No shape leaves a hole in its sentence, whatever its verdict."""
    text = wording.meaning(shape, verdict, CHROMA_LIKE)
    assert "{" not in text
    assert text.endswith(".")


def test_what_the_source_cannot_read_must_be_accepted() -> None:
    """Records that the source rejects stop the plan like any other loss."""
    found = replace(profiled([record("a")]), rejected={"torn": Seen(count=3, examples=("x", "y"))})
    cell = judged(found, QDRANT_LIKE)["unreadable"]
    assert (cell.count, cell.verdict, cell.choices) == (3, Verdict.IMPOSSIBLE, (Policy.QUARANTINE, Policy.REFUSE))
    assert "3 × torn" in cell.meaning


def test_ids_that_are_too_long_are_counted() -> None:
    """Sizes are compared with the target's limit, and the ids are shown."""
    cell = judged(profiled([record("x" * 129), record("y" * 128), record("z")]), CHROMA_LIKE)["id-too-long"]
    assert cell.count == 1
    assert cell.examples[0].endswith("(129 bytes)")


def test_documents_and_records_that_are_too_large_are_counted() -> None:
    """More than five too large: the count may be an upper bound, and never too low."""
    limits = replace(CHROMA_LIKE, document_bytes=1000)
    records = [record(f"r{number}", document="x" * (900 + 40 * number)) for number in range(20)]
    cell = judged(profiled(records), limits)["too-large"]
    assert 17 <= cell.count <= 20
    assert cell.verdict is Verdict.IMPOSSIBLE


def test_too_many_keys_for_a_target_that_cannot_restore_them() -> None:
    """Found with its examples, refused until somebody decides, and set aside then."""
    limits = replace(CHROMA_LIKE, metadata_keys=2, list_elements=2)
    records = [
        record("keys", metadata={"a": 1, "b": 2, "c": 3}),
        record("lists", metadata={"a": [1, 2], "b": [3]}),
        record("fits", metadata={"a": 1, "b": 2, "c": [1, 2]}),
    ]
    cells = judge(profiled(records, limits=limits), SPEC.vectors, limits, exact_vectors=Keep.RESTORE)
    found = {cell.shape: (cell.verdict, cell.examples, cell.policy) for cell in cells}
    assert found["many-keys"] == (Verdict.IMPOSSIBLE, ("keys (3)",), Policy.REFUSE)
    assert found["long-lists"] == (Verdict.IMPOSSIBLE, ("lists (3)",), Policy.REFUSE)
    answers = {"many-keys": Policy.QUARANTINE, "long-lists": Policy.QUARANTINE}
    plan = CollectionPlan(source="docs", target=SPEC, records=3, bytes=1, cells=accept(("docs",), cells, answers))
    left, aside = Sieve(plan, SPEC, limits).apply(from_records(SPEC, records))
    assert left.column("id").to_pylist() == ["fits"]
    assert {one.id: one.reason for one in aside} == {
        "keys": "It has more metadata keys than the target takes.",
        "lists": "Its lists have more elements than the target takes.",
    }


def test_vectors_that_have_no_place_can_be_left_out() -> None:
    """Chroma has one dense vector: a second one is impossible, and may be left out on purpose."""
    spec = replace(SPEC, vectors=(VectorSpec(name="text", dim=3), VectorSpec(name="image", dim=2)))
    cells = judged(profiled([], spec), CHROMA_LIKE)
    assert cells["vector.image"].choices == (Policy.CONVERT, Policy.REFUSE)
    assert cells["vector.text"].verdict is Verdict.RESTORABLE


def test_a_vector_of_a_kind_that_the_target_lacks() -> None:
    """A collection whose only vector has no place cannot be moved at all."""
    spec = replace(SPEC, vectors=(VectorSpec(kind=VectorKind.SPARSE, metric=Metric.IP),))
    assert judged(profiled([], spec), CHROMA_LIKE)["vector"].choices == (Policy.REFUSE,)


def test_too_many_dimensions_cannot_be_accepted() -> None:
    """The target's largest dimension is a hard limit."""
    spec = replace(SPEC, vectors=(VectorSpec(dim=70_000),))
    cell = judged(profiled([], spec), QDRANT_LIKE)["wrong-dimension"]
    assert cell.choices == (Policy.REFUSE,)
    assert "65536" in cell.meaning


def test_another_metric_is_lossy_and_named() -> None:
    """Searching by another metric ranks otherwise: a person must want it."""
    spec = replace(SPEC, vectors=(VectorSpec(dim=3, metric=Metric.L1),))
    cell = judged(profiled([], spec), CHROMA_LIKE)["metric"]
    assert cell.verdict is Verdict.LOSSY
    assert "searches by l2" in cell.meaning


def test_widened_numbers_are_restorable() -> None:
    """Half floats become floats, and the card says what they were."""
    spec = replace(SPEC, vectors=(VectorSpec(dim=3, element=Element.FLOAT16),))
    assert judged(profiled([], spec), CHROMA_LIKE)["vector"].verdict is Verdict.RESTORABLE


def test_a_plan_with_losses_is_refused_and_says_how_to_accept() -> None:
    """The error lists every cell with count, example and meaning, and the flag for each."""
    plan = planned(CHROMA_LIKE, [record("a", None), record("b", metadata={"k": None})])
    with pytest.raises(LossRefused) as caught:
        check(plan)
    text = str(caught.value)
    assert "docs: 1 × no-vector (a)" in text
    assert "docs: 1 × null-value (b: k)" in text
    assert "--accept no-vector=quarantine" in text
    assert "--accept null-value=convert" in text
    assert "a" in caught.value.ids


def test_an_accepted_plan_passes() -> None:
    """By shape for all collections, or for one collection only."""
    records = [record("a", None), record("b", metadata={"k": None})]
    check(planned(CHROMA_LIKE, records, policies=parse_policies(("no-vector=quarantine", "docs:null-value=convert"))))
    other = planned(CHROMA_LIKE, records, policies=parse_policies(("other:no-vector=quarantine", "null-value=convert")))
    with pytest.raises(LossRefused, match="no-vector"):
        check(other)


def test_a_plan_without_losses_passes() -> None:
    """Exact and restorable cells ask nothing."""
    check(planned(QDRANT_LIKE, [record("a", metadata={"k": None})]))


@pytest.mark.parametrize(
    "policies,message",
    [
        ({"no-vektor": Policy.QUARANTINE}, "Did you mean 'no-vector'"),
        ({"no-vector": Policy.CONVERT}, "offers: quarantine, refuse"),
    ],
)
def test_wrong_answers_are_refused(policies: dict[str, Policy], message: str) -> None:
    """A typing error must not pass for consent."""
    with pytest.raises(ConfigError, match=message):
        planned(CHROMA_LIKE, [record("a", None)], policies=policies)


def test_an_answer_that_no_cell_asks_for_is_fine() -> None:
    """Scripts accept in advance what may occur."""
    check(planned(QDRANT_LIKE, [record("a")], policies={"null-value": Policy.CONVERT}))


@pytest.mark.parametrize("text", ["null-value", "null-value=perhaps", "=convert=maybe"])
def test_policies_are_read_strictly(text: str) -> None:
    """`--accept` takes SHAPE=POLICY and nothing else."""
    with pytest.raises(ConfigError, match="accepts nothing"):
        parse_policies((text,))


def test_accepting_changes_nothing_else() -> None:
    """A cell keeps its count, examples and meaning."""
    (cell,) = accept((), [Cell(shape="null-value", verdict=Verdict.LOSSY, count=2, choices=tuple(Policy))], {})
    (after,) = accept(("docs",), [cell], {"docs:null-value": Policy.CONVERT})
    assert after == replace(cell, policy=Policy.CONVERT)


def test_integer_ids() -> None:
    """Integer ids are exact where the store has integers, and restorable where a tag can say so."""
    spec = replace(SPEC, id_kind=IdKind.INT)
    found = profiled([record("1"), record("2")], spec)
    assert judged(found, QDRANT_LIKE)["id-int"].verdict is Verdict.EXACT
    assert judged(found, CHROMA_LIKE)["id-int"].verdict is Verdict.RESTORABLE


def test_quotas_of_a_cloud_are_cells_of_the_plan() -> None:
    """Each with its count and examples; what can be kept beside the record is restorable, the rest is set aside."""
    limits = replace(CHROMA_LIKE, key_bytes=4, value_bytes=10, uri_bytes=8, records=4)
    records = [
        record("key", metadata={"a long key": 1}),
        record("value", metadata={"a": "x" * 11}),
        record("beside", metadata={"a": {"b": "x" * 10}}),
        record("uri", uri="x" * 9),
        record("fits", metadata={"a": "x" * 10, "b": ["x" * 5, "y" * 5]}, uri="x" * 8),
    ]
    cells = judge(profiled(records, limits=limits), SPEC.vectors, limits, exact_vectors=Keep.RESTORE)
    found = {cell.shape: (cell.verdict, cell.count, cell.examples) for cell in cells}
    assert found["long-key"] == (Verdict.IMPOSSIBLE, 1, ("key: a long key",))
    assert found["long-value"] == (Verdict.IMPOSSIBLE, 2, ("value (11)", "beside (18)"))
    assert found["long-uri"] == (Verdict.IMPOSSIBLE, 1, ("uri (9 bytes)",))
    assert found["collection-size"][:2] == (Verdict.IMPOSSIBLE, 5)
    answers = dict.fromkeys(("long-key", "long-value", "long-uri"), Policy.QUARANTINE)
    plan = CollectionPlan(source="docs", target=SPEC, records=5, bytes=1, cells=accept(("docs",), cells, answers))
    left, aside = Sieve(plan, SPEC, limits).apply(from_records(SPEC, records))
    assert left.column("id").to_pylist() == ["fits"]
    assert sorted(one.id for one in aside) == ["beside", "key", "uri", "value"]
    kept = replace(limits, restores=limits.restores | {Shape.LONG_KEY})
    cells = judge(profiled(records, limits=kept), SPEC.vectors, kept, exact_vectors=Keep.RESTORE)
    assert {cell.shape: cell.verdict for cell in cells}["long-key"] is Verdict.RESTORABLE
