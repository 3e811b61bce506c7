"""No two records on one target id: proven for every record, in bounded memory, before anything is written."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.making import CHROMA_LIKE, QDRANT_LIKE, SPEC, Held, profiled, record
from vecferry.arrow import from_records
from vecferry.connectors.memory import LIMITS
from vecferry.errors import IdCollision
from vecferry.ids import IdMapper
from vecferry.model import CollectionSpec, IdKind, IdRule, Record
from vecferry.planning.collisions import IdProof, IdSpace, collisions, prove, refuse

RULE = IdRule()
UUIDS = IdSpace(RULE)
_TEXTS = st.text(min_size=1, max_size=60) | st.uuids().map(str) | st.integers(0, 2**64 - 1).map(str)


def _source(ids: list[str], spec: CollectionSpec = SPEC) -> Held:
    return Held([from_records(spec, [record(ident) for ident in ids])], spec)


@given(st.lists(_TEXTS, min_size=1, max_size=20), st.sampled_from(["", "tenant"]))
def test_keys_are_the_ids_that_the_rule_makes(ids: list[str], tenant: str) -> None:
    """The fast path and `IdMapper`, which every write uses, agree on every id."""
    batch = from_records(SPEC, [record(ident) for ident in ids])
    raw = IdSpace(RULE, tenant).keys(batch, SPEC)
    wanted = [
        UUID(target.decode()).bytes
        for target, _ in IdMapper(RULE, tenant=tenant).map_all(IdKind.TEXT, [i.encode() for i in ids])
    ]
    assert [raw[row * 16 : row * 16 + 16] for row in range(len(ids))] == wanted


def test_a_text_and_the_uuid_that_it_becomes_collide() -> None:
    """The one collision that the default rule allows: both ids are named, and the id that they share."""
    target = IdMapper(RULE).map(IdKind.TEXT, b"hello")[0].decode()
    found = profiled([record("hello"), record("other"), record(target)]).collisions
    assert len(found) == 1
    assert found[0].target == target
    assert set(found[0].ids) == {"text hello", f"uuid {target}"}
    with pytest.raises(IdCollision, match=r"text hello.*would both become") as caught:
        refuse("docs", found)
    assert target in str(caught.value)
    assert "text hello" in caught.value.ids


def test_an_id_twice_in_the_source_is_found() -> None:
    """A damaged source that holds an id twice is refused, with the id."""
    found = profiled([record("a"), record("b"), record("a")]).collisions
    assert found[0].ids == ("text a", "text a")
    with pytest.raises(IdCollision, match="'text a' occurs 2 times"):
        refuse("docs", found)


def test_different_ids_are_proven_different() -> None:
    """The usual case."""
    assert profiled([record(f"id-{number}") for number in range(1000)]).collisions == ()


@pytest.mark.parametrize("in_memory", [10, 1_000_000])
def test_a_collision_is_found_on_disk_as_in_memory(in_memory: int) -> None:
    """Keys that were spilled to files are compared with those that came later."""
    ids = [f"id-{number}" for number in range(500)] + ["id-7", "id-499"]
    proof = IdProof(UUIDS, in_memory=in_memory)
    batch = from_records(SPEC, [record(ident) for ident in ids])
    for start in range(0, len(ids), 30):
        proof.add(batch.slice(start, 30), SPEC)
    found = collisions([_source(ids)], UUIDS, proof.repeated())
    assert {collision.ids for collision in found} == {("text id-7", "text id-7"), ("text id-499", "text id-499")}


def test_an_integer_and_the_text_of_its_digits_meet_in_a_text_store() -> None:
    """12 and "12" are two records in the source and one in Chroma."""
    spec = replace(SPEC, id_kind=IdKind.MIXED)
    records = [record("12", id_kind=IdKind.INT), record("12", id_kind=IdKind.TEXT)]
    source = Held([from_records(spec, records)], spec)
    assert prove([lambda: source], IdSpace.of(QDRANT_LIKE, RULE)) == ()
    (found,) = prove([lambda: source], IdSpace.of(CHROMA_LIKE, RULE))
    assert found.ids == ("int 12", "text 12")


def test_a_key_that_only_looks_equal_is_no_collision() -> None:
    """The key of an integer can be forged by a UUID; the ids themselves decide."""
    spec = replace(SPEC, id_kind=IdKind.MIXED)
    forged = str(UUID(bytes=b"\x00int\x00\x00\x00\x00" + (5).to_bytes(8, "big")))
    records = [Record(id="5", vectors={}, id_kind=IdKind.INT), Record(id=forged, vectors={}, id_kind=IdKind.UUID)]
    source = Held([from_records(spec, records)], spec)
    assert prove([lambda: source], UUIDS) == ()


def test_collections_that_are_merged_are_proven_together() -> None:
    """The same id in two sources is one record in the target."""
    sources = [_source(["a", "b"]), _source(["c", "a"])]
    (found,) = prove([partial(_same, source) for source in sources], UUIDS)
    assert found.ids == ("text a", "text a")


def _same(source: Held) -> Held:
    return source


def test_a_proof_reads_the_source_once_where_nothing_collides() -> None:
    """The second reading is for naming ids, and only then."""
    good, bad = _source([str(uuid4()) for _ in range(50)]), _source(["a", "a"])
    prove([lambda: good], UUIDS)
    prove([lambda: bad], UUIDS)
    assert (good.reads, bad.reads) == (1, 2)


def test_a_rule_that_forgets_the_kind_collides() -> None:
    """The proof is of the rule as it is, not of the default one."""
    spec = replace(SPEC, id_kind=IdKind.MIXED)
    records = [record("5", id_kind=IdKind.INT), record("5", id_kind=IdKind.TEXT)]
    source = Held([from_records(spec, records)], spec)
    assert prove([lambda: source], UUIDS) == ()
    (found,) = prove([lambda: source], IdSpace(IdRule(template="{id}", verbatim=())))
    assert found.ids == ("int 5", "text 5")


def test_a_store_that_knows_the_kind_keeps_the_integer_and_the_text_apart() -> None:
    """The memory store and the archive hold 12 and "12" as two records."""
    spec = replace(SPEC, id_kind=IdKind.MIXED)
    records = [record("12", id_kind=IdKind.INT), record("12", id_kind=IdKind.TEXT), record("12", id_kind=IdKind.TEXT)]
    source = Held([from_records(spec, records[:2])], spec)
    twice = Held([from_records(spec, records)], spec)
    assert prove([lambda: source], IdSpace.of(LIMITS, RULE)) == ()
    (found,) = prove([lambda: twice], IdSpace.of(LIMITS, RULE))
    assert found.ids == ("text 12", "text 12")
