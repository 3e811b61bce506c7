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

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from installed import COMPILED, as_installed
from qdrant_ceiling import BATCH, make

from vecferry.connectors.qdrant._codec import grpc_read, grpc_write
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._ids import Bounds
from vecferry.connectors.qdrant.transport import SCROLL, UPSERT
from vecferry.migration import migrate
from vecferry.migration.settings import Settings
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.testing.servers import start_qdrant

IN_FLIGHT = (1, 2, 4)
PAGE_BYTES = 2 << 20


def rate(work: Callable[[Any], Any], items: Sequence[Any], rows: int, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(work, items))
        return rows / (time.perf_counter() - began)


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
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(
                plan=PlanOptions(collections=(self.spec.name,)),
                ledger=str(Path(folder) / "ledger.db"),
                reports=None,
                verify=None,
            )
            done = migrate(*self.urls, settings=settings)
        assert done.records == self.rows, f"{done.records} of {self.rows}"
        return self.rows / done.seconds["copy"]

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
    as_installed()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--dim", type=int, default=128)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    with start_qdrant() as origin, start_qdrant() as goal:
        route = Route(origin.url, goal.url, chosen.rows, chosen.dim)
        rounds = [route.round() for _ in range(chosen.rounds)]
        bytes_per_record = sum(map(len, route.messages)) / route.rows
        route.close()
    found = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    found["bytes_per_record"] = bytes_per_record
    shown = {name: round(value, 3) if value < 2 else round(value) for name, value in found.items()}
    for name, value in shown.items():
        print(f"{name:>24} {value:>12,}")
    print(json.dumps({"rows": route.rows, "dim": chosen.dim, "rounds": chosen.rounds, "compiled": COMPILED, **shown}))


if __name__ == "__main__":
    main()
