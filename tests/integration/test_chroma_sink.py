"""Writing Chroma directories: a copy of a collection is that collection, for vecferry and for Chroma itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chroma_data import ChromaData
from tests.integration.chroma_process import ChromaProcess, vector_of
from vecferry.arrow import from_records, to_records
from vecferry.connectors.chroma.client import Client
from vecferry.connectors.chroma.sink import ChromaSink
from vecferry.errors import ConfigError, Conflict, Unsupported
from vecferry.model import Card, CollectionSpec, Element, Metric, Record, VectorSpec
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.testing.skips import reason

if find_spec("chromadb") is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)

SPEC = CollectionSpec(name="records", vectors=(VectorSpec(dim=2, metric=Metric.L2),), card=Card(run="run-1"))


@pytest.fixture(scope="module")
def chroma() -> Iterator[ChromaProcess]:
    process = ChromaProcess()
    yield process
    process.close()


def copy(source: Database, target: Database, name: str, **changes: Any) -> CollectionSpec:
    """Copy a collection, batch by batch in the source's order."""
    reader = source.source(name)
    spec = replace(reader.describe(), card=Card(run="run-1", origin={"name": name}), **changes)
    sink = target.sink(spec)
    made = sink.prepare(spec)
    for partition in reader.partitions():
        for chunk in reader.read(partition):
            assert sink.write(chunk.batch).rejected == ()
    sink.finish()
    sink.close()
    return made


def records_of(database: Database, name: str) -> list[Record]:
    source = database.source(name)
    found = [
        r for p in source.partitions() for chunk in source.read(p) for r in to_records(chunk.batch, source.describe())
    ]
    return sorted(found, key=lambda record: record.seq or 0)


def record(number: int, **changes: Any) -> Record:
    vector = np.array([number, -number], np.float32)
    return replace(Record(id=f"r{number:03}", vectors={"": vector}, document=f"d{number}", seq=number), **changes)


@pytest.mark.parametrize("name", ["0.4.24", "1.5.9"])
def test_a_copy_is_the_collection(
    name: str, chroma_data: Callable[[str], ChromaData], chroma: ChromaProcess, tmp_path: Path
) -> None:
    """Every l2 and ip collection of a directory: order, content, namespace, settings."""
    data = chroma_data(name)
    source, target = open_database(f"chroma:{data.path}"), open_database(f"chroma:{tmp_path / 'copy'}")
    collections = [one for one in data.collections if one.space != "cosine"]
    names = [f"{one.tenant}/{one.database}/{one.name}" for one in collections]
    for qualified in names:
        copy(source, target, qualified)
    target.close()
    target = open_database(f"chroma:{tmp_path / 'copy'}")
    for qualified in names:
        before, after = source.source(qualified).describe(), target.source(qualified).describe()
        assert (after.metadata, after.vectors[0].metric, after.count) == (
            before.metadata,
            before.vectors[0].metric,
            before.count,
        )
        assert after.config["hnsw"].items() >= {k: v for k, v in before.config["hnsw"].items() if k in _KEPT}.items()
        for ours, theirs in zip(records_of(target, qualified), records_of(source, qualified), strict=True):
            assert (ours.id, ours.document, ours.uri, repr(ours.metadata)) == (
                theirs.id, theirs.document, theirs.uri, repr(theirs.metadata),
            )  # fmt: skip
            assert vector_of(ours).tobytes() == vector_of(theirs).tobytes()
    for one in collections:
        if one.records and name != "0.4.24":  # Chroma's own eyes see no trace of us
            where = {"name": one.name, "tenant": one.tenant, "database": one.database}
            for seen, given in zip(chroma.dump(tmp_path / "copy", **where), one.records, strict=True):
                assert (seen["id"], seen["document"], seen["uri"]) == (given.id, given.document, given.uri)
                assert repr(sorted((seen["metadata"] or {}).items())) == repr(sorted((given.metadata or {}).items()))
                assert seen["vector"].tobytes() == given.vector.tobytes()
    source.close()
    target.close()


_KEPT = frozenset({"space", "ef_construction", "max_neighbors", "ef_search", "sync_threshold"})


def test_settings_and_metadata_come_home_from_the_card(tmp_path: Path) -> None:
    """A collection that comes back from another store brings what its card says of its origin."""
    origin = {"metadata": {"team": "search", "nested": {"a": [1, None]}}, "config": {"hnsw": {"max_neighbors": 24}}}
    database = open_database(f"chroma:{tmp_path / 'home'}")
    database.sink(SPEC).prepare(replace(SPEC, card=Card(origin=origin)))
    database.close()
    database = open_database(f"chroma:{tmp_path / 'home'}")
    found = database.source("records").describe()
    assert found.metadata == origin["metadata"]
    assert found.config["hnsw"]["max_neighbors"] == 24
    database.close()


def test_replacing_in_place_keeps_the_order_and_nothing_of_the_old(tmp_path: Path) -> None:
    """Stale keys, documents and uris go; a record that can be replaced in place stays where it is."""
    database = open_database(f"chroma:{tmp_path / 'c'}")
    sink = database.sink(SPEC)
    sink.prepare(SPEC)
    old = [record(n, metadata={"a": n, "l": [1, 2], "stale": True}, uri="u" if n == 2 else None) for n in range(4)]
    sink.write(from_records(SPEC, old))
    new = [
        record(0, metadata={"l": "text now"}),
        record(1, metadata=None),
        record(2, metadata={"a": 2.5}),
        record(3, document=None, metadata={"n": {"deep": None}}),
    ]
    sink.write(from_records(SPEC, new))
    found = {one.id: one for one in records_of(database, "records")}
    for one in new:
        assert (found[one.id].document, found[one.id].uri, found[one.id].metadata) == (
            one.document,
            one.uri,
            one.metadata,
        )
    assert [one.id for one in records_of(database, "records")][:2] == ["r000", "r001"]
    sink.finish()
    assert [one.id for one in records_of(database, "records")] == ["r000", "r001", "r002", "r003"]
    assert not list((tmp_path / "c").glob("vecferry-order-*"))
    database.close()


def test_a_move_that_was_cut_off_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between deleting and adding while `finish` sorts: the next `prepare` puts the records back."""
    database = open_database(f"chroma:{tmp_path / 'c'}")
    sink = database.sink(SPEC)
    assert isinstance(sink, ChromaSink)
    sink.prepare(SPEC)
    records = [record(n, metadata={"n": n, "l": [n]}) for n in range(6)]
    sink.write(from_records(SPEC, records[3:]))
    sink.write(from_records(SPEC, records[:3]))

    class Killed(BaseException):
        pass

    def add(**_: Any) -> None:
        raise Killed

    monkeypatch.setattr(sink._collection, "add", add, raising=False)
    with pytest.raises(Killed):
        sink.finish()
    assert len(records_of(database, "records")) == 3
    database.close()
    database = open_database(f"chroma:{tmp_path / 'c'}")
    sink = database.sink(SPEC)
    sink.prepare(SPEC)
    sink.finish()
    found = records_of(database, "records")
    assert [(one.id, one.metadata, one.document) for one in found] == [
        (one.id, one.metadata, one.document) for one in records
    ]
    assert [vector_of(one).tolist() for one in found] == [vector_of(one).tolist() for one in records]
    database.close()


def test_what_chroma_cannot_hold_is_refused_or_rejected(tmp_path: Path) -> None:
    """Several vectors, other number types, other metrics before anything is made; a missing vector by its id."""
    database = open_database(f"chroma:{tmp_path / 'c'}")
    wrong = [
        (VectorSpec(name="a", dim=2), VectorSpec(name="b", dim=2)),
        (VectorSpec(dim=2, element=Element.UINT8),),
        (VectorSpec(dim=2, metric=Metric.L1),),
        (),
    ]
    for vectors in wrong:
        with pytest.raises(Unsupported):
            database.sink(SPEC).prepare(replace(SPEC, vectors=vectors))
    assert list(database.collections()) == []
    sink = database.sink(SPEC)
    sink.prepare(SPEC)
    receipt = sink.write(from_records(SPEC, [record(1), record(2, vectors={"": None})]))
    assert receipt.rows == 1
    assert [one.id for one in receipt.rejected] == ["r002"]
    database.close()


def test_a_collection_of_an_older_chroma_is_not_touched(
    chroma_copy: Callable[[str], ChromaData],
) -> None:
    """It cannot carry our card without losing its own metric: appending to it is refused."""
    data = chroma_copy("0.5.23-to-1.5.9")
    database = open_database(f"chroma:{data.path}")
    spec = replace(database.source("synced_cosine").describe(), card=Card())
    with pytest.raises(Conflict, match=r"older than 1\.0"):
        database.sink(spec).prepare(spec)
    database.close()


@pytest.mark.parametrize("card", [SPEC.card, None])
def test_what_somebody_else_made_is_marked_and_keeps_its_metadata(tmp_path: Path, card: Card | None) -> None:
    """`hnsw:space` too, which Chroma's own `modify` refuses; without a card given, the first envelope brings one."""
    own = {"hnsw:space": "cosine", "own": 1}
    client = Client(tmp_path)
    client.of("default_tenant", "default_database").create_collection("records", metadata=own)
    client.close()
    target = open_database(f"chroma:{tmp_path}")
    spec = replace(SPEC, card=card, vectors=(VectorSpec(dim=2, metric=Metric.COSINE),))
    sink = target.sink(spec)
    sink.prepare(spec)
    sink.write(from_records(spec, [record(1)]))
    assert (target.source("records").describe().card is None) is (card is None)
    sink.write(from_records(spec, [record(2, metadata={"n": {"x": 1}})]))
    sink.close()
    found = target.source("records").describe()
    assert found.card is not None
    assert found.metadata == own
    assert [one.metadata for one in records_of(target, "records")] == [None, {"n": {"x": 1}}]
    target.close()


def test_without_chromadb_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading needs no chromadb; writing names the extra and the command."""
    monkeypatch.setitem(__import__("sys").modules, "chromadb", None)
    database = open_database(f"chroma:{tmp_path / 'c'}")
    with pytest.raises(ConfigError, match="chroma-local"):
        database.sink(SPEC).prepare(SPEC)
    assert not (tmp_path / "c").exists()
