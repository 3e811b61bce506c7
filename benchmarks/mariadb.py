"""MariaDB: reading, writing, and all the way into Qdrant, each against what its other end can take. Run:

    python benchmarks/mariadb.py [--rows 50000] [--dim 768] [--rounds 3] [--source]

One MariaDB and one Qdrant, both started here. In turn, each round:

  bare_read     a bare bytes cursor of PyMySQL's over the same columns, the rows thrown away
  read          our source, into Arrow batches
  ready_write   ready-made multi-row INSERT statements, made before the clock starts, four connections
  write         our sink, from Arrow batches, four threads; the vector index is built apart in both
  qdrant        ready-made gRPC messages into Qdrant, three in flight: the ceiling of that end
  ours          `vecferry migrate` as a process of its own; `copy` is what is compared
  naive         a script that reads 100 rows and upserts 100 points with qdrant-client, over a tenth of the rows

Measures the compiled wheel; `--source` measures the source as it stands. The last line is JSON: medians of rates, and
of the ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from installed import COMPILED
from measuring import machine, options
from pymysql.converters import conversions
from pymysql.cursors import SSCursor

from vecferry import arrow
from vecferry.connectors.mariadb._codec.writing import Writing
from vecferry.connectors.mariadb.database import MariaDatabase
from vecferry.connectors.mariadb.ddl import create, own
from vecferry.connectors.qdrant._codec import grpc_write
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant.transport import UPSERT
from vecferry.model import Card, CollectionSpec, IdKind, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.mariadb import MariaDBDatabase, start_mariadb
from vecferry.testing.servers import QdrantServer, start_qdrant

BATCH = 1_000
IN_FLIGHT = 4
COLUMNS = "id, embedding, content, metadata"


def make(database: MariaDBDatabase, rows: int, dim: int) -> None:
    """A table such as people have: a bigint key, vectors, 360 characters of text, six keys of JSON, no vector index."""
    random = np.random.default_rng(7)
    database.execute(
        f"CREATE TABLE chunks (id BIGINT PRIMARY KEY, embedding VECTOR({dim}) NOT NULL, content TEXT, metadata JSON)"
    )
    with database.connect() as connection, connection.cursor() as cursor:
        for start in range(0, rows, BATCH):
            vectors = random.standard_normal((BATCH, dim)).astype("<f4")
            values = [
                f"({start + n}, x'{vector.tobytes().hex()}', '{text(start + n)}', '{metadata(start + n)}')"
                for n, vector in enumerate(vectors)
            ]
            cursor.execute(f"INSERT INTO chunks ({COLUMNS}) VALUES {', '.join(values)}")


def text(row: int) -> str:
    return " ".join(f"word{(row * 7 + n) % 997}" for n in range(50))


def metadata(row: int) -> str:
    known = {
        "source": f"file-{row % 500}.pdf",
        "page": row % 90,
        "user": row % 40,
        "share": row % 97 / 4,
        "ok": row % 2 == 0,
    }
    return json.dumps({**known, "title": f"Title of {row}"})


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# --------------------------------------------------------------------------- reading


def bare_read(database: MariaDBDatabase) -> int:
    encoders: Any = {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)}
    rows = 0
    with database.connect(use_unicode=False, conv=encoders, ssl_disabled=True) as connection:
        cursor = connection.cursor(SSCursor)
        cursor.execute(f"SELECT {COLUMNS} FROM chunks ORDER BY id")
        while part := cursor.fetchmany(BATCH):
            rows += len(part)
    return rows


def scan(database: MariaDatabase) -> int:
    """Read everything and throw it away, as `bare_read` does."""
    source = database.source("chunks")
    return sum(chunk.batch.num_rows for partition in source.partitions() for chunk in source.read(partition))


def read(database: MariaDatabase) -> list[pa.RecordBatch]:
    source = database.source("chunks")
    return [chunk.batch for partition in source.partitions() for chunk in source.read(partition)]


# --------------------------------------------------------------------------- writing


def ready(database: MariaDBDatabase, spec: CollectionSpec, batches: Sequence[pa.RecordBatch]) -> float:
    """Seconds of sending statements that are made already."""
    table, form = own(replace(spec, name="ready"), database.name)
    writing = Writing(table, form, spec, own=True)
    statements = [one for batch in batches for one in writing.statements(batch, 1 << 24, upsert=False)]
    database.execute(create(table))
    connections = [database.connect(ssl_disabled=True, charset="utf8mb4") for _ in range(IN_FLIGHT)]

    def send(number: int) -> None:
        for statement in statements[number::IN_FLIGHT]:
            connections[number].query(statement)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        took = timed(lambda: list(pool.map(send, range(IN_FLIGHT))))
    for connection in connections:
        connection.close()
    database.execute("DROP TABLE ready")
    return took


def write(database: MariaDatabase, spec: CollectionSpec, batches: Sequence[pa.RecordBatch]) -> float:
    with closing(database.sink(spec)) as sink, ThreadPoolExecutor(IN_FLIGHT) as pool:
        sink.prepare(spec)
        took = timed(lambda: list(pool.map(sink.write, batches)))
    database.drop(spec.name)
    return took


# --------------------------------------------------------------------------- into Qdrant


def ceiling(qdrant: QdrantServer, spec: CollectionSpec, batches: Sequence[pa.RecordBatch]) -> float:
    """Seconds of sending messages that are made already."""
    form = Form(spec)
    with closing(open_database(qdrant.url)) as database, closing(database.sink(spec)) as sink:
        sink.prepare(spec)
        bodies = [
            grpc_write.upsert(spec.name, grpc_write.points(form.rows(part), form), None)
            for batch in batches
            for part in arrow.split(batch, max_rows=500, max_bytes=1 << 30)
        ]
        send: Any = database._server.grpc.call
        with ThreadPoolExecutor(3) as pool:
            took = timed(lambda: list(pool.map(lambda body: send(UPSERT, body), bodies)))
        database.drop(spec.name)  # type: ignore[attr-defined]
    return took


def ours(mariadb: MariaDBDatabase, qdrant: QdrantServer) -> float:
    """Seconds of the copy of a whole `vecferry migrate`, verified."""
    with tempfile.TemporaryDirectory() as work:
        command = [
            sys.executable,
            "-m",
            "vecferry",
            "migrate",
            mariadb.url,
            qdrant.url,
            "-c",
            "chunks",
            "--yes",
            "--json",
        ]
        command += ["--quiet", "--ledger", str(Path(work) / "ledger.db"), "--report", str(Path(work) / "reports")]
        command += ["--queries", "20", "--index", "none", "--target-config", 'hnsw_config={"m": 0}']
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.stdout, done.stderr
        told = json.loads(done.stdout)
        assert told["differences"] == 0, (told, done.stderr)
    with closing(open_database(qdrant.url)) as database:
        database.drop("chunks")  # type: ignore[attr-defined]
    return float(told["seconds"]["copy"])


def naive(mariadb: MariaDBDatabase, qdrant: QdrantServer, rows: int, dim: int) -> float:
    """Rows per second of the script that people write first."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(url=qdrant.http_url)
    wanted = models.VectorParams(size=dim, distance=models.Distance.COSINE)
    client.create_collection("naive", vectors_config=wanted, hnsw_config=models.HnswConfigDiff(m=0))
    began = time.perf_counter()
    with mariadb.connect() as connection, connection.cursor() as cursor:
        for start in range(0, rows, 100):
            cursor.execute(f"SELECT {COLUMNS} FROM chunks ORDER BY id LIMIT 100 OFFSET {start}")
            points = [
                models.PointStruct(
                    id=number,
                    vector=np.frombuffer(vector, "<f4").tolist(),
                    payload={"document": content, "metadata": json.loads(known)},
                )
                for number, vector, content, known in cursor.fetchall()
            ]
            client.upsert("naive", points, wait=True)
    took = time.perf_counter() - began
    client.delete_collection("naive")
    return rows / took


def a_round(mariadb: MariaDBDatabase, qdrant: QdrantServer, given: argparse.Namespace) -> dict[str, float]:
    rows = given.rows
    found = {"bare_read": rows / timed(lambda: bare_read(mariadb))}
    database = open_database(mariadb.url_with(partition_rows="1000000"))
    assert isinstance(database, MariaDatabase)
    with closing(database):
        found["read"] = rows / timed(lambda: scan(database))
        batches = read(database)
        vectors = (VectorSpec(dim=given.dim),)
        card = Card(id_kind=IdKind.INT, vectors=vectors)
        spec = CollectionSpec(name="written", id_kind=IdKind.INT, vectors=vectors, card=card)
        found["ready_write"] = rows / ready(mariadb, spec, batches)
        found["write"] = rows / write(database, spec, batches)
    found["qdrant"] = rows / ceiling(qdrant, spec, batches)
    del batches
    found["ours"] = rows / ours(mariadb, qdrant)
    found["naive"] = naive(mariadb, qdrant, rows // 10, given.dim)
    return found


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All rounds, their medians, and the medians of the ratios."""
    settings = {"innodb-buffer-pool-size": "512M", "innodb-log-file-size": "256M"}
    with start_mariadb(settings=settings) as server, server.fresh_database() as mariadb, start_qdrant() as qdrant:
        make(mariadb, given.rows, given.dim)
        rounds = []
        for _ in range(given.rounds):
            rounds.append(a_round(mariadb, qdrant, given))
            print({name: round(rate) for name, rate in rounds[-1].items()}, flush=True)
    ratios: dict[str, Callable[[dict[str, float]], float]] = {
        "read_of_bare": lambda one: one["read"] / one["bare_read"],
        "write_of_ready": lambda one: one["write"] / one["ready_write"],
        "ours_of_smaller_ceiling": lambda one: one["ours"] / min(one["bare_read"], one["qdrant"]),
        "ours_of_naive": lambda one: one["ours"] / one["naive"],
    }
    return {
        "rows": given.rows,
        "dim": given.dim,
        "rounds": given.rounds,
        "compiled": COMPILED,
        "per_second": {name: round(statistics.median(one[name] for one in rounds)) for name in rounds[0]},
        **{name: round(statistics.median(map(ratio, rounds)), 3) for name, ratio in ratios.items()},
        "machine": machine(),
    }


def main() -> None:
    print(json.dumps(measure(options(__doc__).parse_args())))


if __name__ == "__main__":
    main()
