"""How near do reading PostgreSQL, and PostgreSQL to Qdrant, come to what the two can do?

python benchmarks/postgres_read.py [--rows N] [--dim N]

One PostgreSQL and one Qdrant on this machine; a table as people have it: bigserial, text, jsonb, vector. Rates in
records a second, in each round one after the other, each with the number of readers or requests that suits it best (1,
2 or 4):

  whole          one binary COPY of the whole table by psycopg, its bytes thrown away
  ranges         the same statement for each range of the key that our source reads, bytes thrown away
  read           our source: rows decoded into canonical Arrow batches
  upserts        ready-made gRPC messages into a fresh Qdrant collection, indexing deferred
  copy           `migrate` without verification: what its copy took, from the first read to the last write

`read_of_raw` is read / max(whole, ranges), `of_ceiling` is copy / min(max(whole, ranges), upserts): medians of the
rounds' own ratios. The last line is JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import copied, medians, options, rate, told

from vecferry.connectors.postgres._codec import copy_write as wire
from vecferry.connectors.postgres.source import PostgresSource, _range
from vecferry.connectors.qdrant._codec import grpc_write
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant.transport import UPSERT
from vecferry.model import Partition
from vecferry.registry import open_database
from vecferry.testing.postgres import PostgresDatabase, start_postgres
from vecferry.testing.servers import start_qdrant

READERS = (1, 2, 4)
TABLE = "documents"


def fill(database: PostgresDatabase, rows: int, dim: int) -> None:
    """A table of random vectors, some text, and four keys of metadata."""
    random = np.random.default_rng(0)
    database.execute(
        f"CREATE TABLE {TABLE} (id bigserial PRIMARY KEY, content text, metadata jsonb, embedding vector({dim}))"
    )
    with database.connect() as connection:
        for start in range(1, rows + 1, 10_000):
            numbers = range(start, min(start + 10_000, rows + 1))
            vectors = random.standard_normal((len(numbers), dim)).astype(np.float32)
            fields = [
                wire.number(pa.array(numbers, pa.int64()), ">i8"),
                wire.text(pa.array([f"document {n} " * 10 for n in numbers], pa.large_string())),
                wire.jsonb(pa.array([_metadata(n) for n in numbers], pa.large_string())),
                wire.dense(vectors, np.ones(len(numbers), np.bool_), ">f4"),
            ]
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {TABLE} FROM STDIN (FORMAT binary)".encode()) as copy,
            ):
                copy.write(wire.stream(fields, len(numbers)))
    database.execute(f"VACUUM ANALYZE {TABLE}")


def _metadata(number: int) -> str:
    return json.dumps(
        {"n": number, "share": number / 4, "group": f"g{number % 7}", "url": f"https://example.org/{number}"}
    )


class Route:
    """The table, and a Qdrant server to write it to."""

    def __init__(self, origin: str, goal: str, rows: int) -> None:
        self.urls, self.rows = (origin, goal), rows
        self.origin, self.goal = open_database(origin), open_database(goal)
        source = self.source()
        self.spec = replace(source.describe(), config={}, namespace=(), card=None)
        self.partitions = source.partitions()
        batches = [chunk.batch for partition in self.partitions for chunk in source.read(partition)]
        source.close()
        form = Form(self.spec)
        self.messages = [grpc_write.upsert(TABLE, grpc_write.points(form.rows(batch), form)) for batch in batches]

    def source(self) -> PostgresSource:
        found = self.origin.source(TABLE)
        assert isinstance(found, PostgresSource)
        return found

    # ----------------------------------------------------------------------- ceilings

    def whole(self, _: int) -> float:
        source = self.source()
        everything = Partition(id=self.partitions[0].id, bounds="[null,null]")
        return rate(lambda partition: self._thrown_away(source, partition), [everything], self.rows, 1)

    def ranges(self, readers: int) -> float:
        source = self.source()
        return rate(lambda partition: self._thrown_away(source, partition), self.partitions, self.rows, readers)

    def _thrown_away(self, source: PostgresSource, partition: Partition) -> None:
        low, high = json.loads(partition.bounds)
        select = _range(source._made, low, high, None)
        if low is None and high is None:
            select = select.partition(" ORDER BY ")[0]
        statement = f"COPY ({select}) TO STDOUT (FORMAT binary)".encode()
        with self.origin._access.transaction() as connection, connection.cursor().copy(statement) as copy:
            for _ in copy:
                pass

    def upserts(self, requests: int) -> float:
        self.goal.drop(TABLE)
        self.goal.sink(self.spec).prepare(self.spec)
        grpc = self.goal._server.grpc
        return rate(lambda message: grpc.call(UPSERT, message), self.messages, self.rows, requests)

    # ----------------------------------------------------------------------- ours

    def read(self, readers: int) -> float:
        source = self.source()
        seen: list[int] = []

        def read(partition: Any) -> None:
            seen.append(sum(chunk.batch.num_rows for chunk in source.read(partition)))

        found = rate(read, self.partitions, self.rows, readers)
        source.close()
        assert sum(seen) == self.rows, f"{sum(seen)} of {self.rows}"
        return found

    def copy(self) -> float:
        self.goal.drop(TABLE)
        return copied(*self.urls, TABLE, self.rows)

    def round(self) -> dict[str, float]:
        """Records per second in each way, in turn."""
        ways = {"whole": self.whole, "ranges": self.ranges, "read": self.read, "upserts": self.upserts}
        found = {name: max(way(readers) for readers in READERS) for name, way in ways.items()}
        raw = max(found["whole"], found["ranges"])
        found["copy"] = self.copy()
        return found | {
            "read_of_raw": found["read"] / raw,
            "of_ceiling": found["copy"] / min(raw, found["upserts"]),
        }

    def close(self) -> None:
        self.origin.close()
        self.goal.close()


def main() -> None:
    chosen = options(__doc__).parse_args()
    settings = {"max_wal_size": "8GB", "shared_buffers": "512MB"}
    with start_postgres(settings=settings) as server, server.fresh_database() as database, start_qdrant() as goal:
        fill(database, chosen.rows, chosen.dim)
        route = Route(database.url, goal.url, chosen.rows)
        rounds = [route.round() for _ in range(chosen.rounds)]
        bytes_per_record = sum(map(len, route.messages)) / route.rows
        route.close()
    told(chosen, route.rows, medians(rounds) | {"bytes_per_record": bytes_per_record})


if __name__ == "__main__":
    main()
