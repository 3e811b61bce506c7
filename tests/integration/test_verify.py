"""Verification on real stores: a Chroma directory against a Qdrant server, damaged behind vecferry's back."""

from __future__ import annotations

import uuid
from dataclasses import replace

import chromadb
import numpy as np
import pytest
import qdrant_client
from qdrant_client import models

from vecferry.planning.inspect import inspect
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.registry import open_database
from vecferry.verification import Difference, Level, State, VerifyOptions, compare, repair, verify

pytestmark = pytest.mark.qdrant
COUNT, DIM = 400, 24


@pytest.fixture(scope="module", params=["cosine", "l2", "ip"])
def chroma(request, tmp_path_factory):
    """A directory that Chroma itself wrote, with vectors of every length."""
    folder = tmp_path_factory.mktemp("chroma")
    client = chromadb.PersistentClient(path=str(folder), settings=chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("docs", metadata={"hnsw:space": request.param})
    random = np.random.default_rng(7)
    collection.add(
        ids=[f"doc {n} ü" for n in range(COUNT)],
        embeddings=random.standard_normal((COUNT, DIM)).astype(np.float32) * random.uniform(0.1, 9, (COUNT, 1)),
        documents=[f"text {n} 日本" for n in range(COUNT)],
        metadatas=[
            {"page": n % 20, "lang": ("de", "日本")[n % 2], "score": n / 8, "new": n % 3 == 0} for n in range(COUNT)
        ],
    )
    return f"chroma:{folder}"


@pytest.fixture
def moved(chroma, qdrant_server):
    """The collection copied to a Qdrant server: (source, target, pair, options, vendor's client)."""
    source, target = open_database(chroma), open_database(str(qdrant_server.url))
    found = inspect(source, url=chroma, patterns=())
    plan = make_plan(found, source, target, PlanOptions(), target_url=str(qdrant_server.url))
    name = f"docs-{uuid.uuid4().hex[:8]}"
    planned = plan.collections[0]
    spec = replace(planned.target, name=name)
    reader, sink = source.source(planned.source), target.sink(spec)
    sink.prepare(spec)
    for partition in reader.partitions():
        for chunk in reader.read(partition):
            sink.write(chunk.batch)
    sink.finish()
    sink.close()
    client = qdrant_client.QdrantClient(url=qdrant_server.http_url)
    yield source, target, (planned.source, name), VerifyOptions(promised={name: spec}), client
    client.delete_collection(name)
    client.close()
    source.close()
    target.close()


def _points(client, name, count=5):
    return client.scroll(name, limit=count, with_vectors=True, with_payload=True)[0]


def test_a_good_copy_is_proven_on_every_level(moved):
    """Bit for bit, in order, searched exactly and filtered, under each of Chroma's metrics."""
    source, target, pair, options, _ = moved
    found = verify(source, target, [pair], options=options)
    one = found.collections[0]
    assert found.ok, [(c.level, c.state, c.findings[:3], c.note) for c in one.checks if c.state is not State.OK]
    search = one.check(Level.SEARCH)
    assert search.figures["exact_overlap"] == 1.0
    assert search.figures["max_score_difference"] < 1e-2
    assert one.check(Level.FILTERS).compared >= 20


def test_damage_done_by_the_vendor_s_client_is_found_and_repaired(moved):
    """A point deleted, a payload overwritten, a vector swapped, a point added: each is found by id, then undone."""
    source, target, pair, options, client = moved
    name = pair[1]
    gone, blank, swapped, other = _points(client, name, 4)
    client.delete(name, [gone.id], wait=True)
    client.set_payload(name, {"document": "damaged"}, [blank.id], wait=True)
    client.update_vectors(name, [models.PointVectors(id=swapped.id, vector=other.vector)], wait=True)
    stranger = models.PointStruct(id=str(uuid.uuid4()), vector=other.vector, payload={"document": "another writer's"})
    client.upsert(name, [stranger], wait=True)
    one = verify(source, target, [pair], options=options).collections[0]
    ids, content = one.check(Level.IDS), one.check(Level.CONTENT)
    assert sorted(f.difference for f in ids.findings) == [Difference.EXTRA, Difference.MISSING]
    assert content.differences == 2
    assert {f.what.split(":")[0] for f in content.findings} == {"document", "vector"}
    done = repair(source, target, [pair], options=options)
    assert (done.collections[0].rewritten, done.collections[0].extra_left) == (3, 1)
    assert done.after.differences == 1
    assert repair(source, target, [pair], options=options, delete_extra=True).after.ok


def test_a_record_under_another_point_id_is_no_good_copy(moved):
    """A point moved to another id keeps its envelope, and with it the original id: that does not make it the record."""
    source, target, pair, options, client = moved
    name = pair[1]
    (one,) = _points(client, name, 1)
    client.upsert(name, [models.PointStruct(id=12345, vector=one.vector, payload=one.payload)], wait=True)
    client.delete(name, [one.id], wait=True)
    ids = verify(source, target, [pair], options=options).collections[0].check(Level.IDS)
    assert sorted(f.difference for f in ids.findings) == [Difference.EXTRA, Difference.MISSING]
    assert "12345" in {f.id for f in ids.findings}


def test_an_index_that_is_gone_is_missed_by_whoever_reads_the_card(moved):
    """Verification without the plan knows from the card which payload indexes there should be."""
    source, target, pair, options, client = moved
    name = pair[1]
    spec = options.promised[name]
    assert spec.indexes
    sink = target.sink(replace(spec, card=replace(spec.card, indexes=spec.indexes)))
    sink.prepare(replace(spec, card=replace(spec.card, indexes=spec.indexes)))
    sink.finish()
    for path in client.get_collection(name).payload_schema:
        if path.startswith("metadata"):
            client.delete_payload_index(name, path, wait=True)
    schema = verify(source, target, [pair]).collections[0].check(Level.SCHEMA)
    assert schema.state is State.DIFFERENT
    assert {finding.id for finding in schema.findings} == {f"index {index.key}" for index in spec.indexes}


def test_both_sides_are_measured_with_the_same_queries(moved):
    source, target, pair, _, _ = moved
    (found,) = compare(source, target, [pair], workers=2, options=VerifyOptions(queries=20))
    assert found.target.p50_ms > 0
    assert found.source is not None or "chroma" in found.note
