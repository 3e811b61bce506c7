"""How near do we come to what the server takes? python benchmarks/qdrant_ceiling.py [--rows N] [--dim N] [--rounds N]

Rates on one server, each round into fresh collections with indexing deferred, several requests in flight, all in turn;
medians of the rounds:

  ceiling        ready-made gRPC messages, sent as they lie in memory
  grpc           canonical Arrow batches through our sink: encode and send
  rest_ceiling   ready-made REST bodies, sent the same way
  rest           the batches through our sink over REST
  read           our source reads everything back over gRPC; with every record's fingerprint (what verification does);
                 over REST

and, alone on one core, the encoders in microseconds per record. The last line is JSON. `rest_of_grpc` and
`rest_ceiling_of_ceiling` are medians of the rounds' own ratios, which says more than ratios of medians where other work
shares the machine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import medians, options, rate, told

from vecferry import arrow, digest
from vecferry.connectors.qdrant._codec import grpc_write, rest
from vecferry.connectors.qdrant._codec.form import Form, Rows
from vecferry.connectors.qdrant.transport import UPSERT, collection_path
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


def prepared(database: Any, spec: CollectionSpec) -> Any:
    database.drop(spec.name)
    sink = database.sink(spec)
    sink.prepare(spec)
    return sink


def read_rate(database: Any, spec: CollectionSpec, rows: int, *, hashed: bool) -> float:
    source = database.source(spec.name)
    began, seen = time.perf_counter(), 0
    for partition in source.partitions():
        for chunk in source.read(partition):
            seen += chunk.batch.num_rows
            if hashed:
                digest.fingerprints(chunk.batch, spec, seed=7)
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
        "rest_encode_us": best(lambda batch: bodies(form.rows(batch), form)),
    }


def bodies(rows: Rows, form: Form) -> list[bytes]:
    """A batch as REST requests, as large as our sink makes them."""
    points = rest.points(rows, form)
    step = -(-len(rows.ids) // -(-sum(points.sizes()) // rest.REQUEST_BYTES))
    return [rest.upsert(points[start : start + step]) for start in range(0, len(rows.ids), step)]


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with start_qdrant() as started:
        yield started.url


class Ways:
    """One collection written in four ways."""

    def __init__(self, url: str, spec: CollectionSpec, batches: Sequence[pa.RecordBatch]) -> None:
        self.spec, self.batches, self.form = spec, batches, Form(spec)
        self.over_grpc = open_database(url)
        self.over_rest = open_database(f"{url}{'&' if '?' in url else '?'}transport=rest")
        made = [self.form.rows(batch) for batch in batches]
        self.messages = [grpc_write.upsert(spec.name, grpc_write.points(rows, self.form)) for rows in made]
        self.bodies = [body for rows in made for body in bodies(rows, self.form)]

    def round(self) -> dict[str, float]:
        """Records per second in each way, in turn."""
        grpc, http = self.over_grpc._server.grpc, self.over_grpc._server.rest
        path = collection_path(self.spec.name, "/points")
        ways: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
            "ceiling": (lambda message: grpc.call(UPSERT, message), self.messages),
            "grpc": (self.over_grpc.sink(self.spec).write, self.batches),
            "rest_ceiling": (lambda body: http.send("PUT", path, body, wait="true"), self.bodies),
            "rest": (self.over_rest.sink(self.spec).write, self.batches),
        }
        rows, found = len(self.batches) * BATCH, {}
        for name, (work, items) in ways.items():
            prepared(self.over_grpc, self.spec)
            found[name] = rate(work, items, rows, IN_FLIGHT)
        return found | {
            "rest_of_grpc": found["rest"] / found["grpc"],
            "rest_ceiling_of_ceiling": found["rest_ceiling"] / found["ceiling"],
            "of_ceiling": found["grpc"] / found["ceiling"],
        }

    def read(self) -> dict[str, float]:
        """Records per second of reading them back."""
        rows = len(self.batches) * BATCH
        return {
            "read": read_rate(self.over_grpc, self.spec, rows, hashed=False),
            "read_and_hash": read_rate(self.over_grpc, self.spec, rows, hashed=True),
            "rest_read": read_rate(self.over_rest, self.spec, rows, hashed=False),
        }

    def close(self) -> None:
        self.over_grpc.drop(self.spec.name)
        self.over_grpc.close()
        self.over_rest.close()


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--url")
    chosen = parser.parse_args()
    spec, batches = make("vecferry-ceiling", chosen.rows, chosen.dim)
    with server(chosen.url) as url:
        ways = Ways(url, spec, batches)
        rounds = [ways.round() for _ in range(chosen.rounds)]
        found = medians(rounds) | ways.read()
        ways.close()
    rows = len(batches) * BATCH
    found["bytes_per_record"] = sum(map(len, ways.messages)) / rows
    found["rest_bytes_per_record"] = sum(map(len, ways.bodies)) / rows
    told(chosen, rows, found, **alone(batches, ways.form))


if __name__ == "__main__":
    main()
