"""How near does Qdrant to Qdrant come to what two servers can do? python benchmarks/qdrant_to_qdrant.py [--dim N]

Two servers on this machine; rates in records a second, in each round one after the other, each with the number of
requests in flight that suits it best (1, 2 or 4):

  raw            scroll answers as bytes, no further looked at than for where the next page begins
  upserts        ready-made gRPC messages into a fresh collection, indexing deferred
  scroll         our source: pages decoded into canonical Arrow batches
  copy           `migrate` without verification: what its copy took, from the first read to the last write

`scroll_of_raw` is scroll / raw, `of_ceiling` is copy / min(raw, upserts): medians of the rounds' own ratios, which says
more than ratios of medians where other work shares the machine. The last line is JSON.
"""

from __future__ import annotations

from typing import Any

from measuring import copied, medians, options, rate, told
from qdrant_ceiling import BATCH, make

from vecferry.connectors.qdrant._codec import grpc_read, grpc_write
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._ids import Bounds
from vecferry.connectors.qdrant.transport import SCROLL, UPSERT
from vecferry.registry import open_database
from vecferry.testing.servers import start_qdrant

IN_FLIGHT = (1, 2, 4)
PAGE_BYTES = 2 << 20


class Route:
    """One collection on a source server, and a target server."""

    def __init__(self, origin: str, goal: str, rows: int, dim: int) -> None:
        self.spec, batches = make("vecferry-route", rows, dim)
        self.origin, self.goal = open_database(origin), open_database(goal)
        self.urls = origin, goal
        self.rows = len(batches) * BATCH
        sink = self.origin.sink(self.spec)
        sink.prepare(self.spec)
        for batch in batches:
            sink.write(batch)
        sink.finish()
        form = Form(self.spec)
        self.messages = [grpc_write.upsert(self.spec.name, grpc_write.points(form.rows(b), form)) for b in batches]
        self.page_rows = max(1, PAGE_BYTES * self.rows // sum(map(len, self.messages)))

    # ----------------------------------------------------------------------- ceilings

    def raw(self, threads: int) -> float:
        bounds = [Bounds.of(part.bounds) for part in self.origin.source(self.spec.name).partitions()]
        return rate(self._raw_range, bounds, self.rows, threads)

    def _raw_range(self, bounds: Bounds) -> None:
        start: str | None = bounds.start
        while start is not None and bounds.holds(start):
            message = grpc_read.scroll(self.spec.name, start=start, limit=self.page_rows, vectors=[""])
            start = grpc_read.next_id(self.origin._server.grpc.call(SCROLL, message))

    def upserts(self, threads: int) -> float:
        self.goal.drop(self.spec.name)
        self.goal.sink(self.spec).prepare(self.spec)
        grpc = self.goal._server.grpc
        return rate(lambda message: grpc.call(UPSERT, message), self.messages, self.rows, threads)

    # ----------------------------------------------------------------------- ours

    def scroll(self, threads: int) -> float:
        source = self.origin.source(self.spec.name)
        seen: list[int] = []

        def read(partition: Any) -> None:
            seen.append(sum(chunk.batch.num_rows for chunk in source.read(partition)))

        found = rate(read, list(source.partitions()), self.rows, threads)
        assert sum(seen) == self.rows, f"{sum(seen)} of {self.rows}"
        return found

    def copy(self) -> float:
        self.goal.drop(self.spec.name)
        return copied(*self.urls, self.spec.name, self.rows)

    def round(self) -> dict[str, float]:
        """Records per second in each way, in turn."""
        ways = {"raw": self.raw, "upserts": self.upserts, "scroll": self.scroll}
        found = {name: max(way(threads) for threads in IN_FLIGHT) for name, way in ways.items()}
        found["copy"] = self.copy()
        return found | {
            "scroll_of_raw": found["scroll"] / found["raw"],
            "of_ceiling": found["copy"] / min(found["raw"], found["upserts"]),
        }

    def close(self) -> None:
        self.origin.close()
        self.goal.close()


def main() -> None:
    chosen = options(__doc__, rows=100_000, dim=128).parse_args()
    with start_qdrant() as origin, start_qdrant() as goal:
        route = Route(origin.url, goal.url, chosen.rows, chosen.dim)
        rounds = [route.round() for _ in range(chosen.rounds)]
        bytes_per_record = sum(map(len, route.messages)) / route.rows
        route.close()
    told(chosen, route.rows, medians(rounds) | {"bytes_per_record": bytes_per_record})


if __name__ == "__main__":
    main()
