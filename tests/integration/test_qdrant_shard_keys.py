"""Custom sharding: which shard a record stands in is told with it, wherever it goes, and it goes there again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from vecferry import arrow
from vecferry.errors import ConfigError, IdCollision, Unsupported
from vecferry.filters import Compare, Exists, Op
from vecferry.migration import Migration, migrate, repair, verify
from vecferry.migration.settings import Settings
from vecferry.model import CollectionSpec, IdKind, Metric, Record, VectorSpec
from vecferry.planning.model import IfExists
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.servers import QdrantServer, start_qdrant

KEYS: list[str | int] = [7, "eu", "us"]
KEY = "_vf_shard_key"


@pytest.fixture(scope="module")
def cluster() -> Iterator[QdrantServer]:
    """A cluster of one node."""
    with start_qdrant(cluster=True) as server:
        yield server


@pytest.fixture
def client(cluster: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=cluster.http_url, check_compatibility=False, timeout=60)) as client:
        yield client


@pytest.fixture
def move(tmp_path: Path) -> Callable[..., Migration]:
    def moved(source: str, target: str, name: str, **wishes: Any) -> Migration:
        plan = PlanOptions(collections=(name,), **wishes)
        return migrate(
            source, target, settings=Settings(plan=plan, ledger=str(tmp_path / f"{uuid4()}.db"), reports=None)
        )

    return moved


def sharded(client: QdrantClient, *, count: int = 60) -> str:
    """Records in three shards, one of which has a number for a key."""
    name = f"sharded-{uuid4()}"
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT),
        sharding_method=models.ShardingMethod.CUSTOM,
    )
    numbers = np.random.default_rng(1)
    for place, key in enumerate(KEYS):
        client.create_shard_key(name, key)
        points = [
            models.PointStruct(id=n, vector=numbers.standard_normal(4).tolist(), payload={"n": n} if n % 5 else None)
            for n in range(place, count, len(KEYS))
        ]
        client.upsert(name, points, shard_key_selector=key, wait=True)
    return name


def placed(server: QdrantServer, name: str) -> dict[int, Any]:
    """Point id -> (shard key, payload without our envelope, vector), as the server tells them."""
    body = {"limit": 1000, "with_payload": True, "with_vector": True}
    answer = httpx.post(f"{server.http_url}/collections/{name}/points/scroll", json=body, timeout=30).json()
    return {
        point["id"]: (
            point["shard_key"],
            {key: value for key, value in (point["payload"] or {}).items() if key != "_vf"},
            point["vector"],
        )
        for point in answer["result"]["points"]
    }


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_every_shard_is_read_and_written(
    client: QdrantClient, cluster: QdrantServer, move: Callable[..., Migration], transport: str
) -> None:
    """From a cluster to a cluster: each point in the shard that it stood in, with the payload that it had."""
    name, url = sharded(client), f"{cluster.url}&transport={transport}"
    done = move(url, url, f"{name}={name}-copy")
    assert (done.records, done.differences) == (60, 0)
    assert placed(cluster, f"{name}-copy") == placed(cluster, name)
    assert {key for key, _, _ in placed(cluster, name).values()} == set(KEYS)


def test_the_key_travels_and_comes_home(
    client: QdrantClient, cluster: QdrantServer, qdrant_server: QdrantServer, move: Callable[..., Migration]
) -> None:
    """A server that is no cluster has no shards of one's own: refused in words, or the key stays in the metadata."""
    name = sharded(client)
    with pytest.raises(ConfigError, match="no cluster") as caught:
        move(cluster.url, qdrant_server.url, name)
    assert "sharding_method" in caught.value.hint
    away = move(cluster.url, qdrant_server.url, name, target_config={"sharding_method": "auto"})
    assert away.differences == 0
    with closing(open_database(qdrant_server.url)) as there:
        found = there.source(name)
        assert found.count_where(Compare(KEY, Op.EQ, "eu")) == 20
        assert found.count_where(Compare(KEY, Op.EQ, 7)) == 20
    custom = {"sharding_method": "custom", "shard_keys": KEYS}
    assert move(qdrant_server.url, cluster.url, f"{name}={name}-home", target_config=custom).differences == 0
    assert placed(cluster, f"{name}-home") == placed(cluster, name)


def test_records_are_fetched_deleted_and_refused_by_shard(client: QdrantClient, cluster: QdrantServer) -> None:
    """A record without a shard key, or with one that is not there, has no place."""
    name = sharded(client)
    with closing(open_database(cluster.url)) as database:
        source = database.source(name)
        assert source.describe().config["shard_keys"] == KEYS
        assert source.fetch([str(n) for n in range(10)]).num_rows == 10
        assert source.existing(["1", "2", "999"]) == {"1", "2"}
        assert source.count_where(Compare("n", Op.LT, 10)) == 8
        for unknown in (Exists(KEY), Compare(KEY, Op.EQ, "eu")):
            with pytest.raises(Unsupported):
                source.count_where(unknown)
        spec = source.describe()
        sink = database.sink(spec)
        sink.prepare(spec)
        odd = [
            Record(id=str(1_000 + n), vectors={"": np.ones(4, np.float32)}, metadata=metadata)
            for n, metadata in enumerate([{KEY: "eu"}, {KEY: "mars"}, {KEY: True}, {"a": 1}, None])
        ]
        receipt = sink.write(arrow.from_records(spec, odd))
        assert (receipt.rows, [one.id for one in receipt.rejected]) == (1, ["1001", "1002", "1003", "1004"])
        sink.delete(["0", "1", "2", "1000"])
        sink.finish()
        assert database.source(name).count() == 57


def test_an_id_in_two_shards_is_a_collision(
    client: QdrantClient, cluster: QdrantServer, move: Callable[..., Migration]
) -> None:
    """Qdrant lets an id stand in several shards, and shows one of them: a copy would lose the others."""
    name = sharded(client)
    client.upsert(name, [models.PointStruct(id=0, vector=[1] * 4)], shard_key_selector="us", wait=True)
    with closing(open_database(cluster.url)) as database:
        assert database.source(name).count() == 61
        assert database.source(name).fetch(["0"]).num_rows == 2
    with pytest.raises(IdCollision):
        move(cluster.url, cluster.url, f"{name}={name}-copy")
    assert not client.collection_exists(f"{name}-copy")


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_record_that_moved_to_another_shard_leaves_the_one_it_was_in(
    client: QdrantClient, cluster: QdrantServer, move: Callable[..., Migration], transport: str
) -> None:
    """Between two synchronisations its shard key changed: the server would keep both, and show both."""
    name, url = sharded(client), f"{cluster.url}&transport={transport}"
    move(url, url, f"{name}={name}-copy")
    client.delete(name, [0, 7], shard_key_selector=7, wait=True)
    client.delete(name, [0, 7], shard_key_selector="eu", wait=True)
    moved = [models.PointStruct(id=n, vector=[1, 2, 3, 4], payload={"n": n}) for n in (0, 7)]
    client.upsert(name, moved, shard_key_selector="us", wait=True)
    done = move(url, url, f"{name}={name}-copy", if_exists=IfExists.SYNC)
    assert ([one.changed for one in done.drifts], done.differences) == ([2], 0)
    assert client.count(f"{name}-copy", exact=True).count == 60
    assert placed(cluster, f"{name}-copy") == placed(cluster, name)


@pytest.mark.parametrize("stale", ["eu", "us"])
def test_one_that_was_left_in_two_shards_is_mended(
    client: QdrantClient, cluster: QdrantServer, move: Callable[..., Migration], stale: str
) -> None:
    """By a process that died between the two, or an earlier version: whichever of the two a scan shows first."""
    name = sharded(client)
    move(cluster.url, cluster.url, f"{name}={name}-copy")
    other = {"eu": 0, "us": 1}[stale]  # their own shards are 7 and "eu": one before, one behind
    point = models.PointStruct(id=other, vector=[9, 9, 9, 9], payload={"n": "stale"})
    client.upsert(f"{name}-copy", [point], shard_key_selector=stale, wait=True)
    named = [f"{name}={name}-copy"]
    assert verify(cluster.url, cluster.url, collections=named).verification.differences
    assert [one.rewritten for one in repair(cluster.url, cluster.url, collections=named).collections] == [1]
    assert client.count(f"{name}-copy", exact=True).count == 60
    assert placed(cluster, f"{name}-copy") == placed(cluster, name)
    client.upsert(f"{name}-copy", [point], shard_key_selector=stale, wait=True)
    assert move(cluster.url, cluster.url, named[0], if_exists=IfExists.SYNC).differences == 0
    assert placed(cluster, f"{name}-copy") == placed(cluster, name)


def test_a_number_and_the_text_of_it_are_two_records(client: QdrantClient, cluster: QdrantServer) -> None:
    """One that moves takes nothing along: in a collection of mixed ids the other one stays in its shard."""
    name = f"sharded-{uuid4()}"
    spec = CollectionSpec(
        name=name,
        id_kind=IdKind.MIXED,
        vectors=(VectorSpec(dim=4, metric=Metric.IP),),
        config={"sharding_method": "custom", "shard_keys": ["eu", "us"]},
    )
    with closing(open_database(cluster.url)) as database:
        sink = database.sink(spec)
        sink.prepare(spec)
        both = [
            Record(id="1", id_kind=kind, vectors={"": np.ones(4, np.float32)}, metadata={KEY: "eu"})
            for kind in (IdKind.INT, IdKind.TEXT)
        ]
        sink.write(arrow.from_records(spec, both))
        sink.write(arrow.from_records(spec, [replace(both[0], metadata={KEY: "us"})]))
        sink.finish()
        assert client.count(name, exact=True).count == 2
        assert sorted(record.metadata[KEY] for record in read_all(database.source(name))) == ["eu", "us"]


def test_a_snapshot_knows_the_shards(client: QdrantClient, cluster: QdrantServer, tmp_path: Path) -> None:
    """Of each record in it."""
    name = sharded(client)
    base = f"{cluster.http_url}/collections/{name}/snapshots"
    told = httpx.post(base, timeout=60).json()["result"]["name"]
    file = tmp_path / told
    file.write_bytes(httpx.get(f"{base}/{told}", timeout=60).content)
    with (
        closing(open_database(f"qdrant+snapshot:{file}?cache={tmp_path}")) as snapshot,
        closing(open_database(cluster.url)) as live,
    ):
        records = (sorted(read_all(one.source(name)), key=lambda r: int(r.id)) for one in (live, snapshot))
        assert_same(*records)
        assert snapshot.source(name).describe() == live.source(name).describe()
