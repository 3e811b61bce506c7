"""What the engine itself costs per record. Run: python benchmarks/engine_overhead.py [--rows N] [--dim N] [--jobs N]

An in-memory source that hands out one ready-made chunk again and again, and a sink that throws batches away: what is
left is the loop, the slicing, the threads, the events and the ledger (a real SQLite file, synced). `bare` is the same
source and sink without an engine; `ledger` figures are of its transactions, whose waiting (for the disk) holds up no
writer: only their CPU time costs throughput. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from vecferry.arrow import build
from vecferry.connectors.memory import LIMITS
from vecferry.engine import Options, Stop, job, keeping, migrate_collections
from vecferry.model import Chunk, CollectionSpec, Partition, PartitionId, Position, Receipt, StoreIdentity, VectorSpec
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.state.database import LedgerDatabase
from vecferry.state.ledger import Ledger
from vecferry.state.model import Outcome

CHUNK_ROWS = 2000
PARTITIONS = 4


class Endless:
    """A source of one chunk, `chunks` times per partition; its own sink and database too."""

    limits = LIMITS

    def __init__(self, spec: CollectionSpec, batch: pa.RecordBatch, chunks: int) -> None:
        self.spec, self.batch, self.chunks = spec, batch, chunks

    def source(self, _: str) -> Endless:
        return self

    def sink(self, _: CollectionSpec) -> Endless:
        return self

    def describe(self) -> CollectionSpec:
        return self.spec

    def partitions(self) -> list[Partition]:
        return [Partition(id=PartitionId(str(n)), bounds=str(n)) for n in range(PARTITIONS)]

    def read(self, _: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        for number in range(int(after or -1) + 1, self.chunks):
            yield Chunk(self.batch, Position(str(number)))

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        return spec

    def write(self, batch: pa.RecordBatch) -> Receipt:
        return Receipt(batch.num_rows, batch.nbytes)

    def finish(self) -> None:
        """Nothing to build."""

    def close(self) -> None:
        """Nothing is held."""


def make(rows: int, dim: int) -> tuple[Endless, Plan]:
    spec = CollectionSpec(name="bench", vectors=(VectorSpec(dim=dim),))
    columns = {
        "id": [f"id-{n}" for n in range(CHUNK_ROWS)],
        "vector": np.random.default_rng(0).standard_normal((CHUNK_ROWS, dim)).astype(np.float32),
        "document": ["some text " * 20] * CHUNK_ROWS,
        "metadata": ['{"page":1,"source":"a.pdf"}'] * CHUNK_ROWS,
    }
    store = Endless(spec, build(spec, columns), max(1, rows // CHUNK_ROWS // PARTITIONS))
    identity = StoreIdentity(kind="endless", where="here")
    collection = CollectionPlan(
        source="bench", target=spec, records=rows, bytes=0, partitions=tuple(store.partitions())
    )
    plan = Plan(
        created=datetime.now(UTC),
        source_url="",
        target_url="",
        source=identity,
        target=replace(identity, where="there"),
        collections=(collection,),
    )
    return store, plan


def bare(store: Endless) -> float:
    began = time.perf_counter()
    for partition in store.partitions():
        for chunk in store.read(partition):
            store.write(chunk.batch)
    return time.perf_counter() - began


Spent = list[tuple[float, float]]
"""(wall seconds, CPU seconds) of each transaction."""


def engine(store: Endless, plan: Plan, options: Options, folder: Path) -> tuple[float, Spent, int]:
    """(seconds, transactions, records)."""
    spent: Spent = []
    real = LedgerDatabase.transaction

    def timed(self: LedgerDatabase) -> object:
        return _Timed(real(self), spent)

    with Ledger(folder / "ledger.db") as ledger:
        run, stop = ledger.open_run(job(plan)), Stop()
        LedgerDatabase.transaction = timed  # type: ignore[method-assign,assignment]
        try:
            began = time.perf_counter()
            with keeping(run, stop=stop):
                result = migrate_collections(plan, store, store, run, options=options, stop=stop)
                run.close(Outcome.DONE)
            took = time.perf_counter() - began
        finally:
            LedgerDatabase.transaction = real  # type: ignore[method-assign]
    return took, spent, result.records


class _Timed:
    def __init__(self, inner: object, spent: Spent) -> None:
        self.inner, self.spent = inner, spent

    def __enter__(self) -> object:
        self.began = time.perf_counter(), time.thread_time()
        return self.inner.__enter__()

    def __exit__(self, *error: object) -> object:
        try:
            return self.inner.__exit__(*error)
        finally:
            wall, cpu = self.began
            self.spent.append((time.perf_counter() - wall, time.thread_time() - cpu))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--rate", type=float, help="records per second: how a run of some length spends its time")
    given = parser.parse_args()
    store, plan = make(given.rows, given.dim)
    alone = bare(store)
    with tempfile.TemporaryDirectory() as folder:
        options = Options(jobs=given.jobs, readers=given.readers, rate=given.rate)
        took, spent, records = engine(store, plan, options, Path(folder))
    figures = {
        "records": records,
        "dim": given.dim,
        "seconds": round(took, 3),
        "us_per_record": round(took / records * 1e6, 3),
        "bare_us_per_record": round(alone / records * 1e6, 3),
        "records_per_second": round(records / took),
        "ledger_transactions": len(spent),
        "ledger_wall_ms": round(sum(wall for wall, _ in spent) / len(spent) * 1e3, 2),
        "ledger_cpu_ms": round(sum(cpu for _, cpu in spent) / len(spent) * 1e3, 2),
        "ledger_cpu_share": round(sum(cpu for _, cpu in spent) / took, 4),
    }
    for name, value in figures.items():
        print(f"{name:28} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
