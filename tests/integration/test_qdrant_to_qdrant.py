"""From one Qdrant to another: what somebody made of a collection is there again, and what a plan changes is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.integration.qdrant_rich import INDEXES, POINTS, rich
from vecferry.errors import ConfigError, LossRefused
from vecferry.migration import Migration, migrate
from vecferry.migration.settings import Settings
from vecferry.model import IndexKind
from vecferry.planning.model import Policy
from vecferry.planning.options import PlanOptions
from vecferry.testing.servers import QdrantServer


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    """The target: a server of its own."""
    from vecferry.testing.servers import start_qdrant

    with start_qdrant() as server:
        yield server


@pytest.fixture
def origin(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False, timeout=60)) as client:
        yield client


@pytest.fixture
def target(other: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=other.http_url, check_compatibility=False, timeout=60)) as client:
        yield client


@pytest.fixture
def move(qdrant_server: QdrantServer, other: QdrantServer, tmp_path: Path) -> Callable[..., Migration]:
    """Moves one collection between the two servers, verified; keywords are `PlanOptions`."""

    def moved(name: str, **wishes: Any) -> Migration:
        settings = Settings(
            plan=PlanOptions(collections=(name,), **wishes), ledger=str(tmp_path / "ledger.db"), reports=None
        )
        return migrate(qdrant_server.url, other.url, settings=settings)

    return moved


def points(client: QdrantClient, name: str) -> list[dict[str, Any]]:
    """Every point as the vendor's client tells it, without what vecferry added."""
    found, offset = [], None
    while True:
        page, offset = client.scroll(name, limit=100, offset=offset, with_payload=True, with_vectors=True)
        found += [one.model_dump() for one in page]
        if offset is None:
            return [{**one, "payload": {k: v for k, v in one["payload"].items() if k != "_vf"}} for one in found]


def settings(client: QdrantClient, name: str) -> dict[str, Any]:
    """What a collection is told to be, without what vecferry added."""
    config: dict[str, Any] = client.get_collection(name).config.model_dump()
    config["metadata"] = {k: v for k, v in (config["metadata"] or {}).items() if k != "vecferry"}
    return config


def schema(client: QdrantClient, name: str) -> dict[str, Any]:
    """Path -> (type, settings) of its payload indexes, without those of vecferry's envelope."""
    found = client.get_collection(name).payload_schema
    return {
        path.replace('"', ""): (
            one.data_type,
            one.params.model_dump(exclude_none=True, exclude={"type"}) if one.params else {},
        )
        for path, one in found.items()
        if not path.startswith("_vf.")
    }


def test_everything_is_there_again(origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration]) -> None:
    """Points bit for bit, vectors of every kind, every setting, every payload index with its own, the alias."""
    name = rich(origin)
    alias = f"app-{uuid4()}"
    rename(origin, alias, name)
    done = move(name)
    assert done.differences == 0
    assert done.plan.collections[0].cells == () or all(cell.policy is None for cell in done.plan.collections[0].cells)
    assert points(target, name) == points(origin, name)
    assert settings(target, name) == settings(origin, name)
    assert schema(target, name) == schema(origin, name)
    assert len(schema(target, name)) == len(INDEXES)
    assert target.count(alias).count == POINTS


def rename(client: QdrantClient, alias: str, name: str) -> None:
    action = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))
    client.update_collection_aliases([action])


def test_a_second_hop_changes_nothing_more(
    origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration], other: QdrantServer, tmp_path: Path
) -> None:
    """What vecferry wrote travels on like what somebody else wrote."""
    name = rich(origin)
    move(name)
    again = Settings(
        plan=PlanOptions(collections=(f"{name}={name}-2",)), ledger=str(tmp_path / "second.db"), reports=None
    )
    assert migrate(other.url, other.url, settings=again).differences == 0
    assert points(target, f"{name}-2") == points(origin, name)
    assert settings(target, f"{name}-2") == settings(origin, name)
    assert schema(target, f"{name}-2") == schema(origin, name)


def test_an_alias_names_its_collection(
    origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration]
) -> None:
    """People know the alias that their app uses: it may be moved by that name, and get another on the way."""
    name = small(origin)
    alias = f"app-{uuid4()}"
    rename(origin, alias, name)
    done = move(f"{alias}={name}-moved")
    assert [collection.source for collection in done.plan.collections] == [name]
    assert target.count(f"{name}-moved").count == 3
    assert target.count(alias).count == 3


def test_an_alias_in_use_stays(
    origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration], caplog: pytest.LogCaptureFixture
) -> None:
    """Where an app goes is switched by its people, never by a copy."""
    name, taken = small(origin), small(target)
    alias = f"app-{uuid4()}"
    rename(origin, alias, name)
    rename(target, alias, taken)
    move(name)
    assert {a.alias_name: a.collection_name for a in target.get_aliases().aliases}[alias] == taken
    assert alias in caplog.text


def small(client: QdrantClient, **options: Any) -> str:
    name = f"small-{uuid4()}"
    client.create_collection(
        name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT, on_disk=False), **options
    )
    vectors = [[0.1, 0.2, 0.3, 0.4], [1 / 3, 2, -3, 4], [1e-9, 5, 6, 7]]
    rows = [models.PointStruct(id=n, vector=vector, payload={"n": n}) for n, vector in enumerate(vectors)]
    client.upsert(name, rows, wait=True)
    return name


WISHES: dict[str, tuple[Mapping[str, Any], Callable[[Any], Any], Any]] = {
    "scalar": ({"quantization": "scalar"}, lambda c: c.quantization_config.scalar.type, models.ScalarType.INT8),
    "binary": ({"quantization": "binary"}, lambda c: c.quantization_config.binary is not None, True),
    "product": ({"quantization": "product"}, lambda c: c.quantization_config.product.compression.value, "x16"),
    "none": ({"quantization": "none"}, lambda c: c.quantization_config, None),
    "on disk": ({"on_disk": True}, lambda c: c.params.vectors.on_disk, True),
    "m": ({"m": 0, "payload_m": 24}, lambda c: (c.hnsw_config.m, c.hnsw_config.payload_m), (0, 24)),
    "own": ({"hnsw_config": {"m": 40}}, lambda c: c.hnsw_config.m, 40),
    "shards": ({"shard_number": 3}, lambda c: c.params.shard_number, 3),
}


@pytest.mark.parametrize("wish", WISHES)
def test_a_setting_changes_on_the_way(
    origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration], wish: str
) -> None:
    """Short names and Qdrant's own; records are the same."""
    given, look, wanted = WISHES[wish]
    scalar = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
    name = small(origin, quantization_config=scalar)
    assert move(name, target_config=given).differences == 0
    assert look(target.get_collection(name).config) == wanted
    assert points(target, name) == points(origin, name)


@pytest.mark.parametrize(
    "given",
    [
        {"quantisation": "scalar"},
        {"quantization": "tiny"},
        {"m": "16"},
        {"on_disk": 1},
        {"datatype": "float64"},
        {"datatype": {"other": "float16"}},
        {"hnsw_config": {"mm": 3}},
        {"aliases": "app"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_before_anything_is_written(
    origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration], given: Mapping[str, Any]
) -> None:
    """Qdrant itself would ignore most of them without a word."""
    name = small(origin)
    with pytest.raises(ConfigError) as caught:
        move(name, target_config=given)
    assert caught.value.hint
    assert not target.collection_exists(name)


def test_a_narrower_number_type_is_a_loss_that_is_named(
    origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration]
) -> None:
    """float16 halves the memory and rounds every number: done when it is accepted, and then verified as rounded."""
    name = small(origin)
    with pytest.raises(LossRefused, match="float16"):
        move(name, target_config={"datatype": "float16"})
    assert not target.collection_exists(name)
    done = move(name, target_config={"datatype": "float16"}, policies={"vector": Policy.CONVERT})
    assert done.differences == 0
    params = target.get_collection(name).config.params.vectors
    assert isinstance(params, models.VectorParams)
    assert params.datatype is models.Datatype.FLOAT16
    found = np.array([one["vector"] for one in points(target, name)], np.float32)
    wanted = np.array([one["vector"] for one in points(origin, name)], np.float32).astype(np.float16)
    assert (found == wanted.astype(np.float32)).all()


STRICT: dict[str, dict[str, Any]] = {
    "no-exact-search": {"search_allow_exact": False},
    "no-unindexed-filter": {"unindexed_filtering_retrieve": False, "unindexed_filtering_update": False},
    "few-at-once": {"max_query_limit": 5, "upsert_max_batchsize": 7, "filter_max_conditions": 1},
    "rates": {"read_rate_limit": 600, "write_rate_limit": 600},
}


def test_a_strict_collection_is_moved_and_verified(
    start_qdrant: Callable[..., QdrantServer], target: QdrantClient, other: QdrantServer, tmp_path: Path
) -> None:
    """Whatever its owner forbids: it is counted, read in small pages, and compared by other means."""
    server = start_qdrant()
    with closing(QdrantClient(url=server.http_url, check_compatibility=False, timeout=60)) as client:
        for name, rules in STRICT.items():
            strict = models.StrictModeConfig(enabled=True, **rules)
            client.create_collection(
                name,
                vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE),
                strict_mode_config=strict,
            )
            for start in range(0, 40, 5):
                rows = [
                    models.PointStruct(id=n, vector=[1.0, n, 2.0, -n], payload={"n": n % 4, "city": f"c{n % 3}"})
                    for n in range(start, start + 5)
                ]
                client.upsert(name, rows, wait=True)
        done = migrate(server.url, other.url, settings=Settings(ledger=str(tmp_path / "ledger.db"), reports=None))
        assert (done.records, done.differences) == (40 * len(STRICT), 0)
        for name in STRICT:
            assert settings(target, name)["strict_mode_config"] == settings(client, name)["strict_mode_config"]


def test_indexes_may_be_left_out_or_named(
    origin: QdrantClient, target: QdrantClient, move: Callable[..., Migration]
) -> None:
    """`--index` says which ones there will be, instead of those that the collection brings along."""
    name = rich(origin)
    move(f"{name}={name}-none", indexes="none")
    assert schema(target, f"{name}-none") == {}
    done = move(f"{name}={name}-one", indexes=("where:geo",))
    assert schema(target, f"{name}-one") == {"where": (models.PayloadSchemaType.GEO, {})}
    assert [index.kind for index in done.plan.collections[0].target.indexes] == [IndexKind.GEO]
