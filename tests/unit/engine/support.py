"""A plan over memory stores, and a sink that fails as it is told: faults are data in the test."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from vecferry.arrow import build
from vecferry.connectors.memory import MemoryDatabase
from vecferry.engine import Options, RunResult, Stop, job, keeping, migrate_collections
from vecferry.events import Event
from vecferry.model import CollectionSpec, Receipt, VectorSpec
from vecferry.planning.model import CollectionPlan, IfExists, OnConflict, Plan
from vecferry.protocols import Database, Sink
from vecferry.registry import open_database
from vecferry.state.ledger import Ledger
from vecferry.state.model import Outcome

DIM = 4
_names = itertools.count()


def spec_of(name: str = "docs") -> CollectionSpec:
    return CollectionSpec(name=name, vectors=(VectorSpec(dim=DIM),))


def batch_of(count: int, *, first: int = 0, name: str = "docs", text: str = "text") -> pa.RecordBatch:
    numbers = range(first, first + count)
    return build(
        spec_of(name),
        {
            "id": [f"{n:06}" for n in numbers],
            "vector": np.arange(first * DIM, (first + count) * DIM, dtype=np.float32).reshape(count, DIM),
            "document": [f"{text} {n}" for n in numbers],
            "metadata": [orjson.dumps({"n": n}).decode() for n in numbers],
        },
    )


def memory(
    count: int = 0, *, partition_rows: int = 50, chunk_rows: int = 10, names: tuple[str, ...] = ("docs",)
) -> Any:
    """A memory store of its own, filled."""
    url = f"memory:test-{next(_names)}?partition_rows={partition_rows}&chunk_rows={chunk_rows}"
    database = open_database(url)
    for name in names if count else ():
        put(database, batch_of(count, name=name), name)
    return database


def put(database: Database, batch: pa.RecordBatch, name: str = "docs") -> None:
    sink = database.sink(spec_of(name))
    sink.prepare(spec_of(name))
    sink.write(batch)


def plan_for(
    source: Database,
    target: Database,
    *,
    if_exists: IfExists = IfExists.ASK,
    on_conflict: OnConflict = OnConflict.REFUSE,
) -> Plan:
    collections = []
    for spec in source.collections():
        partitions = tuple(source.source(spec.qualified_name).partitions())
        collections.append(
            CollectionPlan(
                source=spec.qualified_name,
                target=spec_of(spec.name),
                records=spec.count or 0,
                bytes=0,
                partitions=partitions,
                if_exists=if_exists,
                on_conflict=on_conflict,
            )
        )
    return Plan(
        created=datetime.now(UTC),
        source_url="memory:source",
        target_url="memory:target",
        source=source.identity,
        target=target.identity,
        collections=tuple(collections),
    )


def contents(database: Any, name: str = "docs") -> dict[str, str]:
    """Id -> document of every record."""
    source = database.source(name)
    found: dict[str, str] = {}
    for partition in source.partitions():
        for chunk in source.read(partition):
            ids, texts = chunk.batch.column("id").to_pylist(), chunk.batch.column("document").to_pylist()
            assert not found.keys() & set(ids)
            found |= dict(zip(ids, texts, strict=True))
    return found


Fault = Callable[[int, pa.RecordBatch], Receipt | None]
"""Called before the nth write (from 1) with its batch: may raise, or give the receipt itself."""


@dataclass
class Faulty:
    """A database whose sinks ask `fault` first; everything else is the inner one's."""

    inner: MemoryDatabase
    fault: Fault
    written: list[int] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    read_fault: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self.calls = itertools.count(1)
        self.reads = itertools.count(1)
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def sink(self, spec: CollectionSpec) -> Any:
        return FaultySink(self, self.inner.sink(spec))

    def source(self, name: str) -> Any:
        return FaultySource(self, self.inner.source(name)) if self.read_fault else self.inner.source(name)


class FaultySource:
    def __init__(self, database: Faulty, inner: Any) -> None:
        self._database, self._inner = database, inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, partition: Any, *, after: Any = None) -> Any:
        for chunk in self._inner.read(partition, after=after):
            assert self._database.read_fault is not None
            self._database.read_fault(next(self._database.reads))
            yield chunk


class FaultySink:
    def __init__(self, database: Faulty, inner: Sink) -> None:
        self._database, self._inner = database, inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        self._database.prepared.append(spec.name)
        return self._inner.prepare(spec)

    def write(self, batch: pa.RecordBatch) -> Receipt:
        with self._database.lock:
            number = next(self._database.calls)
        receipt = self._database.fault(number, batch)
        if receipt is not None:
            return receipt
        done = self._inner.write(batch)
        self._database.written.append(batch.num_rows)
        return done


@contextmanager
def ledger_at(path: Path) -> Any:
    with Ledger(path / "ledger.db") as ledger:
        yield ledger


def migrate(
    folder: Path,
    plan: Plan,
    source: Any,
    target: Any,
    *,
    options: Options | None = None,
    stop: Stop | None = None,
    events: list[Event] | None = None,
    lease_seconds: float = 30.0,
) -> RunResult:
    """One whole run with its own ledger in `folder`."""
    seen = events if events is not None else []
    stop = stop or Stop()
    with Ledger(folder / "ledger.db", lease_seconds=lease_seconds) as ledger:
        run = ledger.open_run(job(plan))
        with keeping(run, stop=stop, observer=seen.append):
            result = migrate_collections(
                plan, source, target, run, options=options or Options(batch_rows=7), observer=seen.append, stop=stop
            )
            run.close(Outcome.DONE)
    return result
