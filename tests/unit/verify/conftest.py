"""Two memory stores with the same records, to be damaged by each test in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

import numpy as np
import pytest

from vecferry.arrow import from_records
from vecferry.model import CollectionSpec, Metric, Record, VectorSpec
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.verification import Check, Level, Verification, VerifyOptions, verify

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=16, metric=Metric.COSINE),))


def records(count: int, *, seed: int = 1) -> list[Record]:
    """Records of every kind that a check must see: unicode, nulls, lists, missing documents, an order."""
    random = np.random.default_rng(seed)
    return [
        Record(
            id=f"document {n:05d} ü",
            vectors={"": random.standard_normal(16).astype(np.float32)},
            document=None if n % 7 == 0 else f"text of {n} " * 3,
            uri=None if n % 2 else f"https://example.org/{n}",
            metadata=None
            if n % 11 == 0
            else {
                "page": n % 50,
                "lang": ("de", "en", "日本")[n % 3],
                "score": n / 8,
                "new": n % 2 == 0,
                "tags": ["a", "b"],
            },
            seq=n * 10,
        )
        for n in range(count)
    ]


@dataclass
class Stage:
    """A source and a target store with the same collection in both."""

    source: Database
    target: Database
    records: list[Record]
    spec: CollectionSpec = SPEC

    def write(self, database: Database, changed: list[Record], spec: CollectionSpec | None = None) -> None:
        spec = spec or self.spec
        sink = database.sink(spec)
        sink.prepare(spec)
        sink.write(from_records(spec, changed))
        sink.close()

    def delete(self, database: Database, *ids: str) -> None:
        sink = database.sink(self.spec)
        sink.prepare(self.spec)
        sink.delete(list(ids))  # type: ignore[attr-defined]

    def change(self, number: int, **fields: object) -> str:
        """Write record `number` to the target with other fields; its id."""
        changed = replace(self.records[number], **fields)  # type: ignore[arg-type]
        self.write(self.target, [changed])
        return changed.id

    def verify(self, **options: object) -> Verification:
        return verify(self.source, self.target, [("docs", "docs")], options=VerifyOptions(**options))  # type: ignore[arg-type]

    def check(self, level: Level, **options: object) -> Check:
        found = self.verify(**options).collections[0].check(level)
        assert found is not None
        return found


@pytest.fixture
def stage() -> Iterator[Stage]:
    """300 records on both sides."""
    both = [open_database(f"memory:{uuid4()}?partition_rows=100&chunk_rows=40") for _ in range(2)]
    stage = Stage(both[0], both[1], records(300))
    for database in both:
        stage.write(database, stage.records)
    yield stage
    for database in both:
        database.close()
