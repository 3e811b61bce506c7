"""SQL that is made from catalogs, cards and records: only ever what it is meant to be."""

from __future__ import annotations

from typing import Any

import pytest

from vecferry.arrow import from_records
from vecferry.connectors.mariadb import ddl, home, names
from vecferry.connectors.mariadb._codec.keys import Key
from vecferry.connectors.mariadb._codec.where import where
from vecferry.connectors.mariadb._codec.writing import Writing
from vecferry.errors import ConfigError, Unsupported
from vecferry.filters import And, Compare, Exists, OneOf, Op, Or
from vecferry.model import CollectionSpec, Element, IdKind, Metric, Record, VectorKind, VectorSpec
from vecferry.tables import Column, Form, Index, Table


def spec(*vectors: VectorSpec, kind: IdKind = IdKind.TEXT, **fields: Any) -> CollectionSpec:
    return CollectionSpec(name="c", id_kind=kind, vectors=vectors or (VectorSpec(dim=3),), **fields)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\0b", "🛳", "a "])
def test_a_name_that_mariadb_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        names.quote(name)
    assert refused.value.hint


def test_quotes_and_backslashes_end_no_literal() -> None:
    assert names.quote("a`; --") == "`a``; --`"
    assert names.text("\\'; --") == "'\\\\\\'; --'"
    assert names.raw(b"\\'") == b"'\\\\\\''"
    assert names.hexed(b"\x00'\\") == b"x'00275c'"


@pytest.mark.parametrize("text", ["1", "'a''b'", "current_timestamp()", "(`a` + 1) * length('x)')", "-1.5e3", "uuid()"])
def test_an_expression(text: str) -> None:
    assert ddl.expression(text) == text


@pytest.mark.parametrize(
    "text", ["1)", "(1", "1; DROP TABLE t", "1 -- x", "1 /* x", "'a", "a`b", "1 # x", "", "1), (SELECT 2", "'a\\"]
)
def test_no_expression(text: str) -> None:
    """A card that somebody else wrote cannot put a statement into ours."""
    with pytest.raises(ConfigError):
        ddl.expression(text)


@pytest.mark.parametrize("kind", ["int) ENGINE=x", "varchar(9), b int", "enum('a')b')", "INT", "vector(3) -- "])
def test_no_type(kind: str) -> None:
    with pytest.raises(ConfigError):
        ddl.create(Table(name="t", columns=(Column(name="a", type=kind),)))


@pytest.mark.parametrize("kind", ["bigint(20) unsigned", "decimal(30,10)", "enum('x','it''s')", "vector(3)", "uuid"])
def test_a_type(kind: str) -> None:
    assert kind in ddl.create(Table(name="t", columns=(Column(name="a", type=kind),)))


def test_columns_of_vectors_never_share_a_name() -> None:
    """MariaDB knows no upper and lower case in columns; ours are taken."""
    wanted = ["A", "a", "ID", "embedding", "x" * 65, "🛳", "document"]
    table, form = ddl.own(spec(*(VectorSpec(name=name, dim=2) for name in wanted)), "db")
    assert set(form.vectors) == set(wanted)
    assert len({column.name.lower() for column in table.columns}) == len(table.columns)


@pytest.mark.parametrize(
    "vector",
    [
        VectorSpec(kind=VectorKind.SPARSE),
        VectorSpec(dim=3, element=Element.FLOAT16),
        VectorSpec(dim=3, metric=Metric.IP),
    ],
)
def test_vectors_that_mariadb_has_not(vector: VectorSpec) -> None:
    with pytest.raises(Unsupported):
        ddl.own(spec(vector), "db")


def test_ids_of_each_kind() -> None:
    keys = {kind: ddl.own(spec(kind=kind), "db")[0].primary_key for kind in IdKind}
    assert keys[IdKind.INT] == keys[IdKind.UUID] == ("id",)
    assert {keys[kind] for kind in (IdKind.TEXT, IdKind.MIXED, IdKind.COMPOSITE)} == {("_vf_no",)}


@pytest.mark.parametrize("config", [{"m": 2}, {"m": 201}, {"m": True}, {"m": "6"}, {"n": 1}, {"vector_index": 1}])
def test_settings_that_there_are_not(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        home.configured(spec(config=config))
    assert refused.value.hint


def test_a_table_comes_home_only_where_the_records_still_fit() -> None:
    table = Table(name="t", columns=(Column(name="id", type="int"), Column(name="v", type="vector(3)")))
    form = Form(key=("id",), vectors={"": "v"})
    config = {"table": table.as_json(), "form": form.as_json()}
    fitting = spec(kind=IdKind.INT, config=config)
    assert home.table(fitting, "db") == Table(name="c", namespace=("db",), columns=table.columns)
    assert home.table(spec(kind=IdKind.TEXT, config=config), "db") is None
    assert home.table(spec(VectorSpec(dim=4), kind=IdKind.INT, config=config), "db") is None
    assert home.table(spec(VectorSpec(name="x", dim=3), kind=IdKind.INT, config=config), "db") is None


def test_a_vector_index_has_its_settings() -> None:
    index = Index(name="i", columns=("v",), method="vector", opclass="cosine", options={"m": "16"})
    assert (
        ddl.vector_index(Table(name="t"), index)
        == "ALTER TABLE `t` ADD VECTOR INDEX `i` (`v`) M = 16 DISTANCE = cosine"
    )
    with pytest.raises(ConfigError):
        ddl.vector_index(Table(name="t"), Index(name="i", columns=("v",), opclass="cosine, DROP COLUMN v"))


TABLE = Table(
    name="t",
    columns=(
        Column(name="k", type="varchar(9)"),
        Column(name="n", type="int(11)"),
        Column(name="f", type="float"),
        Column(name="at", type="datetime"),
        Column(name="meta", type="json"),
        Column(name="list", type="json"),
    ),
)
FORM = Form(key=("k",), metadata="meta", columns=("n", "f", "at", "list"))


def test_filters_beyond_what_sql_says_exactly_are_refused() -> None:
    for node in (Compare("x", Op.EQ, 2**53), Compare("n", Op.LT, float("inf")), Compare("list", Op.EQ, "a")):
        with pytest.raises(Unsupported):
            where(node, TABLE, FORM, own=False)


def test_a_tagged_value_equals_no_text() -> None:
    assert where(Compare("at", Op.EQ, "2026-01-01"), TABLE, FORM, own=False) == "COALESCE(FALSE, FALSE)"


def test_hostile_values_stay_values() -> None:
    found = where(Compare("x' OR \\'", Op.EQ, "y' OR 1=1 --"), TABLE, FORM, own=False)
    assert "y\\' OR 1=1 --" in found
    assert "x\\' OR" in found


def test_parts_of_none_match_all_or_nothing() -> None:
    assert where(And(()), TABLE, FORM, own=False) == "TRUE"
    assert where(Or(()), TABLE, FORM, own=False) == "FALSE"
    assert where(OneOf("n", ()), TABLE, FORM, own=False) == "COALESCE(FALSE, FALSE)"
    assert where(Exists("n"), TABLE, FORM, own=False) == "COALESCE(t.`n` IS NOT NULL, FALSE)"


def test_ranges_of_composite_keys() -> None:
    key = Key.of(TABLE, ("k", "n"))
    assert key.behind(("a'", "5")) == "t.`k` >= 'a\\'' AND ((t.`k` > 'a\\'') OR (t.`k` = 'a\\'' AND t.`n` > 5))"
    with pytest.raises(ConfigError):
        Key.of(TABLE, ("f",))


@pytest.mark.parametrize(
    "own, of_table, guarded",
    [("utf8mb4_nopad_bin", "", False), (None, "utf8mb4_nopad_bin", False), (None, "utf8mb4_uca1400_ai_ci", True)],
)
def test_a_record_never_replaces_one_whose_id_a_collation_holds_for_the_same(
    own: str | None, of_table: str, guarded: bool
) -> None:
    """An application's new table has the keys that its preset says: 'a' and 'A' may be one there."""
    columns = [Column(name="id", type="varchar(60)", nullable=False, collation=own)]
    columns += [Column(name=name, type=kind) for name, kind in (("t", "longtext"), ("m", "json"), ("_vf", "json"))]
    columns.append(Column(name="e", type="vector(3)", nullable=False))
    table = Table(name="c", columns=tuple(columns), primary_key=("id",), options={"collation": of_table})
    writing = Writing(table, Form(key=("id",), vectors={"": "e"}, document="t", metadata="m"), spec(), own=True)
    (statement,) = writing.statements(from_records(spec(), [Record(id="a", vectors={"": [1, 2, 3]})]), 1 << 20)
    assert (b"`id` = IF(BINARY `id` <=> BINARY VALUES(`id`), `id`, NULL)" in statement) is guarded
    assert ("COLLATE utf8mb4_nopad_bin IN ('a')" in writing.delete(["a"])) is guarded
    assert writing.with_ids([]) == "FALSE"
