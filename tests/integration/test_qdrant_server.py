"""What only a real Qdrant can prove: wire formats, filters, deferred indexing, limits, other programs' collections."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from tests.integration.filter_oracle import answered
from vecferry import arrow
from vecferry.connectors.qdrant.sink import QdrantSink
from vecferry.errors import ConfigError, Conflict, DataError, Throttled, Unsupported
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or
from vecferry.model import (
    Card,
    CollectionSpec,
    Element,
    FieldIndex,
    IdKind,
    IndexKind,
    Keep,
    Metric,
    Record,
    VectorKind,
    VectorSpec,
)
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.servers import QdrantServer

DIM = 8


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False, timeout=60)) as client:
        yield client


@pytest.fixture(params=["grpc", "rest"])
def database(request: pytest.FixtureRequest, qdrant_server: QdrantServer) -> Iterator[Any]:
    with closing(open_database(f"{qdrant_server.url}&transport={request.param}")) as database:
        assert database.identity.transport == request.param
        yield database


@pytest.fixture
def grpc_database(qdrant_server: QdrantServer) -> Iterator[Any]:
    with closing(open_database(qdrant_server.url)) as database:
        yield database


def spec_of(*vectors: VectorSpec, kind: IdKind = IdKind.TEXT, **card: Any) -> CollectionSpec:
    vectors = vectors or (VectorSpec(dim=DIM),)
    made = Card(**{"id_kind": kind, "vectors": vectors, "run": "r", **card})
    return CollectionSpec(name=f"it-{uuid4()}", id_kind=kind, vectors=vectors, card=made)


def written(database: Any, spec: CollectionSpec, records: list[Record]) -> QdrantSink:
    sink: QdrantSink = database.sink(spec)
    sink.prepare(spec)
    sink.write(arrow.from_records(spec, records))
    return sink


def many(spec: CollectionSpec, count: int, seed: int = 0) -> list[Record]:
    numbers = np.random.default_rng(seed)
    return [
        Record(
            id=f"r{n}",
            seq=n,
            vectors={v.name: numbers.standard_normal(v.dim or 0).astype(v.element.value) for v in spec.vectors},
            document=f"text {n}",
            metadata={"n": n, "name": f"name {n % 5}"},
        )
        for n in range(count)
    ]


# --------------------------------------------------------------------------- what is stored


def odd_records(spec: CollectionSpec) -> list[Record]:
    """Every hard value at once: floats of all bits, deep nesting, unsigned integers, keys of the layout itself."""
    numbers = np.random.default_rng(3)
    deep: Any = 1
    for _ in range(60):
        deep = {"d": deep}
    floats = np.frombuffer(numbers.bytes(8 * 400), "<f8")
    metadata: list[Any] = [
        {"floats": [float(x) for x in floats[np.isfinite(floats)]], "one": 0.1 + 0.2, "n": {"m": [1 / 3]}},
        {"deep": deep},
        {"u": 2**64 - 1, "l": [2**63, -(2**63)], "z": [0.0, -0.0, 0, False]},
        {"document": "mine", "uri": 5, "_vf": {"id": "no"}, "page_content": None, "metadata": {"a": 1}},
        {"": 1, "a.b": [], "c": {}, "nul": "a\0b", "e": 1e300, "tiny": 5e-324},
        {},
        None,
    ]
    scales = [1.0, 1e-30, 1e30, 1e-40, 0.0, 3.0, 1e-3]
    return [
        Record(
            id=f"odd {n}",
            seq=n,
            vectors={
                v.name: (numbers.standard_normal(v.dim or 0) * scale).astype(v.element.value) for v in spec.vectors
            },
            document=None if n % 3 == 0 else "" if n % 3 == 1 else "text",
            uri="u" if n % 2 else None,
            metadata=value,
        )
        for n, (value, scale) in enumerate(zip(metadata, scales, strict=True))
    ]


@pytest.mark.parametrize("layout", ["plain", "flat", "langchain"])
@pytest.mark.parametrize("keep", list(Keep))
def test_hard_values_come_back_bit_for_bit(database: Any, layout: str, keep: Keep) -> None:
    """Over either transport, in every layout, before and behind `finish`; small batches and large."""
    spec = spec_of(layout=layout, exact_vectors=keep)
    records = odd_records(spec)
    sink = written(database, spec, records)
    expected = arrow.to_records(sink.expect(arrow.from_records(spec, records)), spec)
    assert_same(expected, read_all(database.source(spec.name)))
    if keep is Keep.BITS:
        assert_same(records, expected, kinds=False)
    sink.finish()
    assert_same(expected, read_all(database.source(spec.name)))


def test_values_survive_a_restart(start_qdrant: Callable[..., QdrantServer]) -> None:
    """Floats too: the server reads its stored JSON anew, and its reader is not exact."""
    server = start_qdrant()
    spec = spec_of()
    with closing(open_database(server.url)) as database:
        sink = written(database, spec, odd_records(spec))
        expected = arrow.to_records(sink.expect(arrow.from_records(spec, odd_records(spec))), spec)
        sink.finish()
    server.kill()
    server.start()
    with closing(open_database(server.url)) as database:
        assert_same(expected, read_all(database.source(spec.name)))


@pytest.mark.parametrize("element", [Element.FLOAT16, Element.UINT8, Element.INT8])
@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.L2])
def test_every_element_as_expected(database: Any, element: Element, metric: Metric) -> None:
    """float16 and uint8 storage, and int8 that travels as float32."""
    spec = spec_of(VectorSpec(dim=DIM, element=element, metric=metric))
    numbers = np.random.default_rng(1)
    records = [
        Record(id=f"{n}", vectors={"": (numbers.uniform(0, 100, DIM)).astype(element.value)}, metadata={})
        for n in range(50)
    ]
    sink = written(database, spec, records)
    assert_same(
        arrow.to_records(sink.expect(arrow.from_records(spec, records)), spec), read_all(database.source(spec.name))
    )


def test_a_multi_vector_that_looks_like_integers(database: Any) -> None:
    """Two rows of whole numbers: Qdrant 1.16 takes their JSON for a sparse vector unless points are printed."""
    spec = spec_of(VectorSpec(name="rows", dim=2, kind=VectorKind.MULTI, metric=Metric.L2))
    rows = np.array([[1, 2], [3, 4]], np.float32)
    records = [
        Record(id="a", vectors={"rows": rows}, metadata={}),
        Record(id="b", vectors={"rows": rows[:0]}, metadata={}),
    ]
    written(database, spec, records)
    assert_same(records, read_all(database.source(spec.name)), kinds=False)


def test_both_transports_store_the_same(client: QdrantClient, qdrant_server: QdrantServer) -> None:
    """The vendor's client sees the same points, whichever way they came."""
    spec = spec_of()
    seen = []
    for transport in ("grpc", "rest"):
        with closing(open_database(f"{qdrant_server.url}&transport={transport}")) as database:
            database.drop(spec.name)
            written(database, spec, many(spec, 200))
        points, _ = client.scroll(spec.name, limit=1000, with_vectors=True)
        seen.append([point.model_dump() for point in points])
    assert seen[0] == seen[1]


# --------------------------------------------------------------------------- filters


VALUES: list[Any] = [
    "a", "b", "1", "true", "", 1, 2, 0, -1, 1.0, 1.5, 2.0, 0.0, True, False, None, ["a"], ["a", "b"], [1], [1, 2],
    [1.5], [True], [], [None], [None, "a"], [["a"]], [["a"], "b"], [1, "a", True], {"x": 1}, {}, 2**53 + 1, 2**53,
    2**62 + 1, 1e300, 0.1 + 0.2, 0.3, 1 / 3, [1 / 3], 1e16, 10**16,
]  # fmt: skip
NAMES = ["k", "a.b", "a[0]", "ä", "two words", "0", "a/b", "document", "uri"]


def random_filter(chance: random.Random, depth: int = 0) -> Filter:
    key = chance.choice(NAMES)
    value = chance.choice([v for v in VALUES if isinstance(v, str | int | float)])
    kinds: list[Callable[[], Filter]] = [
        lambda: Compare(key, Op.EQ, value),
        lambda: Compare(key, chance.choice([Op.GT, Op.GTE, Op.LT, Op.LTE]), chance.choice([0, 1, 1.5, -1, 2.0, 0.3])),
        lambda: OneOf(key, (value, "a", 1)),
        lambda: Contains(key, chance.choice(["a", "b", 1, 2, 1.5, True])),
        lambda: Exists(key),
    ]
    if depth < 2:
        kinds += [
            lambda: Not(random_filter(chance, depth + 1)),
            lambda: And(tuple(random_filter(chance, depth + 1) for _ in range(chance.randrange(3)))),
            lambda: Or(tuple(random_filter(chance, depth + 1) for _ in range(chance.randrange(3)))),
        ]
    return chance.choice(kinds)()


@pytest.mark.parametrize("layout", ["plain", "flat"])
@pytest.mark.parametrize("index", [None, IndexKind.KEYWORD, IndexKind.FLOAT, IndexKind.BOOL, IndexKind.INTEGER])
def test_filters_are_exact_or_refused(grpc_database: Any, layout: str, index: IndexKind | None) -> None:
    """Random filters over values of every type, lists too, against the reference evaluator, with and without index."""
    chance = random.Random(7)
    spec = spec_of(layout=layout)
    if index is not None:
        spec = replace(spec, indexes=tuple(FieldIndex(key=name, kind=index) for name in NAMES[:4]))
    records = [
        Record(
            id=f"f{n}",
            vectors={"": np.ones(DIM, np.float32)},
            metadata={key: chance.choice(VALUES) for key in NAMES if chance.random() < 0.6},
        )
        for n in range(300)
    ]
    written(grpc_database, spec, records).finish()
    source = grpc_database.source(spec.name)
    filters = (random_filter(chance) for _ in range(250))
    rows = [record.metadata for record in records]
    assert answered(source, filters, rows) >= (100 if index is IndexKind.INTEGER else 200)


def test_a_key_that_cannot_be_addressed_is_refused(grpc_database: Any) -> None:
    """Qdrant's paths know no quotes, backslashes and empty names."""
    spec = spec_of()
    written(grpc_database, spec, many(spec, 1))
    for key in ("", 'a"b', "a\\b"):
        with pytest.raises(Unsupported) as caught:
            grpc_database.source(spec.name).count_where(Exists(key))
        assert caught.value.hint


# --------------------------------------------------------------------------- prepare and finish


def threshold(client: QdrantClient, spec: CollectionSpec) -> int | None:
    return client.get_collection(spec.name).config.optimizer_config.indexing_threshold


def test_indexing_is_deferred_and_restored_by_another_process(
    client: QdrantClient, qdrant_server: QdrantServer, grpc_database: Any
) -> None:
    """What `finish` must restore stands in the collection: a run that was killed is finished by the next."""
    spec = replace(
        spec_of(VectorSpec(dim=64)),
        config={"optimizers_config": {"indexing_threshold": 100}, "hnsw_config": {"m": 8}},
        indexes=(
            FieldIndex(key="name", kind=IndexKind.KEYWORD, tenant=True),
            FieldIndex(key="a.b", kind=IndexKind.INTEGER),
        ),
    )
    written(grpc_database, spec, many(spec, 3_000))
    assert threshold(client, spec) == 0
    assert client.get_collection(spec.name).indexed_vectors_count == 0
    with closing(open_database(qdrant_server.url)) as second:
        sink = second.sink(spec)
        sink.prepare(spec)
        assert threshold(client, spec) == 0
        sink.finish()
        assert sink.indexed() >= 2_500
        sink.finish()
    info = client.get_collection(spec.name)
    assert threshold(client, spec) == 100
    assert info.status == models.CollectionStatus.GREEN
    assert info.config.hnsw_config.m == 8
    assert set(info.payload_schema) == {"metadata.name", 'metadata."a.b"', "_vf.id", "_vf.seq"}
    assert info.payload_schema["metadata.name"].params.is_tenant
    assert "vecferry_load" not in info.config.metadata
    described = grpc_database.source(spec.name).describe()
    assert sorted(described.indexes, key=str) == sorted(spec.indexes, key=str)


def test_a_finished_collection_is_deferred_again_by_a_new_load(client: QdrantClient, grpc_database: Any) -> None:
    """Appending defers once more, and restores the server's own default."""
    spec = spec_of()
    sink = written(grpc_database, spec, many(spec, 10))
    sink.finish()
    before = threshold(client, spec)
    sink.prepare(spec)
    assert threshold(client, spec) == 0
    sink.finish()
    assert threshold(client, spec) == before
    assert before


def test_the_settings_of_a_plan_are_made(client: QdrantClient, grpc_database: Any) -> None:
    """Every setting that `spec.config` may hold arrives, and `describe` gives it back; an unknown one is refused."""
    spec = replace(
        spec_of(exact_vectors=Keep.BITS),
        metadata={"about": "boats"},
        config={
            "on_disk": True,
            "hnsw_config": {"m": 24, "ef_construct": 120, "on_disk": True},
            "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
            "shard_number": 2,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": False,
        },
    )
    written(grpc_database, spec, many(spec, 3))
    config = client.get_collection(spec.name).config
    assert config.params.vectors[""].on_disk
    assert config.params.vectors["_vf"].hnsw_config.m == 0
    assert (config.params.shard_number, config.params.on_disk_payload, config.hnsw_config.m) == (2, False, 24)
    assert config.quantization_config.scalar.always_ram
    found = grpc_database.source(spec.name).describe()
    assert found.metadata == {"about": "boats"}
    assert found.config["hnsw_config"]["ef_construct"] == 120
    assert found.config["vectors"][""]["on_disk"]
    odd = replace(spec_of(), config={"hnsw": {}})
    with pytest.raises(ConfigError, match="hnsw"):
        grpc_database.sink(odd).prepare(odd)


@pytest.mark.parametrize(
    "change",
    [{"layout": "flat"}, {"tenant": "other"}, {"exact_vectors": Keep.BITS}],
    ids=lambda change: next(iter(change)),
)
def test_a_card_that_differs_is_a_conflict(grpc_database: Any, change: dict[str, Any]) -> None:
    """Records of two layouts or id rules in one collection could not be read back; nothing is written."""
    spec = spec_of()
    written(grpc_database, spec, many(spec, 3))
    assert spec.card is not None
    other = replace(spec, card=replace(spec.card, **change))
    with pytest.raises(Conflict) as caught:
        grpc_database.sink(other).prepare(other)
    assert spec.name in caught.value.message


def test_a_second_load_widens_the_profile(grpc_database: Any) -> None:
    """Filters rely on the card's key types: those of both loads count."""
    spec = spec_of(key_types={"a": {"int": 3}})
    written(grpc_database, spec, many(spec, 3))
    assert spec.card is not None
    other = replace(spec, card=replace(spec.card, run="second", key_types={"a": {"str": 1}, "b": {"list[str]": 2}}))
    grpc_database.sink(other).prepare(other)
    card = grpc_database.source(spec.name).describe().card
    assert card.key_types == {"a": {"int": 3, "str": 1}, "b": {"list[str]": 2}}


# --------------------------------------------------------------------------- limits of the server


def test_requests_are_cut_to_what_the_server_takes(start_qdrant: Callable[..., QdrantServer]) -> None:
    """Strict mode's batch size, and a body limit that nobody told us: the same batch arrives, in more requests."""
    server = start_qdrant(settings={"QDRANT__SERVICE__MAX_REQUEST_SIZE_MB": "1"})
    for transport in ("grpc", "rest"):
        spec = replace(spec_of(), config={"strict_mode_config": {"enabled": True, "upsert_max_batchsize": 70}})
        with closing(open_database(f"{server.url}&transport={transport}")) as database:
            records = [replace(record, document="x" * 20_000) for record in many(spec, 200)]
            sink = written(database, spec, records)
            expected = arrow.to_records(sink.expect(arrow.from_records(spec, records)), spec)
            assert_same(expected, read_all(database.source(spec.name)))
            if transport == "rest":
                with pytest.raises(DataError) as caught:
                    sink.write(arrow.from_records(spec, [replace(records[0], document="x" * 2_000_000)]))
                assert caught.value.ids


def test_rate_limits_are_throttling(database: Any) -> None:
    """A refusal for speed is retryable and says so."""
    spec = replace(spec_of(), config={"strict_mode_config": {"enabled": True, "write_rate_limit": 2}})
    sink = database.sink(spec)
    sink.prepare(spec)
    batch = arrow.from_records(spec, many(spec, 10))

    def write_often() -> None:
        for _ in range(10):
            sink.write(batch)

    with pytest.raises(Throttled) as caught:
        write_often()
    assert caught.value.retryable


# --------------------------------------------------------------------------- reading


def test_partitions_of_many_ids_share_the_work(grpc_database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers and UUIDs together: the ranges cover everything, and none holds nearly all."""
    monkeypatch.setattr("vecferry.connectors.qdrant.source._PARTITION_ROWS", 500)
    spec = spec_of(kind=IdKind.MIXED)
    records = [
        replace(record, id=str(n * 7) if n % 2 else f"text {n}", id_kind=IdKind.INT if n % 2 else IdKind.TEXT)
        for n, record in enumerate(many(spec, 3_000))
    ]
    sink = written(grpc_database, spec, records)
    source = grpc_database.source(spec.name)
    partitions = list(source.partitions())
    sizes = [sum(chunk.batch.num_rows for chunk in source.read(partition)) for partition in partitions]
    assert sum(sizes) == 3_000
    assert len(partitions) >= 6
    assert max(sizes) < 800
    expected = arrow.to_records(sink.expect(arrow.from_records(spec, records)), spec)
    assert_same(expected, read_all(source))


def test_unsigned_integers_of_others_are_exact(client: QdrantClient, database: Any) -> None:
    """gRPC says them as floats; such records are looked up over REST."""
    name = f"it-{uuid4()}"
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    payloads = [{"u": 2**64 - 1, "k": [2**63]}, {"u": 1.8446744073709552e19}, {"u": 2**63 - 1}]
    client.upsert(name, [models.PointStruct(id=n, vector=[1, 2], payload=p) for n, p in enumerate(payloads)], wait=True)
    found = [record.metadata for record in read_all(database.source(name))]
    assert repr(found) == repr([{"k": [2**63], "u": 2**64 - 1}, {"u": 1.8446744073709552e19}, {"u": 2**63 - 1}])


def test_an_alias_is_a_way_in(client: QdrantClient, grpc_database: Any) -> None:
    """Applications name collections by alias; so may a migration."""
    spec = spec_of()
    written(grpc_database, spec, many(spec, 5))
    alias = f"alias-{uuid4()}"
    action = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=spec.name, alias_name=alias))
    client.update_collection_aliases([action])
    assert grpc_database.source(alias).count() == 5


# --------------------------------------------------------------------------- LangChain


class Letters(Embeddings):
    """Counts letters: an embedding that needs no model."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [float(text.count(letter)) + 0.1 for letter in "abcdefgh"]


@pytest.mark.parametrize("keep", list(Keep))
def test_langchain_reads_what_we_wrote(client: QdrantClient, grpc_database: Any, keep: Keep) -> None:
    """The framework's own class opens the collection, validates it, searches and filters; with kept bits beside too."""
    texts = {"one": "aaaa bb", "two": "cccc dd", "three": "eeee ff"}
    spec = spec_of(layout="langchain", exact_vectors=keep)
    records = [
        Record(
            id=key,
            vectors={"": np.array(Letters().embed_query(text), np.float32)},
            document=text,
            metadata={"source": key, "n": n},
        )
        for n, (key, text) in enumerate(texts.items())
    ]
    records.append(Record(id="bare", vectors={"": np.full(DIM, 0.5, np.float32)}))
    written(grpc_database, spec, records).finish()
    store = QdrantVectorStore(client=client, collection_name=spec.name, embedding=Letters())
    found = store.similarity_search("cccc dd", k=1)[0]
    assert found.page_content == texts["two"]
    assert {key: found.metadata[key] for key in ("source", "n")} == {"source": "two", "n": 1}
    only = models.Filter(must=[models.FieldCondition(key="metadata.source", match=models.MatchValue(value="three"))])
    assert [document.page_content for document in store.similarity_search("a", k=5, filter=only)] == [texts["three"]]
    assert {document.page_content for document in store.similarity_search("a", k=9)} == {*texts.values(), ""}


def test_we_read_what_langchain_wrote(client: QdrantClient, database: Any) -> None:
    """Its payload becomes document and metadata."""
    name = f"it-{uuid4()}"
    client.create_collection(name, vectors_config=models.VectorParams(size=DIM, distance=models.Distance.EUCLID))
    store = QdrantVectorStore(client=client, collection_name=name, embedding=Letters(), distance=models.Distance.EUCLID)
    store.add_texts(["abc", "def"], metadatas=[{"n": 1}, {}])
    records = read_all(database.source(name))
    assert {record.document: record.metadata for record in records} == {"abc": {"n": 1}, "def": {}}
    assert database.source(name).count_where(Compare("n", Op.EQ, 1)) == 1
