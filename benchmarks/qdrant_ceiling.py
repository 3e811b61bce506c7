"""How near do we come to what the server takes? python benchmarks/qdrant_ceiling.py [--rows N] [--dim N] [--url URL]

Four figures on one server, each into a fresh collection with indexing deferred, several requests in flight:

  ceiling   ready-made gRPC messages, sent as they lie in memory
  grpc      canonical Arrow batches through our sink: encode and send
  rest      the same over REST
  read      our source reads everything back, and every record's digest is made (what verification does)

and, alone on one core, the encoder and its parts in microseconds per record. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from vecferry import arrow, digest
from vecferry.connectors.qdrant._codec import grpc_write
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant.transport import UPSERT
from vecferry.model import Card, CollectionSpec, IdKind, VectorSpec
from vecferry.registry import open_database
from vecferry.tags import canonical
from vecferry.testing.servers import start_qdrant

BATCH = 500
IN_FLIGHT = 3
WORDS = ("harbour", "ferry", "ledger", "tide", "cargo", "anchor", "route", "pilot", "beacon", "quay")


def make(name: str, rows: int, dim: int) -> tuple[CollectionSpec, list[pa.RecordBatch]]:
    """Batches like those of a real collection: 360-byte documents, six metadata keys, cosine vectors of any length."""
    random = np.random.default_rng(7)
    spec = CollectionSpec(name=name, id_kind=IdKind.TEXT, vectors=(VectorSpec(dim=dim),))
    spec = replace(spec, card=Card(id_kind=IdKind.TEXT, vectors=spec.vectors))
    return spec, [
        arrow.build(
            spec,
            {
                "id": [f"chunk-{row:08}" for row in range(start, start + BATCH)],
                "seq": list(range(start, start + BATCH)),
                "vector": random.standard_normal((BATCH, dim)).astype(np.float32),
                "document": [document(row) for row in range(start, start + BATCH)],
                "metadata": [metadata(row) for row in range(start, start + BATCH)],
            },
        )
        for start in range(0, rows, BATCH)
    ]


def document(row: int) -> str:
    return (f"{row} " + " ".join(WORDS[(row * 7 + place * 3) % 10] for place in range(70)))[:360]


def metadata(row: int) -> str:
    values = {
        "source": f"docs/part-{row % 97}.md",
        "page": row % 211,
        "score": round((row * 37 % 1000) / 1000, 3),
        "language": "de" if row % 3 else "en",
        "public": row % 2 == 0,
        "tenant": f"tenant-{row % 50}",
    }
    return canonical(values).decode()


def rate(work: Callable[[Any], Any], items: Sequence[Any], rows: int) -> float:
    """Records per second with several requests in flight."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        began = time.perf_counter()
        list(pool.map(work, items))
        return rows / (time.perf_counter() - began)


def prepared(database: Any, spec: CollectionSpec) -> Any:
    database.drop(spec.name)
    sink = database.sink(spec)
    sink.prepare(spec)
    return sink


def read_rate(database: Any, spec: CollectionSpec, rows: int, *, digests: bool) -> float:
    source = database.source(spec.name)
    began, seen = time.perf_counter(), 0
    for partition in source.partitions():
        for chunk in source.read(partition):
            seen += chunk.batch.num_rows
            if digests:
                digest.digests(chunk.batch, spec, key=b"k")
    assert seen == rows, f"{seen} of {rows}"
    return rows / (time.perf_counter() - began)


def alone(batches: Sequence[pa.RecordBatch], form: Form) -> dict[str, float]:
    """Microseconds per record of the encoder alone, best of three."""

    def best(work: Callable[[pa.RecordBatch], Any]) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            for batch in batches[:10]:
                work(batch)
            times.append((time.perf_counter() - began) / (min(10, len(batches)) * BATCH) * 1e6)
        return round(min(times), 2)

    made = {id(batch): form.rows(batch) for batch in batches[:10]}
    return {
        "rows_us": best(form.rows),
        "points_us": best(lambda batch: grpc_write.points(made[id(batch)], form)),
        "encode_us": best(lambda batch: grpc_write.upsert("x", grpc_write.points(form.rows(batch), form))),
    }


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with start_qdrant() as started:
        yield started.url


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--dim", type=int, default=768)
    options.add_argument("--url")
    chosen = options.parse_args()
    spec, batches = make("vecferry-ceiling", chosen.rows, chosen.dim)
    rows, form, found = len(batches) * BATCH, Form(spec), {}
    messages = [grpc_write.upsert(spec.name, grpc_write.points(form.rows(batch), form)) for batch in batches]
    found["bytes_per_record"] = round(sum(map(len, messages)) / rows)
    with server(chosen.url) as url:
        database = open_database(url)
        prepared(database, spec)
        connection = database._server.grpc
        found["ceiling"] = rate(lambda message: connection.call(UPSERT, message), messages, rows)
        found["grpc"] = rate(prepared(database, spec).write, batches, rows)
        found["read"] = read_rate(database, spec, rows, digests=False)
        found["read_and_digest"] = read_rate(database, spec, rows, digests=True)
        database.close()
        separator = "&" if "?" in url else "?"
        database = open_database(f"{url}{separator}transport=rest")
        found["rest"] = rate(prepared(database, spec).write, batches, rows)
        found["rest_read"] = read_rate(database, spec, rows, digests=False)
        database.drop(spec.name)
        database.close()
    found = {key: round(value) for key, value in found.items()} | alone(batches, form)
    found["of_ceiling"] = round(found["grpc"] / found["ceiling"], 3)
    found["rest_of_grpc"] = round(found["rest"] / found["grpc"], 3)
    for key, value in found.items():
        print(f"{key:>18} {value:>12,}")
    print(json.dumps({"rows": rows, "dim": chosen.dim, **found}))


if __name__ == "__main__":
    main()
