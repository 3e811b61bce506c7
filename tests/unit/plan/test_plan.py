"""The plan: names, ids, cards, settings, indexes, and what is refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.making import CHROMA_LIKE, QDRANT_LIKE, SPEC, Limited, fill, inspected, record, store
from vecferry.errors import ConfigError, IdCollision, NotFound
from vecferry.ids import IdMapper
from vecferry.model import Card, CollectionSpec, FieldIndex, IdKind, IdRule, IndexKind, Keep, Metric, VectorSpec
from vecferry.planning.model import CollectionPlan, IfExists, Plan
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.protocols import Database


def plan(source: Database, target: Any = None, **options: Any) -> Plan:
    wishes = PlanOptions(**options)
    found = inspected(source, patterns=wishes.collections)
    return make_plan(found, source, target or Limited(QDRANT_LIKE), wishes, target_url="test:")


def only(made: Plan) -> CollectionPlan:
    (collection,) = made.collections
    return collection


def names(made: Plan) -> dict[str, str]:
    return {collection.source: collection.target.name for collection in made.collections}


def _records(count: int = 3) -> list[Any]:
    return [record(f"r{number}", metadata={"n": number}) for number in range(count)]


def test_every_collection_is_planned_under_its_own_name() -> None:
    """Without a pattern everything is moved, with counts, bytes and the partitions of the source."""
    made = plan(store(a=_records(2), b=_records(3)))
    assert names(made) == {"a": "a", "b": "b"}
    assert made.records == 5
    assert all(collection.partitions and collection.bytes for collection in made.collections)


@pytest.mark.parametrize(
    "patterns,wanted",
    [
        (("docs-*",), {"docs-a": "docs-a", "docs-b": "docs-b"}),
        (("docs-a=new",), {"docs-a": "new"}),
        (("docs-*=new-*",), {"docs-a": "new-a", "docs-b": "new-b"}),
        (("*", "docs-a=new"), {"docs-a": "new", "docs-b": "docs-b", "other": "other"}),
        (("docs-*=x-*", "docs-a=special"), {"docs-a": "special", "docs-b": "x-b"}),
        (("other", "docs-b"), {"docs-b": "docs-b", "other": "other"}),
    ],
)
def test_patterns_choose_and_rename(patterns: tuple[str, ...], wanted: dict[str, str]) -> None:
    """Globs select, `=` renames, and an exact name goes before a glob."""
    source = store(**{"docs-a": _records(), "docs-b": _records(), "other": _records()})
    assert names(plan(source, collections=patterns)) == wanted


@pytest.mark.parametrize("pattern", ["=x", "x=", "a=b-*", "a-*=b-*-*", ""])
def test_patterns_that_say_nothing_are_refused(pattern: str) -> None:
    """A pattern that cannot be understood is not ignored."""
    with pytest.raises(ConfigError, match=r"pattern|stands for"):
        plan(store(a=_records()), collections=(pattern,))


def test_a_collection_that_is_not_there_is_named_with_its_neighbours() -> None:
    """Near names and the list of what there is."""
    with pytest.raises(NotFound, match="no collection 'dosc'") as caught:
        plan(store(docs=_records(), other=_records()), collections=("dosc",))
    assert "Did you mean docs?" in str(caught.value)


def test_an_empty_store_is_said_to_be_empty() -> None:
    """Nothing to move is an error, with the likely cause."""
    with pytest.raises(ConfigError, match="holds no collection"):
        plan(store())


def test_two_collections_on_one_name_must_be_wanted() -> None:
    """Renaming one collection onto another is refused; renaming both is a merge."""
    source = store(a=_records(), b=[record("x")])
    with pytest.raises(ConfigError, match="would both become 'b'") as caught:
        plan(source, collections=("*", "a=b"))
    assert "--collection a=b --collection b=b" in str(caught.value)
    merged = plan(source, collections=("a=all", "b=all"))
    first, second = merged.collections
    assert first.target == second.target
    assert first.target.count == 4
    assert first.target.card is not None
    assert [item["name"] for item in first.target.card.origin["merged"]] == ["b"]


def test_merged_collections_must_not_share_an_id() -> None:
    """The proof spans all sources of one target."""
    with pytest.raises(IdCollision, match=r"'text r\d' occurs 2 times"):
        plan(store(a=_records(), b=_records()), collections=("a=all", "b=all"))


def test_merged_collections_must_have_one_form() -> None:
    """Another dimension cannot be merged."""
    source = store(a=[record("a")])
    fill(source, replace(SPEC, name="b", vectors=(VectorSpec(dim=4),)), [record("b", (1, 2, 3, 4))])
    with pytest.raises(ConfigError, match="differ in their vectors"):
        plan(source, collections=("a=all", "b=all"))


def test_namespaces_can_be_put_into_the_name() -> None:
    """Two tenants' collections of one name: refused with the template to use, and kept apart by it."""
    source = store()
    for tenant in ("acme", "globex"):
        fill(source, replace(SPEC, namespace=(tenant, "db")), [record("a")])
    with pytest.raises(ConfigError, match="would both become 'docs'") as caught:
        plan(source)
    template = str(caught.value).partition("--name '")[2].partition("'")[0]
    assert set(names(plan(source, name=template)).values()) == {"acme_db_docs", "globex_db_docs"}
    assert set(names(plan(source, name="{tenant}-{database}-{name}")).values()) == {"acme-db-docs", "globex-db-docs"}
    with pytest.raises(ConfigError, match="cannot be filled"):
        plan(source, name="{shelf}-{name}")


@pytest.mark.parametrize("name,suggestion", [("x", "x-1"), ("my docs!", "my-docs"), ("-docs-", "docs")])
def test_an_illegal_name_comes_with_a_legal_one(name: str, suggestion: str) -> None:
    """The target's own rule for names, and a name that it takes."""
    with pytest.raises(ConfigError, match="does not take") as caught:
        plan(store(**{name: _records()}), Limited(CHROMA_LIKE))
    assert f"={suggestion}'" in str(caught.value)


def test_a_collection_is_not_copied_onto_itself() -> None:
    """One store as source and target needs another name."""
    source = store(docs=_records())
    with pytest.raises(ConfigError, match="onto itself"):
        plan(source, source)
    assert names(plan(source, source, collections=("docs=copy",))) == {"docs": "copy"}


def test_colliding_ids_stop_the_plan() -> None:
    """A text, and the UUID that the rule makes of it."""
    target = IdMapper(IdRule()).map(IdKind.TEXT, b"hello")[0].decode()
    source = store(docs=[record("hello"), record(target)])
    with pytest.raises(IdCollision, match="hello"):
        plan(source)
    assert only(plan(source, Limited(CHROMA_LIKE))).records == 2
    assert only(plan(source, id_rule=IdRule(namespace="00000000-0000-0000-0000-000000000001"))).records == 2


def test_the_card_tells_the_way_back() -> None:
    """Name, identity, metadata, settings and metric of the source; the types of every key."""
    spec = CollectionSpec(
        name="docs", vectors=(VectorSpec(dim=3, metric=Metric.L2),), metadata={"owner": "me"}, config={"c": 1}
    )
    source = store()
    fill(source, spec, [record("a", metadata={"k": 1}), record("b", metadata={"k": "x"})])
    card = only(plan(source)).target.card
    assert card is not None
    assert card.origin["kind"] == "memory"
    assert card.origin["metadata"] == {"owner": "me"}
    assert card.origin["config"] == {"c": 1}
    assert card.origin["vectors"][0]["metric"] == "l2"
    assert card.key_types == {"k": {"int": 1, "str": 1}}
    assert card.vecferry


def test_settings_do_not_cross_between_kinds_of_store() -> None:
    """Chroma's settings mean nothing to Qdrant; a copy within one kind keeps them, and options go before."""
    spec = replace(SPEC, metadata={"owner": "me"}, config={"m": 8})
    source = store()
    fill(source, spec, [record("a")])
    other = only(plan(source)).target
    assert (other.metadata, other.config) == ({}, {})
    same = only(plan(source, Limited(kind="memory"), target_config={"m": 32})).target
    assert (same.metadata, same.config) == ({"owner": "me"}, {"m": 32})


def test_the_way_home_restores_what_the_origin_had() -> None:
    """A collection whose card tells of a Chroma origin goes back to Chroma with its own metadata and metric."""
    origin = {
        "kind": "chroma", "name": "docs", "namespace": ["default_tenant", "default_database"], "uid": "u",
        "metadata": {"hnsw:space": "cosine"}, "config": {"hnsw": {"m": 7}},
        "vectors": [{"name": "", "kind": "dense", "dim": 3, "metric": "cosine", "element": "float32"}],
    }  # fmt: skip
    spec = replace(SPEC, vectors=(VectorSpec(dim=3, metric=Metric.IP),), card=Card(origin=origin, layout="langchain"))
    source = store()
    fill(source, spec, [record("a")])
    home = only(plan(source, Limited(CHROMA_LIKE))).target
    assert home.metadata == {"hnsw:space": "cosine"}
    assert home.config == {"hnsw": {"m": 7}}
    assert home.vectors[0].metric is Metric.COSINE
    assert home.card is not None
    assert home.card.origin == origin
    assert home.card.layout == "langchain"


def test_exact_vectors_and_layout_are_written_on_the_card() -> None:
    """Sinks read both from there."""
    card = only(plan(store(docs=_records()), exact_vectors=Keep.BITS, layout="flat")).target.card
    assert card is not None
    assert (card.exact_vectors, card.layout) == (Keep.BITS, "flat")
    with pytest.raises(ConfigError, match="no layout 'flatt'"):
        plan(store(docs=_records()), layout="flatt")


def _indexed(records: list[Any], **options: Any) -> tuple[FieldIndex, ...]:
    return only(plan(store(docs=records), **options)).target.indexes


def test_indexes_come_from_the_profile() -> None:
    """Few values or the name of an id: indexed by type. Free text, constants, rare and mixed keys: not."""
    records = [
        record(
            f"r{n}",
            metadata={
                "lang": ["en", "de"][n % 2], "page": n, "draft": n % 2 == 0, "doc_id": f"d{n}", "text": f"free {n}",
                "mixed": n if n % 2 else str(n), "constant": "x", "tags": [["a"], ["b"]][n % 2], "score": n / 7,
                **({"rare": "y"} if n < 5 else {}),
            },
        )
        for n in range(100)
    ]  # fmt: skip
    assert {index.key: index.kind for index in _indexed(records)} == {
        "doc_id": IndexKind.KEYWORD,
        "draft": IndexKind.BOOL,
        "lang": IndexKind.KEYWORD,
        "page": IndexKind.INTEGER,
        "tags": IndexKind.KEYWORD,
    }


def test_indexes_are_capped_with_ids_first() -> None:
    """At most eight."""
    records = [record(f"r{n}", metadata={**{f"k{i}": n % 3 for i in range(12)}, "user_id": "u"}) for n in range(10)]
    found = _indexed(records)
    assert len(found) == 8
    assert found[0].key == "user_id"


def test_indexes_can_be_told() -> None:
    """None, a list with kinds from the profile or given, and a tenant key."""
    records = [record("a", metadata={"n": 1, "lang": "en"})]
    assert _indexed(records, indexes="none") == ()
    assert _indexed(records, indexes=("n", "lang:text")) == (
        FieldIndex(key="n", kind=IndexKind.INTEGER),
        FieldIndex(key="lang", kind=IndexKind.TEXT),
    )
    assert _indexed(records, indexes="none", tenant="lang") == (
        FieldIndex(key="lang", kind=IndexKind.KEYWORD, tenant=True),
    )


def test_a_store_without_indexes_gets_none() -> None:
    """Chroma indexes everything by itself."""
    assert only(plan(store(docs=_records()), Limited(CHROMA_LIKE))).target.indexes == ()


def test_the_estimate_grows_with_the_collection() -> None:
    """More records, more seconds, memory and disk; never negative."""
    small, large = (only(plan(store(docs=_records(count)))).estimate for count in (10, 1000))
    assert 0 <= small.seconds <= large.seconds
    assert 0 < small.memory_bytes < large.memory_bytes
    assert 0 < small.disk_bytes < large.disk_bytes


def test_an_empty_collection_is_planned() -> None:
    """A collection without a record, and without a dimension, is no reason to stop."""
    source = store()
    fill(source, CollectionSpec(name="empty", vectors=(VectorSpec(dim=None),)), [])
    made = only(plan(source))
    assert made.records == 0
    assert [cell.shape for cell in made.cells] == ["empty-collection"]


def test_options_reach_the_collections() -> None:
    """What to do about an existing target is part of each collection's plan."""
    assert only(plan(store(docs=_records()), if_exists=IfExists.APPEND)).if_exists is IfExists.APPEND
