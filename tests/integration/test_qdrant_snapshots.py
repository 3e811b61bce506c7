"""Snapshots that a real server made are read without it, and hold what the server holds."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.integration.qdrant_rich import rich
from vecferry.errors import CorruptData, NotFound, PlanChanged, Unsupported
from vecferry.filters import Compare, Op
from vecferry.migration import migrate
from vecferry.migration.settings import Settings
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.servers import QdrantServer


@pytest.fixture(autouse=True)
def _cache_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VECFERRY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False, timeout=60)) as client:
        yield client


def taken(server: QdrantServer, path: str, to: Path) -> Path:
    """Have the server make a snapshot, and fetch it under the server's name for it."""
    base = f"{server.http_url}{path}/snapshots"
    name = httpx.post(base, timeout=60).raise_for_status().json()["result"]["name"]
    file = to / name
    file.write_bytes(httpx.get(f"{base}/{name}", timeout=60).raise_for_status().content)
    return file


Make = Callable[[QdrantClient], str]


def plain(client: QdrantClient, **options: Any) -> str:
    """Ids of both kinds in several segments, of which some points were deleted and replaced again."""
    name = f"snap-{uuid4()}"
    numbers = np.random.default_rng(5)
    client.create_collection(
        name, vectors_config=models.VectorParams(size=16, distance=models.Distance.COSINE), **options
    )
    points = [
        models.PointStruct(
            id=n if n % 2 else f"00000000-0000-4000-8000-{n:012}",
            vector=numbers.standard_normal(16).tolist(),
            payload={"n": n, "deep": {"list": [1, None, {"a": "b"}]}},
        )
        for n in range(400)
    ]
    client.upsert(name, points, wait=True)
    client.delete(name, models.PointIdsList(points=[1, 3, "00000000-0000-4000-8000-000000000004"]), wait=True)
    client.upsert(name, [models.PointStruct(id=5, vector=[1.0] * 16, payload={"n": "replaced"})], wait=True)
    return name


def quantised(client: QdrantClient) -> str:
    scalar = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
    eager = models.OptimizersConfigDiff(indexing_threshold=5, default_segment_number=2)
    name = plain(client, quantization_config=scalar, optimizers_config=eager)
    while client.get_collection(name).status != models.CollectionStatus.GREEN:
        pass
    assert client.get_collection(name).indexed_vectors_count
    return name


def two_shards(client: QdrantClient) -> str:
    return plain(client, shard_number=2)


def empty(client: QdrantClient) -> str:
    name = f"snap-{uuid4()}"
    client.create_collection(name, vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
    return name


@pytest.mark.parametrize("make", [plain, quantised, two_shards, rich, empty])
def test_a_snapshot_holds_what_the_server_holds(
    client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path, make: Make
) -> None:
    """Records, settings, indexes; counts, filters and searches too."""
    name = make(client)
    file = taken(qdrant_server, f"/collections/{name}", tmp_path)
    with (
        closing(open_database(f"qdrant+snapshot:{file}")) as snapshot,
        closing(open_database(qdrant_server.url)) as server,
    ):
        found, wanted = snapshot.source(name), server.source(name)
        assert [spec.name for spec in snapshot.collections()] == [name]
        ours, theirs = found.describe(), wanted.describe()
        assert ours == theirs
        records = sorted(read_all(wanted), key=lambda record: record.id)
        assert_same(records, sorted(read_all(found), key=lambda record: record.id))
        if make is not plain:
            return
        assert found.count_where(Compare("n", Op.LT, 100)) == wanted.count_where(Compare("n", Op.LT, 100))
        queries = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
        pairs = zip(found.search(queries, k=5, exact=True), wanted.search(queries, k=5, exact=True), strict=True)
        assert all([hit.id for hit in one] == [hit.id for hit in other] for one, other in pairs)
        some = [record.id for record in records[:7]]
        assert found.existing([*some, "77777"]) == frozenset(some)
        assert found.fetch([*some, "77777"]).num_rows == 7


def test_from_a_snapshot_into_another_server(
    client: QdrantClient, qdrant_server: QdrantServer, start_qdrant: Callable[..., QdrantServer], tmp_path: Path
) -> None:
    """A whole migration, verified; nothing of what was unpacked is left."""
    name = two_shards(client)
    file = taken(qdrant_server, f"/collections/{name}", tmp_path)
    other = start_qdrant()
    settings = Settings(ledger=str(tmp_path / "ledger.db"), reports=None)
    done = migrate(f"qdrant+snapshot:{file}", other.url, settings=settings)
    assert (done.records, done.differences) == (397, 0)
    with closing(open_database(other.url)) as target, closing(open_database(qdrant_server.url)) as origin:
        assert_same(read_all(origin.source(name)), read_all(target.source(name)), kinds=False)
    assert list((tmp_path / "cache" / "open").iterdir()) == []


def test_a_storage_snapshot_holds_every_collection(start_qdrant: Callable[..., QdrantServer], tmp_path: Path) -> None:
    """With the aliases, which a collection's own snapshot does not have."""
    server = start_qdrant()
    with closing(QdrantClient(url=server.http_url, check_compatibility=False, timeout=60)) as client:
        names = sorted([plain(client), empty(client)])
        create = models.CreateAlias(collection_name=names[0], alias_name="app")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
        file = taken(server, "", tmp_path)
        with (
            closing(open_database(f"qdrant+snapshot:{file}")) as snapshot,
            closing(open_database(server.url)) as live,
        ):
            assert list(snapshot.collections()) == list(live.collections())


def test_the_snapshot_of_what_we_wrote_has_our_card(
    client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path
) -> None:
    """Text ids, lengths of cosine vectors, the source's order: all of it comes back from the file."""
    name, copy = plain(client), f"copy-{uuid4()}"
    settings = Settings(
        plan=PlanOptions(collections=(f"{name}={copy}",)), ledger=str(tmp_path / "ledger.db"), reports=None
    )
    migrate(qdrant_server.url, qdrant_server.url, settings=settings)
    file = taken(qdrant_server, f"/collections/{copy}", tmp_path)
    with (
        closing(open_database(f"qdrant+snapshot:{file}")) as snapshot,
        closing(open_database(qdrant_server.url)) as live,
    ):
        spec = snapshot.source(copy).describe()
        assert spec.card is not None
        assert spec == live.source(copy).describe()
        assert_same(read_all(live.source(copy)), read_all(snapshot.source(copy)))


# --------------------------------------------------------------------------- what is refused


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_part_of_a_collection_is_refused(client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path) -> None:
    """A node of a cluster has not every shard; the snapshot of a shard has no settings."""
    name = two_shards(client)
    with pytest.raises(Unsupported, match="single shard"):
        open_database(f"qdrant+snapshot:{taken(qdrant_server, f'/collections/{name}/shards/0', tmp_path)}")
    whole = taken(qdrant_server, f"/collections/{name}", tmp_path)
    part = tmp_path / "part.snapshot"
    with tarfile.open(whole) as tar, tarfile.open(part, "w") as out:
        for member in tar.getmembers():
            if not member.name.startswith("1/"):
                out.addfile(member, tar.extractfile(member))
    with pytest.raises(Unsupported, match="1 of the collection's 2 shards") as caught:
        open_database(f"qdrant+snapshot:{part}")
    assert caught.value.hint


def test_what_is_no_snapshot_is_refused(client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path) -> None:
    """A file that is not there, a text, another tar, a torn one, a hostile one."""
    (tmp_path / "notes.txt").write_text("hello")
    torn = tmp_path / "torn.snapshot"
    torn.write_bytes(taken(qdrant_server, f"/collections/{plain(client)}", tmp_path).read_bytes()[:150_000])
    config = json.dumps({"params": {"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 1}}).encode()
    inner = archive(tmp_path / "inner.tar", {"snapshot/files/../../../evil": b"x"}).read_bytes()
    for file in (
        tmp_path / "notes.txt",
        torn,
        archive(tmp_path / "other.tar", {"a": b"b"}),
        archive(tmp_path / "odd.tar", {"config.json": b"[]"}),
        archive(tmp_path / "out.tar", {"../config.json": b"{}"}),
        archive(tmp_path / "evil.tar", {"config.json": config, "0/segments/a.tar": inner}),
    ):
        with pytest.raises(CorruptData) as caught:
            open_database(f"qdrant+snapshot:{file}")
        assert caught.value.hint
    with pytest.raises(NotFound):
        open_database(f"qdrant+snapshot:{tmp_path / 'no.snapshot'}")
    assert not any((tmp_path / "cache" / "open").iterdir())


def test_a_snapshot_is_only_read_and_only_that_one(
    client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path
) -> None:
    """It takes no records; a run that began with one file does not go on with another."""
    name = plain(client)
    file = taken(qdrant_server, f"/collections/{name}", tmp_path)
    with closing(open_database(f"qdrant+snapshot:{file}")) as snapshot:
        first = snapshot.pin(tmp_path / "pin")
        assert snapshot.pin(tmp_path / "pin").identity == first.identity
        with pytest.raises(Unsupported):
            snapshot.sink(snapshot.source(name).describe())
    client.upsert(name, [models.PointStruct(id=999, vector=[1.0] * 16)], wait=True)
    taken(qdrant_server, f"/collections/{name}", tmp_path).replace(file)
    with closing(open_database(f"qdrant+snapshot:{file}")) as changed, pytest.raises(PlanChanged):
        changed.pin(tmp_path / "pin")
