"""Tables that we make in MariaDB ourselves: every kind of id, deep metadata, the vector index behind the load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vecferry.arrow import from_records, to_records
from vecferry.errors import Conflict
from vecferry.model import CollectionSpec, IdKind, Metric, Record, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.cases import DIM, collection, plain_records, target
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.mariadb import MariaDBDatabase

VECTOR = VectorSpec(dim=DIM, metric=Metric.COSINE)


@pytest.fixture
def store(mariadb: MariaDBDatabase) -> Iterator[Any]:
    with closing(open_database(mariadb.url)) as database:
        yield database


def written(store: Any, spec: CollectionSpec, records: list[Record]) -> Any:
    sink = store.sink(spec)
    sink.prepare(spec)
    sink.write(from_records(spec, records))
    sink.finish()
    return sink


def own(kind: IdKind = IdKind.TEXT, **fields: Any) -> CollectionSpec:
    return target(CollectionSpec(name="own", id_kind=kind, vectors=(VECTOR,), **fields))


@pytest.mark.parametrize("kind", [IdKind.INT, IdKind.UUID, IdKind.TEXT, IdKind.MIXED])
def test_records_are_found_and_removed_by_their_ids(store: Any, kind: IdKind) -> None:
    spec = own(kind)
    records = plain_records(spec, 60)
    sink = written(store, spec, records)
    source = store.source("own")
    wanted = records[5:25:4]
    names = [record.id for record in wanted]
    absent = "00000000-0000-4000-8000-ffffffffffff"
    assert_same(wanted, to_records(source.fetch([*names, absent, "987654321"]), source.describe()))
    assert source.existing([*names, absent, "no id"]) == set(names)
    sink.delete([*names, absent])
    assert_same([record for record in records if record.id not in names], read_all(source))


def test_the_number_5_is_not_the_text_5(store: Any) -> None:
    spec = own(IdKind.MIXED)
    number, text = (replace(one, id="5") for one in plain_records(spec, 2))
    records = [replace(number, id_kind=IdKind.INT), replace(text, id_kind=IdKind.TEXT)]
    written(store, spec, records)
    assert_same(records, read_all(store.source("own")))
    assert store.source("own").fetch(["5"]).num_rows == 2


def test_metadata_that_is_nested_deeper_than_mariadb_takes(mariadb: MariaDBDatabase, store: Any) -> None:
    def nested(depth: int) -> Any:
        return {"a": nested(depth - 1)} if depth else [1, None, "x"]

    spec = own()
    records = [
        replace(record, metadata={"deep": nested(depth)})
        for record, depth in zip(plain_records(spec, 6), (1, 28, 29, 30, 31, 200), strict=True)
    ]
    written(store, spec, records)
    assert_same(records, read_all(store.source("own")))
    assert mariadb.execute("SELECT COUNT(*) FROM own WHERE metadata = '{}'") == [(3,)]


def test_the_vector_index_is_built_behind_the_load(mariadb: MariaDBDatabase, store: Any) -> None:
    spec = own(config={"m": 16})
    records = plain_records(spec, 300, seed=2)
    sink = store.sink(spec)
    sink.prepare(spec)
    sink.write(from_records(spec, records))
    assert "VECTOR KEY" not in mariadb.execute("SHOW CREATE TABLE own")[0][1]
    sink.finish()
    sink.finish()
    assert "VECTOR KEY `embedding_idx` (`embedding`) `M`=16 `DISTANCE`=cosine" in mariadb.execute(
        "SHOW CREATE TABLE own"
    )[0][1].replace("`distance`", "`DISTANCE`").replace("`DISTANCE`=cosine `M`=16", "`M`=16 `DISTANCE`=cosine")
    source = store.source("own")
    assert source.describe().vectors == (VECTOR,)
    assert source.describe().config["m"] == 16
    queries = np.random.default_rng(5).standard_normal((5, DIM)).astype(np.float32)
    exact, near = (source.search(queries, k=10, exact=exact) for exact in (True, False))
    overlap = [len({h.id for h in a} & {h.id for h in b}) for a, b in zip(exact, near, strict=True)]
    assert min(overlap) >= 8
    sink.write(from_records(spec, plain_records(spec, 310, seed=2)[290:]))
    assert source.count() == 310


def test_a_table_without_a_vector_index(mariadb: MariaDBDatabase, store: Any) -> None:
    written(store, own(config={"vector_index": False}), plain_records(own(), 5))
    assert "VECTOR KEY" not in mariadb.execute("SHOW CREATE TABLE own")[0][1]
    assert store.source("own").describe().vectors == (VECTOR,)


def test_a_vector_of_zeros_is_at_a_right_angle(store: Any) -> None:
    spec = own(config={"vector_index": False})
    records = plain_records(spec, 3)
    zero = replace(records[0], vectors={"": np.zeros(DIM, np.float32)})
    written(store, spec, [zero, *records[1:]])
    query = np.asarray(records[1].vectors[""], np.float32)[None]
    (hits,) = store.source("own").search(query, k=3, exact=True)
    assert hits[0].id == records[1].id
    assert {hit.id: hit.score for hit in hits}[zero.id] == 1.0


def test_several_vectors(store: Any) -> None:
    pair = (VectorSpec(name="Text", dim=DIM, metric=Metric.L2), VectorSpec(name="text", dim=4, metric=Metric.L2))
    spec = target(replace(collection(store.limits, *pair), name="own"))
    records = plain_records(spec, 20)
    written(store, spec, records)
    assert_same(records, read_all(store.source("own")))
    query = np.asarray(records[7].vectors["text"], np.float32)[None]
    assert store.source("own").search(query, k=1, exact=True, vector="text")[0][0].id == records[7].id


def test_a_collection_without_vectors(store: Any) -> None:
    spec = target(CollectionSpec(name="own", vectors=()))
    records = plain_records(spec, 20)
    written(store, spec, records)
    assert [spec.name for spec in store.collections()] == ["own"]
    assert_same(records, read_all(store.source("own")))


def test_a_card_of_a_table_that_is_no_more_is_forgotten(mariadb: MariaDBDatabase, store: Any) -> None:
    """Somebody dropped our table by hand and made one of their own by its name."""
    written(store, own(), plain_records(own(), 5))
    before = store.source("own").describe().uid
    mariadb.execute("DROP TABLE own")
    mariadb.execute(f"CREATE TABLE own (k INT PRIMARY KEY, v VECTOR({DIM}) NOT NULL)")
    assert store.source("own").describe().card is None
    mariadb.execute("DROP TABLE own")
    written(store, own(), plain_records(own(), 5))
    assert store.source("own").describe().uid != before


def test_a_view_is_read_and_never_dropped(mariadb: MariaDBDatabase, store: Any) -> None:
    from vecferry.tables import Form

    written(store, own(IdKind.INT), plain_records(own(IdKind.INT), 5))
    mariadb.execute("CREATE VIEW seen AS SELECT id, embedding, document FROM own WHERE id < 3")
    store.use("seen", Form(key=("id",), vectors={"": "embedding"}, document="document"))
    assert {record.id for record in read_all(store.source("seen"))} == {"0", "1", "2"}
    with pytest.raises(Conflict, match="is a view"):
        store.drop("seen")


def test_foreign_keys_come_home(mariadb: MariaDBDatabase, store: Any) -> None:
    mariadb.execute("CREATE TABLE parent (name VARCHAR(20) PRIMARY KEY)")
    mariadb.execute("INSERT INTO parent VALUES ('a')")
    mariadb.execute(
        f"CREATE TABLE child (id INT PRIMARY KEY, v VECTOR({DIM}) NOT NULL, parent VARCHAR(20), "
        "CONSTRAINT theirs FOREIGN KEY (parent) REFERENCES parent (name))"
    )
    spec = store.source("child").describe()
    home = target(replace(spec, name="home"))
    record = replace(plain_records(home, 1)[0], document=None, metadata={"parent": "a"})
    written(store, home, [record])
    assert "FOREIGN KEY (`parent`) REFERENCES `parent` (`name`)" in mariadb.execute("SHOW CREATE TABLE home")[0][1]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE own SET document = 'x' WHERE id = 3",
        "UPDATE own SET embedding = (SELECT embedding FROM own WHERE id = 1) WHERE id = 3",
        "DELETE FROM own WHERE id = 3",
        "UPDATE own SET metadata = '{}' WHERE id = 3",
    ],
)
def test_a_table_that_is_written_to_is_noticed(mariadb: MariaDBDatabase, store: Any, change: str) -> None:
    written(store, own(IdKind.INT), plain_records(own(IdKind.INT), 5))
    source = store.source("own")
    changed = source.watch()
    source.close()
    assert not changed()
    mariadb.execute(change)
    assert changed()


def test_a_view_always_counts_as_written_to(mariadb: MariaDBDatabase, store: Any) -> None:
    from vecferry.tables import Form

    written(store, own(IdKind.INT), plain_records(own(IdKind.INT), 5))
    mariadb.execute("CREATE VIEW seen AS SELECT id, embedding FROM own")
    store.use("seen", Form(key=("id",), vectors={"": "embedding"}))
    assert store.source("seen").watch()()


@pytest.mark.parametrize("where", ["FALSE", "TRUE); DROP TABLE own; -- "])
def test_a_card_never_says_which_rows_of_its_table_there_are(mariadb: MariaDBDatabase, store: Any, where: str) -> None:
    """Its condition would be SQL of whoever may write into the side table, run by whoever reads."""
    written(store, own(), plain_records(own(), 3))
    mariadb.execute("UPDATE _vecferry_cards SET form = JSON_SET(form, '$.where', %s)", [where])
    assert [spec.count for spec in store.collections()] == [3]
