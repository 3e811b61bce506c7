"""The real thing, killed: `vecferry migrate` from a Chroma directory that Chroma wrote into a real Qdrant server.

Each test runs the command line twice, killed at one point in the first; what the vendor's own client then finds in
Qdrant is what an uninterrupted run leaves, point by point and setting by setting. `test_kill.py` hits every point many
times over a quicker store; here are those at which the two real stores differ from it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import uuid
from pathlib import Path

import numpy as np
import pytest

from tests.crash.killing import run
from vecferry.testing.crash import Fault, Outcome
from vecferry.testing.skips import skip

RECORDS = 2500
DIM = 8
pytestmark = [pytest.mark.qdrant, pytest.mark.slow]

HITS = [
    Fault(point="sink.prepared"),
    Fault(point="batch.before", nth=4),
    Fault(point="batch.written", nth=7),
    Fault(point="checkpoint.committed"),
    Fault(point="collection.copied"),
    Fault(point="collection.finished"),
    Fault(point="run.copied"),
    Fault(point="run.verified"),
]
AFTER_A_CHECKPOINT = {"checkpoint.committed", "collection.copied", "collection.finished", "run.copied", "run.verified"}


@pytest.fixture(scope="module")
def chroma(tmp_path_factory) -> Path:
    """A persisted directory, written by Chroma itself."""
    if importlib.util.find_spec("chromadb") is None:
        skip("chromadb")
    import chromadb

    path = tmp_path_factory.mktemp("chroma") / "chroma_db"
    collection = chromadb.PersistentClient(str(path)).create_collection("docs", metadata={"hnsw:space": "cosine"})
    vectors = np.random.default_rng(7).standard_normal((RECORDS, DIM)).astype(np.float32)
    for first in range(0, RECORDS, 500):
        rows = range(first, first + 500)
        collection.add(
            ids=[f"doc-{n:05}" for n in rows],
            embeddings=vectors[first : first + 500],
            documents=[f"document {n}" for n in rows],
            metadatas=[{"page": n, "even": n % 2 == 0} for n in rows],
        )
    return path


@pytest.fixture(scope="module")
def untouched(chroma, qdrant_server, tmp_path_factory):
    """What an uninterrupted run leaves."""
    folder, name = tmp_path_factory.mktemp("untouched"), f"crash-{uuid.uuid4().hex}"
    done = migrate(chroma, qdrant_server.url, name, folder)
    assert done.returncode == 0, done.stderr
    return dump(qdrant_server, name)


def migrate(chroma: Path, url: str, name: str, folder: Path, fault: Fault | None = None) -> Outcome:
    """The command that a person would type, again and again, slowed so that several checkpoints are committed."""
    proof = ["--queries", "1"] if fault is not None and fault.point == "run.verified" else ["--no-verify"]
    arguments = [
        *("migrate", f"chroma:{chroma}", url, "--yes", "--json", "--quiet", "--collection", f"docs={name}"),
        *("--ledger", str(folder / "ledger.db"), "--report", str(folder / "reports")),
        *("--batch-bytes", "8192", "--rate", "2500", *proof),
    ]
    return run("vecferry", arguments, log=folder / "reached", fault=fault)


def dump(server, name: str) -> tuple[dict[str, str], object]:
    """(point id -> digest of its vector and payload, the collection's settings), by Qdrant's own client."""
    from qdrant_client import QdrantClient

    client = QdrantClient(port=server.http_port, host="127.0.0.1", timeout=60, check_compatibility=False)
    try:
        points, _ = client.scroll(name, limit=RECORDS * 2, with_vectors=True, with_payload=True)
        info = client.get_collection(name)
    finally:
        client.close()
    digests = {
        str(p.id): hashlib.sha256(json.dumps([p.vector, p.payload], sort_keys=True).encode()).hexdigest()
        for p in points
    }
    settings = (info.config.params, info.config.optimizer_config, info.config.hnsw_config, info.payload_schema.keys())
    return digests, settings


@pytest.mark.parametrize("fault", HITS, ids=lambda fault: fault.point)
def test_killed_and_run_again(fault, chroma, untouched, qdrant_server, tmp_path):
    """Every point is there once, with its vector, payload and the collection's settings; what was done stays done."""
    name = f"crash-{uuid.uuid4().hex}"
    assert migrate(chroma, qdrant_server.url, name, tmp_path, fault).killed
    again = migrate(chroma, qdrant_server.url, name, tmp_path)
    assert again.returncode == 0, again.stderr
    said = json.loads(again.stdout[again.stdout.index("{") :])
    assert said["records"] == RECORDS
    assert (said["resumed"] > 0) == (fault.point in AFTER_A_CHECKPOINT) or fault.point.startswith("batch.")
    found, settings = dump(qdrant_server, name)
    assert len(found) == RECORDS
    assert found == untouched[0]
    assert settings == untouched[1]
