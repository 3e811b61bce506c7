"""Chroma Cloud as a store, against the double: its quotas shape reading and writing, and hard ones stop in the open."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from vecferry.arrow import from_records, to_records
from vecferry.connectors.chroma import cards
from vecferry.connectors.chroma.http.facts import CLOUD, CLOUD_HOLDS
from vecferry.connectors.chroma.http.failures import QuotaExceeded
from vecferry.errors import AuthFailed, ConfigError, DataError, Throttled, Unsupported
from vecferry.filters import And, Compare, Op, matches
from vecferry.limits import Shape
from vecferry.migration import migrate, repair
from vecferry.migration.settings import Settings
from vecferry.model import Card, CollectionSpec, Metric, Record, VectorSpec
from vecferry.planning.inspect import inspect
from vecferry.planning.losses import judge
from vecferry.planning.model import IfExists, Verdict
from vecferry.planning.options import PlanOptions
from vecferry.protocols import Database, FilterCountable, require
from vecferry.registry import open_database
from vecferry.testing.cloud_double import CloudDouble, start_cloud_double
from vecferry.testing.cloud_quotas import CloudQuotas
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.cases import collection, plain_records, shaped_records, target
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.proxy import Throttle
from vecferry.testing.servers import chroma_program
from vecferry.testing.skips import reason

if chroma_program() is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)

pytestmark = pytest.mark.chroma_server
SPEC = target(collection(CLOUD, VectorSpec(dim=8, metric=Metric.L2)))


@pytest.fixture(scope="module")
def running() -> Iterator[CloudDouble]:
    with start_cloud_double() as double:
        yield double


@pytest.fixture
def double(running: CloudDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudDouble]:
    """The double with its documented quotas and nothing in it."""
    monkeypatch.setenv("CHROMA_API_KEY", running.token)
    running.quotas = CloudQuotas()
    yield running
    monkeypatch.setenv("CHROMA_API_KEY", running.token)
    database = open_database(running.url)
    for spec in list(database.collections()):
        database.drop(spec.qualified_name)  # type: ignore[attr-defined]
    database.close()


@pytest.fixture
def cloud(double: CloudDouble) -> Iterator[Database]:
    database = open_database(double.url)
    yield database
    database.close()


def test_everything_within_its_quotas(double: CloudDouble, cloud: Database) -> None:
    """1,177 records and every shape: out and back, 300 at a time, never more requests at once than are allowed."""
    odd = [record for record in shaped_records(CLOUD, SPEC, sink=True) if len(record.document or "") < 16_000]
    many = [replace(record, id=f"many-{record.id}") for record in plain_records(SPEC, 1_177, seed=4)]
    sink = cloud.sink(SPEC)
    assert sink.prepare(SPEC).namespace == (double.tenant, double.database)
    assert sink.write(from_records(SPEC, [*odd, *many])).rejected == ()
    sink.finish()
    sink.close()
    source = cloud.source(SPEC.name)
    assert source.describe().card == SPEC.card
    assert_same([*odd, *many], read_all(source))
    wanted = Compare("group", Op.EQ, "g3")
    assert require(source, FilterCountable, operation="count", instead="").count_where(wanted) == sum(
        matches(wanted, record.metadata or {}) for record in [*odd, *many]
    )
    assert (double.seen.largest_write, double.seen.largest_read, double.seen.unlimited_reads) == (300, 300, 0)
    assert double.seen.most["read"] <= 4


def test_the_key_must_be_there_and_right(double: CloudDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_API_KEY", "ck-wrong")
    with pytest.raises(AuthFailed) as caught:
        open_database(double.url)
    assert "api_key" in (caught.value.hint or "")
    monkeypatch.delenv("CHROMA_API_KEY")
    with pytest.raises(ConfigError, match="wants a key"):
        open_database(double.url)
    monkeypatch.setenv("MY_KEY", double.token)
    open_database(f"{double.url}&api_key=env:MY_KEY").close()
    with pytest.raises(AuthFailed):
        open_database(double.url.replace(double.database, "another") + "&api_key=env:MY_KEY")


def test_a_full_collection_stops_and_goes_on(double: CloudDouble, cloud: Database) -> None:
    """A hard quota: said clearly, not tried again, what was written stays; a larger one lets the same batch through."""
    double.quotas = replace(double.quotas, collection_records=700)
    records = plain_records(SPEC, 1_000)
    batch = from_records(SPEC, records)
    sink = cloud.sink(SPEC)
    sink.prepare(SPEC)
    with pytest.raises(QuotaExceeded, match="700") as caught:
        sink.write(batch)
    assert not caught.value.retryable
    assert "same command" in (caught.value.hint or "")
    assert cloud.source(SPEC.name).describe().count == 600
    double.quotas = CloudQuotas()
    assert sink.write(batch).rows == 1_000
    assert_same(records, read_all(cloud.source(SPEC.name)))


def test_one_record_that_breaks_a_quota_is_named_and_keeps_no_other_back(
    double: CloudDouble, cloud: Database, tmp_path: Path
) -> None:
    """A tenant's quota may be smaller than the page's, by which the plan goes: the record is at fault."""
    double.quotas = replace(double.quotas, id_bytes=40, document_bytes=200)
    records = plain_records(SPEC, 300)
    records[7] = replace(records[7], id="i" * 50)
    records[250] = replace(records[250], document="d" * 300)
    fill(source := f"files:{tmp_path}/source", records)
    settings = Settings(plan=PlanOptions(), ledger=str(tmp_path / "ledger.db"), reports=None)
    with pytest.raises(DataError, match=r"refuses record .*exceeds limit of") as caught:
        migrate(source, double.url, settings=settings)
    assert set(caught.value.ids) <= {"i" * 50, records[250].id}
    done = repair(source, double.url, ledger=str(tmp_path / "ledger.db"))
    assert set(done.collections[0].refused) == {"i" * 50, records[250].id}
    double.quotas = CloudQuotas()
    assert len(read_all(cloud.source(SPEC.name))) == 298


def fill(url: str, records: list[Record]) -> None:
    """Make a store of SPEC with these records."""
    database = open_database(url)
    sink = database.sink(SPEC)
    sink.prepare(SPEC)
    sink.write(from_records(SPEC, records))
    sink.finish()
    sink.close()
    database.close()


def test_too_many_requests_say_when_to_come_back(double: CloudDouble, cloud: Database) -> None:
    """The error has the server's own word for the pause; a reader goes on behind its last position."""
    sink = cloud.sink(SPEC)
    sink.prepare(SPEC)
    sink.write(from_records(SPEC, plain_records(SPEC, 900)))
    source = cloud.source(SPEC.name)
    (partition,) = source.partitions()
    double.inject(Throttle(times=1, retry_after=7), at="get", skip=3)
    seen, position = list[str](), None
    with pytest.raises(Throttled) as caught:  # noqa: PT012 (how far it comes is the point)
        for chunk in source.read(partition):
            seen += chunk.batch.column("id").to_pylist()
            position = chunk.position
    assert caught.value.retry_after == 7
    assert seen
    for chunk in source.read(partition, after=position):
        seen += chunk.batch.column("id").to_pylist()
    assert seen == [f"id-{number:06}" for number in range(900)]


def test_a_migration_lives_through_a_storm(double: CloudDouble, cloud: Database, tmp_path: Path) -> None:
    """429 again and again, from the listing of ids on: it waits, goes on, and nothing is missing."""
    sink = cloud.sink(SPEC)
    sink.prepare(SPEC)
    sink.write(from_records(SPEC, plain_records(SPEC, 1_000)))
    double.inject(Throttle(times=4, retry_after=0), at="get", skip=3)
    done = migrate(
        double.url, f"files:{tmp_path / 'out'}", settings=Settings(ledger=str(tmp_path / "ledger.db"), reports=None)
    )
    assert (done.records, done.differences, double.fired) == (1_000, 0, 4)


def test_quotas_are_cells_of_a_plan(double: CloudDouble, cloud: Database) -> None:
    """What Cloud would refuse is counted before anything is written, and what the plan lets through, Cloud takes."""
    plain = plain_records(SPEC, 9)
    odd = [
        replace(plain[0], id="x" * 129),
        replace(plain[1], document="x" * 16_385),
        replace(plain[2], uri="x" * 257),
        replace(plain[3], metadata={"k" * 37: 1}),
        replace(plain[4], metadata={"a": "x" * 8_183}),
        replace(plain[5], metadata={f"k{number}": number for number in range(40)}),
        replace(plain[6], metadata={"a": {"b": ["x" * 9_000]}}),
        replace(plain[7], metadata={f"k{number}": number for number in range(32)}),
        replace(plain[8], id="x" * 128, document="x" * 16_384, uri="x" * 256, metadata={"k" * 36: "x" * 8_182}),
    ]
    memory = open_database("memory:quotas")
    sink = memory.sink(SPEC)
    sink.prepare(SPEC)
    sink.write(from_records(SPEC, odd))
    (profile,) = inspect(memory, url="memory:quotas", limits=cloud.limits).profiles
    cells = {
        cell.shape: cell for cell in judge(profile, SPEC.vectors, cloud.limits, exact_vectors=SPEC.card.exact_vectors)
    }  # type: ignore[union-attr]
    refused = {shape for shape, cell in cells.items() if cell.verdict is Verdict.IMPOSSIBLE}
    assert refused == {"id-too-long", "too-large", "long-uri", "long-value"}
    assert (cells["long-value"].count, cells["long-key"].count, cells["many-keys"].count) == (2, 1, 1)
    assert cells["long-key"].verdict is cells["many-keys"].verdict is Verdict.RESTORABLE
    held = [odd[3], odd[5], odd[7], odd[8]]
    sink = cloud.sink(SPEC)
    sink.prepare(SPEC)
    receipt = sink.write(from_records(SPEC, [*held, odd[6]]))
    assert [one.id for one in receipt.rejected] == [odd[6].id]
    assert_same(held, read_all(cloud.source(SPEC.name)))
    memory.close()


@pytest.mark.parametrize("metric", [Metric.L2, Metric.COSINE])
@pytest.mark.parametrize("if_exists", [IfExists.SYNC, IfExists.APPEND])
def test_what_somebody_else_made_gets_the_card(
    double: CloudDouble, cloud: Database, tmp_path: Path, metric: Metric, if_exists: IfExists
) -> None:
    """Otherwise the envelopes in its records would be read as metadata of their owner's."""
    path = f"/api/v2/tenants/{double.tenant}/databases/{double.database}/collections"
    own = {"hnsw:space": metric.value, "own": 1}
    with httpx.Client(base_url=double.http_url, headers=double.headers) as client:
        made = client.post(path, json={"name": "theirs", "metadata": own}).json()
        client.post(f"{path}/{made['id']}/add", json={"ids": ["old"], "embeddings": [[1.0, 0.0]]}).raise_for_status()
    spec = CollectionSpec(name="theirs", vectors=(VectorSpec(dim=2, metric=metric),))
    nested = Record(id="a", vectors={"": np.array([0, 1], np.float32)}, metadata={"n": {"x": 1}}, seq=0)
    here = open_database(f"files:{tmp_path / 'here'}")
    sink = here.sink(spec)
    sink.prepare(spec)
    sink.write(from_records(spec, [nested]))
    sink.finish()
    here.close()
    settings = Settings(plan=PlanOptions(if_exists=if_exists), ledger=str(tmp_path / "ledger.db"), reports=None)
    assert migrate(f"files:{tmp_path / 'here'}", double.url, settings=settings).differences == 0
    source = cloud.source("theirs")
    found = source.describe()
    assert found.card is not None
    assert found.metadata == own
    assert {record.id: record.metadata for record in read_all(source)} == {"old": None, "a": nested.metadata}


def test_sparse_vectors_stay_in_the_metadata(double: CloudDouble, cloud: Database) -> None:
    """Cloud's own type, written by its own client's form, read, and written back as Cloud holds it."""
    sparse = {"#type": "sparse_vector", "indices": [1, 7], "values": [0.1, 2.5]}
    spec = replace(SPEC, name="sparse")
    sink = cloud.sink(spec)
    sink.prepare(spec)
    record = Record(id="a", vectors={"": np.ones(8, np.float32)}, metadata={"words": sparse, "n": 1}, seq=0)
    sink.write(from_records(spec, [record]))
    raw = _get(double, cloud, "sparse")
    assert raw["metadatas"] == [{"words": sparse, "n": 1}]
    source = cloud.source("sparse")
    found = [r for p in source.partitions() for c in source.read(p) for r in to_records(c.batch, source.describe())]
    assert found[0].metadata == record.metadata


def _get(double: CloudDouble, cloud: Database, name: str) -> Any:
    uid = cloud.source(name).describe().uid
    path = f"/api/v2/tenants/{double.tenant}/databases/{double.database}/collections/{uid}/get"
    return httpx.post(double.http_url + path, json={"limit": 10}, headers=double.headers).json()


def test_filters_of_too_many_conditions_are_left_out(cloud: Database) -> None:
    sink = cloud.sink(SPEC)
    sink.prepare(SPEC)
    sink.write(from_records(SPEC, plain_records(SPEC, 5)))
    with pytest.raises(Unsupported, match="8 conditions"):
        cloud.source(SPEC.name).count_where(And(tuple(Compare("number", Op.GT, n) for n in range(9))))  # type: ignore[attr-defined]


def test_a_card_in_short_values() -> None:
    """In as many pieces as it takes; with less in it where there is no room; an error where there is none at all."""
    types = {f"key-{number}": {"int": number} for number in range(300)}
    card = Card(vecferry="1", key_types=types, origin={"name": "here", "metadata": {"a": "ü" * 300}}, run="r")
    whole = cards.written(card, value_bytes=256)
    assert max(len(value.encode()) for value in whole.values()) <= 256
    assert cards.read({**whole, "own": 1}) == card
    assert cards.without({**whole, "own": 1}) == {"own": 1}
    short = cards.read(cards.written(card, value_bytes=256, keys=16))
    assert short == replace(card, key_types={})
    with pytest.raises(Unsupported, match="no room"):
        cards.written(card, value_bytes=256, keys=1)
    assert CLOUD_HOLDS.value_bytes == CLOUD.value_bytes
    assert Shape.LONG_KEY in CLOUD.restores
    assert CollectionSpec(name="x").card is None
