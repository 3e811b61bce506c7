"""Chroma over HTTP against real servers: the same records as the directory reader gives, through every generation."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.chroma_data import NAMES, ChromaData
from vecferry.arrow import from_records, to_records
from vecferry.connectors.chroma.http.database import ChromaServerDatabase
from vecferry.connectors.chroma.http.ids import Ids
from vecferry.connectors.chroma.rounding import rounded
from vecferry.errors import Conflict, Unavailable
from vecferry.model import Card, CollectionSpec, Keep, Metric, Record, VectorSpec
from vecferry.protocols import Source
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.cases import collection, plain_records, shaped_records, target
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.old_chroma import start_old_chroma
from vecferry.testing.servers import ChromaServer, start_chroma
from vecferry.testing.skips import reason

if find_spec("chromadb") is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)

pytestmark = pytest.mark.chroma_server
COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@pytest.fixture(scope="module")
def server() -> Iterator[ChromaServer]:
    with start_chroma() as server:
        yield server


def opened(url: str) -> ChromaServerDatabase:
    database = open_database(url)
    assert isinstance(database, ChromaServerDatabase)
    return database


class Served:
    """A collection made around our code, with ids `id-0`, `id-1`, …; the vector of each is its number."""

    def __init__(self, server: ChromaServer, name: str, count: int) -> None:
        self.base = server.http_url
        body = {"name": name, "configuration": {"hnsw": {"space": "l2"}}}
        self.path = f"{COLLECTIONS}/{self.post(COLLECTIONS, body)['id']}"
        self.add(range(count))

    def add(self, numbers: Any) -> None:
        ids = [f"id-{number}" for number in numbers]
        vectors = [[float(number), 0.5] for number in numbers]
        self.post(f"{self.path}/add", {"ids": ids, "embeddings": vectors})

    def delete(self, *numbers: int) -> None:
        ids = [f"id-{number}" for number in numbers]
        self.post(f"{self.path}/delete", {"ids": ids})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return httpx.post(self.base + path, json=body).raise_for_status().json()


# --------------------------------------------------------------------------- the directory reader is the measure


@pytest.mark.parametrize("name", NAMES)
def test_a_server_gives_what_its_directory_holds(
    name: str, chroma_copy: Callable[[str], ChromaData], tmp_path: Path
) -> None:
    """Record by record, in the same order: ids, texts, types of metadata, and every bit of a vector.

    Under cosine a server answers length times direction, rounded; the directory reader has the bits that the log
    still holds. There the server must give those bits as it rounds them, or what the index holds.
    """
    data = chroma_copy(name)
    room = tmp_path / "room"
    room.mkdir()
    directory = open_database(f"chroma:{data.path}")
    found = {
        spec.qualified_name: read_ordered(directory.source(spec.qualified_name)) for spec in directory.collections()
    }
    specs = {spec.qualified_name: spec for spec in directory.collections()}
    directory.close()
    data.path.rename(room / "data")
    tenants = {spec.namespace[0] for spec in specs.values() if spec.namespace} | {"default_tenant"}
    with start_chroma(folder=room) as server:
        seen = set()
        for tenant in tenants:
            database = open_database(f"{server.url}?tenant={tenant}")
            for spec in database.collections():
                seen.add(spec.qualified_name)
                there = specs[spec.qualified_name]
                assert (spec.uid, spec.count, spec.metadata) == (there.uid, there.count, there.metadata)
                assert spec.vectors[0].metric is there.vectors[0].metric
                compare(found[spec.qualified_name], read_ordered(database.source(spec.qualified_name)), spec)
            database.close()
    assert seen == specs.keys()


def read_ordered(source: Source) -> list[Record]:
    return sorted(read_all(source), key=lambda record: record.seq or 0)


def compare(wanted: list[Record], found: list[Record], spec: CollectionSpec) -> None:
    assert [record.id for record in found] == [record.id for record in wanted]
    for theirs, ours in zip(wanted, found, strict=True):
        assert (ours.document, ours.uri) == (theirs.document, theirs.uri)
        assert repr(sorted((ours.metadata or {}).items())) == repr(sorted((theirs.metadata or {}).items())), ours.id
        held = np.asarray(theirs.vectors[""], np.float32)
        possible = {held.tobytes()}
        if spec.vectors[0].metric is Metric.COSINE:
            possible.add(rounded(held[None])[0].tobytes())
        assert np.asarray(ours.vectors[""], np.float32).tobytes() in possible, ours.id


# --------------------------------------------------------------------------- generations


@pytest.mark.parametrize(
    "version, generation", [("0.4.24", "asked"), ("0.5.23", "asked"), ("0.5.23", "v1"), ("0.6.3", "asked")]
)
def test_old_servers_hold_and_give_everything(version: str, generation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shape of record, under both kinds of metric, through v1 and v2.

    0.5.23 speaks both, so its v1 stands for the servers of 0.5 that have no other. 0.6.3 has a v1 that fails by itself.
    """
    if generation == "v1":
        monkeypatch.setattr("vecferry.connectors.chroma.http.server.Server._speaks_v2", lambda _: False)
    with start_old_chroma(version) as server:
        database = opened(f"{server.url}?tenant=acme&database=prod")
        speaks = "v1" if generation == "v1" or version == "0.4.24" else "v2"
        assert (database.identity.version, database.identity.transport) == (version, f"http {speaks}")
        for metric in (Metric.L2, Metric.COSINE):
            spec = target(collection(database.limits, VectorSpec(dim=8, metric=metric)))
            records = shaped_records(database.limits, spec, sink=True)
            more = plain_records(spec, 150, seed=9, unit=False)  # enough for the index to take some of them
            more = [Record(**{**fields(record), "id": f"more-{record.id}"}) for record in more]
            sink = database.sink(spec)
            assert sink.prepare(spec).namespace == ("acme", "prod")
            for batch in (records, more, records[:20]):
                assert sink.write(from_records(spec, batch)).rejected == ()
            sink.finish()
            sink.close()
            source = database.source(f"acme/prod/{spec.name}")
            assert source.describe().card is not None
            assert_same([*records, *more], read_all(source))
            assert [hit.id for hit in source.search(np.stack([more[3].vectors[""]]), k=1)[0]] == [more[3].id]
            database.drop(spec.name)
        assert list(database.collections()) == []
        database.close()


def fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ("id", "vectors", "document", "uri", "metadata", "seq", "id_kind")}


# --------------------------------------------------------------------------- while others write


def test_nothing_is_skipped_where_records_go_while_ids_are_listed(server: ChromaServer, tmp_path: Path) -> None:
    """Between pages of ids, earlier records are deleted, one is moved to the end, and new ones come."""
    served = Served(server, "moving", 40)
    database = opened(server.url)
    *_, held = database._server.find("moving")
    changes = iter(
        [lambda: served.delete(0, 1, 2), lambda: (served.delete(5), served.add([5])), lambda: served.add([99])]
    )
    plain = held.get

    def get(**wanted: Any) -> dict[str, Any]:
        answer = plain(**wanted)
        next(changes, lambda: None)()
        return answer

    held.get = get  # type: ignore[method-assign]
    ids = Ids(held, tmp_path / "ids.arrow", page=8)
    listed = ids.between(0, len(ids))
    assert len(listed) == len(set(listed))
    assert {f"id-{number}" for number in (*range(40), 99)} == set(listed)
    stayed = [f"id-{number}" for number in range(6, 40)]
    assert [text for text in listed if text in set(stayed)] == stayed
    database.close()


def test_listing_goes_on_where_it_broke_off(server: ChromaServer, tmp_path: Path) -> None:
    """An error in the middle costs the page, not the list."""
    Served(server, "broken", 60)
    database = opened(server.url)
    *_, held = database._server.find("broken")
    plain, asked = held.get, list[int]()

    def get(**wanted: Any) -> dict[str, Any]:
        asked.append(wanted["offset"])
        if len(asked) == 4:
            raise Unavailable("broke off", hint="a test")
        return plain(**wanted)

    held.get = get  # type: ignore[method-assign]
    ids = Ids(held, tmp_path / "ids.arrow", page=10)
    with pytest.raises(Unavailable):
        len(ids)
    assert len(ids) == 60
    assert asked.count(0) == 1
    database.close()


def test_a_pinned_run_goes_on_in_another_process(server: ChromaServer, tmp_path: Path) -> None:
    """Positions hold although records went and came: what was there and still is comes once, nothing is skipped."""
    served = Served(server, "resumed", 300)
    first = opened(server.url)
    pin = first.pin(tmp_path / "snapshot")
    source = first.source("resumed")
    (partition,) = source.partitions()
    chunks = source.read(partition)
    chunk = next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    first.close()
    seen = {record.id for record in to_records(chunk.batch, source.describe())}
    served.delete(0, 1, 250)
    served.add([500])

    second = opened(server.url)
    assert second.pin(tmp_path / "snapshot") == pin
    source = second.source("resumed")
    assert source.partitions() == [partition]
    assert source.describe().count == 300
    rest = {r.id for c in source.read(partition, after=chunk.position) for r in to_records(c.batch, source.describe())}
    assert seen & rest == set()
    assert seen | rest == {f"id-{number}" for number in range(300)} - {"id-250"}
    second.close()


def test_partitions_of_another_list_are_refused(server: ChromaServer) -> None:
    """Without a pin, bounds that were made for other ids are no bounds: an error, and no record is skipped."""
    served = Served(server, "changed", 50)
    database = opened(server.url)
    partitions = list(database.source("changed").partitions())
    served.delete(3)
    with pytest.raises(Conflict, match="not those"):
        list(database.source("changed").read(partitions[0]))
    database.close()


def test_a_server_that_dies_in_the_middle_is_read_on(tmp_path: Path) -> None:
    """Killed between pages: an error that may be tried again, and the same position goes on after the restart."""
    with start_chroma(folder=tmp_path) as server:
        Served(server, "killed", 2_500)
        database = opened(server.url)
        source = database.source("killed")
        (partition,) = source.partitions()
        seen, position = [], None
        chunks = source.read(partition)
        for _ in range(2):
            chunk = next(chunks)
            seen += to_records(chunk.batch, source.describe())
            position = chunk.position
        server.kill()
        with pytest.raises(Unavailable) as caught:  # noqa: PT012 (how far it comes is the point)
            for chunk in chunks:  # what was on its way may still come
                seen += to_records(chunk.batch, source.describe())
                position = chunk.position
        assert caught.value.hint
        server.start()
        for chunk in source.read(partition, after=position):
            seen += to_records(chunk.batch, source.describe())
        assert [record.id for record in seen] == [f"id-{number}" for number in range(2_500)]
        database.close()


# --------------------------------------------------------------------------- rounding


def test_foretells_how_the_server_rounds_cosine(server: ChromaServer) -> None:
    """Vectors of many lengths and sizes, 1,200 of them so that the index is saved in between: bit for bit."""
    random = np.random.default_rng(3)
    database = opened(server.url)
    for dim in (1, 3, 96, 384):
        vectors = random.standard_normal((1_200, dim)) * np.exp(random.standard_normal((1_200, 1)) * 4)
        spec = CollectionSpec(name=f"cosine-{dim}", vectors=(VectorSpec(dim=dim, metric=Metric.COSINE),))
        batch = from_records(
            spec, [Record(id=f"{row}", vectors={"": vectors[row].astype(np.float32)}) for row in range(1_200)]
        )
        sink = database.sink(spec)
        sink.prepare(spec)
        sink.write(batch)
        foretold = sink.expect(batch)
        assert foretold.column("vector") != batch.column("vector")
        assert_same(to_records(foretold, spec), read_all(database.source(spec.name)))
        sink.close()
    database.close()


def test_records_that_are_moved_are_not_rounded_twice(server: ChromaServer) -> None:
    """Writing in another order moves records at the end of a load; they read as `expect` said, in the right order."""
    random = np.random.default_rng(8)
    spec = target(CollectionSpec(name="moved", vectors=(VectorSpec(dim=96, metric=Metric.COSINE),)))
    records = plain_records(spec, 60, unit=False)
    records = [Record(**{**fields(r), "vectors": {"": random.standard_normal(96).astype(np.float32)}}) for r in records]
    database = opened(server.url)
    sink = database.sink(spec)
    sink.prepare(spec)
    for start in (40, 20, 0):
        sink.write(from_records(spec, records[start : start + 20]))
    foretold = to_records(sink.expect(from_records(spec, records)), spec)
    sink.finish()
    sink.close()
    found = read_ordered(database.source("moved"))
    assert [record.id for record in found] == [record.id for record in records]
    assert_same(foretold, found)
    database.close()


def test_kept_bits_are_read_from_the_directory_too(tmp_path: Path) -> None:
    """What a server was given with `exact_vectors: keep` comes out of its directory bit for bit, index or log."""
    spec = target(CollectionSpec(name="exact", vectors=(VectorSpec(dim=8, metric=Metric.COSINE),)))
    spec = replace(spec, card=replace(spec.card or Card(), exact_vectors=Keep.BITS))
    records = plain_records(spec, 1_500, unit=False)
    with start_chroma(folder=tmp_path) as server:
        database = opened(server.url)
        sink = database.sink(spec)
        sink.prepare(spec)
        sink.write(from_records(spec, records))
        sink.finish()
        assert_same(records, read_all(database.source("exact")))
        sink.close()
        database.close()
    directory = open_database(f"chroma:{tmp_path / 'data'}")
    assert_same(records, read_all(directory.source("exact")))
    directory.close()
