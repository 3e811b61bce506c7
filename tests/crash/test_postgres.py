"""`vecferry migrate` into a real PostgreSQL, killed at every point where a transaction may or may not be committed.

Each test runs the command line twice, killed in the first; what psql would then find is what an uninterrupted run
leaves: every row once, in every column, with the same indexes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from pathlib import Path

import pytest

import vecferry
from tests.crash.killing import run
from vecferry.arrow import from_records
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.testing.contracts.cases import plain_records
from vecferry.testing.crash import Fault, Outcome
from vecferry.testing.postgres import PostgresDatabase

RECORDS = 2_000
SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=8, metric=Metric.IP),))
pytestmark = [pytest.mark.slow]

HITS = [
    Fault(point="sink.prepared"),
    Fault(point="batch.before", nth=4),
    Fault(point="batch.written", nth=7),
    Fault(point="checkpoint.committed"),
    Fault(point="collection.copied"),
    Fault(point="collection.finished"),
    Fault(point="run.verified"),
]
AFTER_A_CHECKPOINT = {"checkpoint.committed", "collection.copied", "collection.finished", "run.verified"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> str:
    url = f"files:{tmp_path_factory.mktemp('archive') / 'docs'}"
    with closing(vecferry.open_database(url)) as database, closing(database.sink(SPEC)) as sink:
        sink.prepare(SPEC)
        for start in range(0, RECORDS, 500):
            sink.write(from_records(SPEC, plain_records(SPEC, start + 500)[start:]))
        sink.finish()
    return url


@pytest.fixture(scope="module")
def untouched(archive, postgres_server, tmp_path_factory):
    """What an uninterrupted run leaves."""
    with postgres_server.fresh_database() as database:
        done = migrate(archive, database, tmp_path_factory.mktemp("untouched"))
        assert done.returncode == 0, done.stderr
        yield dump(database)


def migrate(archive: str, database: PostgresDatabase, folder: Path, fault: Fault | None = None) -> Outcome:
    proof = ["--queries", "1"] if fault is not None and fault.point == "run.verified" else ["--no-verify"]
    arguments = [
        *("migrate", archive, database.url, "--yes", "--json", "--quiet"),
        *("--ledger", str(folder / "ledger.db"), "--report", str(folder / "reports")),
        *("--batch-bytes", "8192", "--rate", "2500", *proof),
    ]
    return run("vecferry", arguments, log=folder / "reached", fault=fault)


def dump(database: PostgresDatabase) -> tuple[dict[str, str], list[object]]:
    """(id -> digest of the whole row, the definitions of its indexes), by SQL alone."""
    rows = database.execute("SELECT id, embedding::text, document, uri, metadata::text, _vf::text FROM docs")
    digests = {row[0]: hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in rows}
    return digests, database.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'docs' ORDER BY indexname")


@pytest.mark.parametrize("fault", HITS, ids=lambda fault: fault.point)
def test_killed_and_run_again(fault, archive, untouched, postgres, tmp_path):
    assert migrate(archive, postgres, tmp_path, fault).killed
    again = migrate(archive, postgres, tmp_path)
    assert again.returncode == 0, again.stderr
    said = json.loads(again.stdout[again.stdout.index("{") :])
    assert said["records"] == RECORDS
    assert (said["resumed"] > 0) == (fault.point in AFTER_A_CHECKPOINT) or fault.point.startswith("batch.")
    found = dump(postgres)
    assert len(found[0]) == RECORDS
    assert found == untouched
