"""Records with ids of one kind appended to somebody else's Qdrant collection with ids of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from vecferry import arrow
from vecferry.errors import Conflict
from vecferry.migration import Migration, migrate
from vecferry.migration.settings import Settings
from vecferry.model import CollectionSpec, IdKind, Metric, Record, VectorSpec
from vecferry.planning.model import IfExists
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.servers import QdrantServer

OWN: dict[str, list[int | str]] = {
    "int": [1, 2, 3],
    "uuid": ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"],
    "mixed": [1, "00000000-0000-4000-8000-000000000002"],
}
NEW = {
    IdKind.TEXT: ["chunk-1", "chunk-2", "5", "00000000-0000-4000-8000-00000000000a"],
    IdKind.INT: ["70", "71"],
    IdKind.UUID: ["00000000-0000-4000-8000-00000000000b"],
}


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False, timeout=60)) as client:
        yield client


def somebodys(client: QdrantClient, ids: list[int | str], **payload: Any) -> str:
    """A collection that an application writes and reads, without vecferry."""
    name = f"app-{uuid4()}"
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    points = [models.PointStruct(id=own, vector=[1, 2], payload={"city": "Kiel", **payload}) for own in ids]
    client.upsert(name, points, wait=True)
    return name


def records(kind: IdKind) -> list[Record]:
    return [
        Record(id=text, vectors={"": np.array([3, n], np.float32)}, document=f"text {n}", metadata={"city": "Bonn"})
        for n, text in enumerate(NEW[kind])
    ]


def source(kind: IdKind) -> str:
    """A store with a few records with ids of `kind`."""
    name = f"memory:{uuid4()}"
    spec = CollectionSpec(name="new", id_kind=kind, vectors=(VectorSpec(dim=2, metric=Metric.IP),))
    with closing(open_database(name)) as database:
        sink = database.sink(spec)
        sink.prepare(spec)
        sink.write(arrow.from_records(spec, records(kind)))
    return name


def append(origin: str, target: str, name: str, folder: Path, **wishes: Any) -> Migration:
    plan = PlanOptions(collections=(f"new={name}",), if_exists=IfExists.APPEND, **wishes)
    settings = Settings(plan=plan, ledger=str(folder / f"{uuid4()}.db"), reports=None, verify=None)
    return migrate(origin, target, settings=settings)


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("kind", NEW)
def test_ids_of_another_kind_join(
    client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path, own: str, kind: IdKind
) -> None:
    """The owner's points are as they were; ours come back under their own ids, and stand once however often written."""
    name = somebodys(client, OWN[own])
    before = client.retrieve(name, OWN[own], with_vectors=True)
    origin = source(kind)
    append(origin, qdrant_server.url, name, tmp_path)
    again = PlanOptions(collections=(f"new={name}",), if_exists=IfExists.SYNC)
    synced = Settings(plan=again, ledger=str(tmp_path / "again.db"), reports=None)
    assert migrate(origin, qdrant_server.url, settings=synced).records == len(NEW[kind])
    assert client.retrieve(name, OWN[own], with_vectors=True) == before
    with closing(open_database(qdrant_server.url)) as database:
        reader = database.source(name)
        found = {record.id: record for record in read_all(reader)}
        assert found.keys() == {*map(str, OWN[own]), *NEW[kind]}
        assert reader.fetch(list(found)).num_rows == len(found)
        assert reader.existing([*found, "nobody"]) == found.keys()
        for record in records(kind):
            assert found[record.id].document == record.document
            assert dict(found[record.id].metadata or {}) == {"city": "Bonn"}
    cities = client.facet(name, "city", exact=True).hits if index(client, name, "city") else []
    assert {hit.value: hit.count for hit in cities} == {"Kiel": len(OWN[own]), "Bonn": len(NEW[kind])}


def index(client: QdrantClient, name: str, path: str) -> bool:
    client.create_payload_index(name, path, models.PayloadSchemaType.KEYWORD, wait=True)
    return True


def test_the_owners_layout_is_kept(client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path) -> None:
    """What LangChain reads, it reads on; another layout only where that is asked for."""
    name = somebodys(client, [1, 2], page_content="a text", metadata={"city": "Kiel"})
    for one in (1, 2):
        client.delete_payload(name, ["city"], [one], wait=True)
    append(source(IdKind.TEXT), qdrant_server.url, name, tmp_path)
    found, _ = client.scroll(name, limit=100)
    assert len(found) == 2 + len(NEW[IdKind.TEXT])
    for point in found:
        payload = point.payload or {}
        assert payload.keys() - {"_vf"} == {"page_content", "metadata"}
        assert set(payload["metadata"]) == {"city"}


def test_what_does_not_fit_is_still_refused(client: QdrantClient, qdrant_server: QdrantServer, tmp_path: Path) -> None:
    """Another dimension is no matter of ids."""
    name = f"app-{uuid4()}"
    client.create_collection(name, vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
    client.upsert(name, [models.PointStruct(id=1, vector=[1, 2, 3])], wait=True)
    with pytest.raises(Conflict):
        append(source(IdKind.TEXT), qdrant_server.url, name, tmp_path)
    assert client.count(name).count == 1
