"""SQL text that makes tables and indexes: hostile names stay names, every type and index is the one that was meant."""

from dataclasses import replace

import pytest

from vecferry.connectors.postgres.ddl import create, literal, own, quote, type_sql
from vecferry.connectors.postgres.indexing import short_name, statements, unindexed
from vecferry.connectors.postgres.preparing import fitted
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Element, IdKind, Metric, VectorKind, VectorSpec
from vecferry.tables import Column, Form, Index, Table

DENSE = CollectionSpec(name="docs", vectors=(VectorSpec(dim=3, metric=Metric.IP),))


@pytest.mark.parametrize(
    "name, wanted", [("a", '"a"'), ('x"; drop table y; --', '"x""; drop table y; --"'), ("select", '"select"')]
)
def test_names_are_quoted(name, wanted):
    assert quote(name) == wanted


@pytest.mark.parametrize("name", ["ä" * 32, "nul\0", ""])
def test_names_that_postgresql_would_change_are_refused(name):
    with pytest.raises(ConfigError) as caught:
        quote(name)
    assert "63" in (caught.value.hint or "")


def test_constants_are_escaped():
    assert literal("it's \\ x") == "E'it''s \\\\ x'"


def test_our_own_table():
    vectors = (
        VectorSpec(name="id", dim=2),
        VectorSpec(name="half", dim=2, element=Element.FLOAT16),
        VectorSpec(name="words", kind=VectorKind.SPARSE, metric=Metric.IP),
        VectorSpec(name="flags", kind=VectorKind.BITS, dim=12, metric=Metric.HAMMING),
        VectorSpec(name="x" * 64, dim=1),
    )
    table, form = own(replace(DENSE, vectors=vectors, id_kind=IdKind.TEXT), ("rag",))
    assert create(table, "ext") == (
        'CREATE TABLE "rag"."docs" ("id" text COLLATE "C" NOT NULL, "vector_0" "ext".vector(2), '
        '"half" "ext".halfvec(2), "words" "ext".sparsevec(1000000000), "flags" bit(12), "vector_4" "ext".vector(1), '
        '"document" text, "uri" text, "metadata" jsonb, "_vf" jsonb, PRIMARY KEY ("id"))'
    )
    assert form.vectors == {"id": "vector_0", "half": "half", "words": "words", "flags": "flags", "x" * 64: "vector_4"}


@pytest.mark.parametrize("kind, wanted", [(IdKind.INT, "bigint"), (IdKind.UUID, "uuid"), (IdKind.MIXED, "text")])
def test_ids_have_their_own_type(kind, wanted):
    table, _ = own(replace(DENSE, id_kind=kind), ("public",))
    assert table.column("id").type == wanted


@pytest.mark.parametrize(
    "vector", [VectorSpec(dim=None), VectorSpec(kind=VectorKind.MULTI, dim=3)], ids=["no dimension", "multi"]
)
def test_vectors_that_no_column_holds_are_refused(vector):
    with pytest.raises(ConfigError) as caught:
        own(replace(DENSE, vectors=(vector,)), ("public",))
    assert caught.value.hint


def test_an_index_by_the_metric():
    table, form = own(DENSE, ("public",))
    (made,) = statements(DENSE, table, form, "ext")
    assert made.sql(table, made.name) == (
        'CREATE INDEX "docs_embedding_hnsw" ON "public"."docs" USING hnsw ("embedding" "ext"."vector_ip_ops")'
    )


def test_settings_of_an_index_are_asked_for_by_name():
    spec = replace(DENSE, config={"index": "ivfflat", "lists": 10, "m": 99})
    (made,) = statements(spec, *own(spec, ("public",)), "ext")
    assert made.rest.endswith('USING ivfflat ("embedding" "ext"."vector_ip_ops") WITH ("lists" = 10)')
    none = replace(DENSE, config={"index": "none"})
    assert statements(none, *own(none, ("public",)), "ext") == []
    with pytest.raises(ConfigError, match="index=annoy"):
        statements(replace(DENSE, config={"index": "annoy"}), *own(DENSE, ("public",)), "ext")
    hostile = replace(DENSE, config={"m": "1); drop table x; --"})
    with pytest.raises(ConfigError, match="index setting"):
        statements(hostile, *own(hostile, ("public",)), "ext")


@pytest.mark.parametrize("dim, wanted", [(2_000, '("embedding" '), (2_001, '(("embedding"::"ext".halfvec(2001))')])
def test_vectors_past_2000_dimensions_are_indexed_as_halves(dim, wanted):
    spec = replace(DENSE, vectors=(VectorSpec(dim=dim),))
    (made,) = statements(spec, *own(spec, ("public",)), "ext")
    assert wanted in made.rest
    assert unindexed(spec, *own(spec, ("public",))) == []


def test_vectors_past_4000_dimensions_have_no_index_and_it_is_said():
    spec = replace(DENSE, vectors=(VectorSpec(dim=4_001),))
    assert statements(spec, *own(spec, ("public",)), "ext") == []
    assert "4,001" in unindexed(spec, *own(spec, ("public",)))[0]


HOME = Table(
    name="pages",
    namespace=("app",),
    columns=(
        Column(name="id", type="bigint", nullable=False, identity=True),
        Column(name="body", type="text"),
        Column(name="v", type="vector(3)"),
        Column(name="w", type="vector(3)"),
    ),
    primary_key=("id",),
    indexes=(
        Index(
            name="pages_v",
            columns=("v",),
            method="ivfflat",
            opclass="vector_l2_ops",
            definition="CREATE INDEX pages_v ON app.pages USING ivfflat (v extensions.vector_l2_ops) WITH (lists='7')",
        ),
        Index(name="pages_half", expression="(w)::halfvec(3)", method="hnsw", opclass="halfvec_cosine_ops"),
    ),
)
FORM = Form(key=("id",), vectors={"v": "v", "w": "w"}, document="body")


def test_a_source_s_own_indexes_are_made_again():
    moved = replace(HOME, name="copy", namespace=("new",))
    spec = CollectionSpec(name="copy", vectors=(VectorSpec(name="v", dim=3), VectorSpec(name="w", dim=3)))
    first, second = statements(spec, moved, FORM, "ext", restored=True)
    assert first.sql(moved, first.name) == (
        'CREATE INDEX "pages_v" ON "new"."copy" USING ivfflat (v vector_l2_ops) WITH (lists=\'7\')'
    )
    assert second.rest == " USING hnsw ((w)::halfvec(3) halfvec_cosine_ops)"
    assert "GENERATED BY DEFAULT AS IDENTITY" in create(moved, "ext")


def test_a_source_s_table_follows_its_vectors():
    """One embedded anew has another dimension, one that was left out has no column, and neither has the old index."""
    table, form = fitted(HOME, FORM, CollectionSpec(name="x", vectors=(VectorSpec(name="v", dim=5),)))
    assert [(column.name, column.type) for column in table.columns][-1] == ("v", "vector(5)")
    assert form.vectors == {"v": "v"}
    assert table.indexes == (HOME.indexes[1],)


def test_types_name_the_schema_of_pgvector():
    assert type_sql("vector(3)", "extensions") == '"extensions".vector(3)'
    assert type_sql("bit(3)", "extensions") == "bit(3)"
    assert type_sql("numeric(10,2)", "extensions") == "numeric(10,2)"


def test_long_names_of_indexes_differ():
    names = {short_name("t" * 60 + end) for end in ("_embedding_hnsw", "_embedding_other")}
    assert len(names) == 2
    assert all(len(name.encode()) <= 63 for name in names)
