"""Small collections for tests of the plan: records into a memory store, and sources that hold batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from vecferry.arrow import from_records
from vecferry.connectors.memory import LIMITS
from vecferry.limits import Limits, Score, Shape
from vecferry.model import (
    Chunk,
    CollectionSpec,
    Element,
    IdKind,
    IndexKind,
    Metric,
    Partition,
    PartitionId,
    Position,
    Record,
    Rejection,
    VectorKind,
    VectorSpec,
)
from vecferry.planning.inspect import inspect
from vecferry.planning.model import Inspection, Profile
from vecferry.planning.profile import profile
from vecferry.protocols import Database
from vecferry.registry import open_database

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=3),))

QDRANT_LIKE = Limits(
    store="qdrant",
    id_kinds=frozenset({IdKind.INT, IdKind.UUID}),
    vector_kinds=frozenset({VectorKind.DENSE, VectorKind.SPARSE, VectorKind.MULTI}),
    elements=frozenset({Element.FLOAT32, Element.FLOAT16}),
    metrics=frozenset({Metric.COSINE, Metric.L2, Metric.IP, Metric.L1}),
    keeps=frozenset(Shape) - {Shape.ID_TEXT, Shape.COSINE_LENGTH, Shape.ORDER, Shape.NON_FINITE_VECTOR},
    restores=frozenset({Shape.ID_TEXT, Shape.COSINE_LENGTH, Shape.ORDER}),
    normalises=frozenset({Metric.COSINE}),
    keeps_bits=True,
    named_vectors=True,
    max_dim=65_536,
    payload_indexes=frozenset(IndexKind),
    scores={Metric.COSINE: Score.SIMILARITY},
)
CHROMA_LIKE = Limits(
    store="chroma",
    id_kinds=frozenset({IdKind.TEXT, IdKind.UUID}),
    vector_kinds=frozenset({VectorKind.DENSE}),
    elements=frozenset({Element.FLOAT32}),
    metrics=frozenset({Metric.COSINE, Metric.L2, Metric.IP}),
    keeps=frozenset({Shape.ZERO_VECTOR, Shape.LIST, Shape.URI, Shape.NUL_IN_TEXT, Shape.ORDER, Shape.COSINE_LENGTH}),
    restores=frozenset({Shape.NESTED_OBJECT, Shape.TAGGED, Shape.ID_INT, Shape.RESERVED_KEY}),
    id_bytes=128,
    reserved_keys=frozenset({"_vf"}),
    reserved_prefixes=("chroma:", "#"),
    collection_name=r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]",
)


class Held:
    """A source that holds batches: one partition, one chunk for each batch."""

    def __init__(
        self, batches: Sequence[pa.RecordBatch], spec: CollectionSpec = SPEC, rejected: Sequence[Rejection] = ()
    ) -> None:
        self._batches, self._spec, self._rejected = batches, spec, tuple(rejected)
        self.reads = 0

    def describe(self) -> CollectionSpec:
        return self._spec

    def partitions(self) -> list[Partition]:
        return [Partition(id=PartitionId("all"), bounds="")]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        self.reads += 1
        for number, batch in enumerate(self._batches):
            yield Chunk(batch, Position(str(number)), self._rejected if number == 0 else ())

    def close(self) -> None:
        pass


def record(ident: str, vector: Sequence[float] | None = (1, 2, 3), **parts: Any) -> Record:
    values = None if vector is None else np.array(vector, np.float32)
    return Record(id=ident, vectors={"": values}, **parts)


def with_metadata(*values: Mapping[str, Any] | None) -> list[Record]:
    return [record(f"r{number}", metadata=value) for number, value in enumerate(values)]


def profiled(records: Sequence[Record], spec: CollectionSpec = SPEC, **options: Any) -> Profile:
    return profile(Held([from_records(spec, records)], spec), **options)


def store(name: str | None = None, **collections: Sequence[Record]) -> Database:
    """A memory store with these collections."""
    database = open_database(f"memory:{name or uuid4()}")
    for collection, records in collections.items():
        fill(database, replace(SPEC, name=collection), records)
    return database


def fill(database: Database, spec: CollectionSpec, records: Sequence[Record]) -> None:
    sink = database.sink(spec)
    sink.prepare(spec)
    if records:
        sink.write(from_records(spec, records))
    sink.finish()


def inspected(database: Database, **options: Any) -> Inspection:
    return inspect(database, url="memory:test", **options)


class Limited:
    """A memory store that claims other limits: what a plan says of a store without starting one."""

    def __init__(self, limits: Limits = LIMITS, kind: str | None = None, **collections: Sequence[Record]) -> None:
        self._inner = store(**collections)
        self.limits = limits
        self.identity = replace(self._inner.identity, kind=kind or limits.store)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
