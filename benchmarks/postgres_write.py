"""How near does our writing come to what PostgreSQL takes? python benchmarks/postgres_write.py [--dim N] [--rows N]

One server on this machine; records per second, in each round one after the other, each with the number of writers that
suits it best (1, 2 or 4), a batch to a transaction:

  ready          ready-made binary streams by COPY, straight into the table
  write          our sink: canonical Arrow batches, encoded on the way, by the same COPY
  ready_merge    the same streams into a temporary table, merged into the table, where every record stands already
  merge          our sink on records that stand there already

`of_ready` is write / ready, `of_ready_merge` is merge / ready_merge: medians of the rounds' own ratios. Indexes are not
built. The last line is JSON.
"""

from __future__ import annotations

from measuring import medians, options, rate, told
from qdrant_ceiling import make

from vecferry.connectors.postgres._codec import rows
from vecferry.connectors.postgres._codec.copy_write import stream
from vecferry.connectors.postgres.database import PostgresDatabase
from vecferry.registry import open_database
from vecferry.testing.postgres import start_postgres

WRITERS = (1, 2, 4)


class Target:
    """One table, made anew for each measurement."""

    def __init__(self, url: str, records: int, dim: int) -> None:
        self.spec, self.batches = make("vecferry-write", records, dim)
        database = open_database(url)
        assert isinstance(database, PostgresDatabase)
        self.database = database
        self.records = sum(batch.num_rows for batch in self.batches)
        self._fresh()
        made = self.sink._prepared
        assert made is not None
        self.parts = [rows.parts(batch, made.spec, made.table, made.form) for batch in self.batches]
        self.ready_made = [
            (parts, stream([part.cells for part in parts], batch.num_rows))
            for parts, batch in zip(self.parts, self.batches, strict=True)
        ]
        self.bytes = sum(len(data) for _, data in self.ready_made)

    def _fresh(self) -> None:
        self.database.drop(self.spec.name)
        self.sink = self.database.sink(self.spec)
        self.sink.prepare(self.spec)

    def ready(self, writers: int) -> float:
        self._fresh()
        loader = self.sink._loader
        assert loader is not None
        return rate(lambda item: loader.load_stream(*item), self.ready_made, self.records, writers)

    def write(self, writers: int) -> float:
        self._fresh()
        return rate(self.sink.write, self.batches, self.records, writers)

    def ready_merge(self, writers: int) -> float:
        """The table is full from the measurement before; each batch is merged at once."""
        self.sink.prepare(self.spec)
        loader = self.sink._loader
        assert loader is not None
        loader.merge_next(len(self.batches))
        return rate(lambda item: loader.load_stream(*item), self.ready_made, self.records, writers)

    def merge(self, writers: int) -> float:
        self.sink.prepare(self.spec)
        loader = self.sink._loader
        assert loader is not None
        loader.merge_next(len(self.batches))
        return rate(self.sink.write, self.batches, self.records, writers)

    def round(self) -> dict[str, float]:
        """Records per second in each way, in turn."""
        ways = {"ready": self.ready, "write": self.write, "ready_merge": self.ready_merge, "merge": self.merge}
        found = {name: max(way(writers) for writers in WRITERS) for name, way in ways.items()}
        return found | {
            "of_ready": found["write"] / found["ready"],
            "of_ready_merge": found["merge"] / found["ready_merge"],
        }


def main() -> None:
    chosen = options(__doc__).parse_args()
    settings = {"max_wal_size": "8GB", "shared_buffers": "512MB"}
    with start_postgres(settings=settings) as server, server.fresh_database() as database:
        target = Target(database.url, chosen.rows, chosen.dim)
        rounds = [target.round() for _ in range(chosen.rounds)]
        target.database.close()
    told(chosen, target.records, medians(rounds) | {"bytes_per_record": target.bytes / target.records})


if __name__ == "__main__":
    main()
