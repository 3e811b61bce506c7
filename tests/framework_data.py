"""What the tests of framework layouts share: some documents, a small real embedding, and the journey there and back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

import vecferry
from vecferry import arrow
from vecferry.planning.model import CollectionPlan
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database

DIM = 64
SENTENCES = (
    "A ferry carries people and cars across the water.",
    "The harbour pilot boards large ships before they enter port.",
    "Vectors of floating point numbers stand for the meaning of a text.",
    "A database keeps records and finds them again.",
    "Proof that nothing was lost needs a count, and more than a count.",
)
TEXTS = tuple(
    f"{sentence} Chapter {chapter}: «Überfahrt» {'船' * chapter}" for sentence in SENTENCES for chapter in range(4)
)
"""20 texts of five kinds, not all of them ASCII."""


def embed(text: str) -> list[float]:
    """Hashed character trigrams: texts with common words lie near each other. Longer texts give longer vectors."""
    vector = np.zeros(DIM)
    padded = f"  {text.lower()}  "
    for start in range(len(padded) - 2):
        digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=4).digest()
        vector[int.from_bytes(digest[:2], "little") % DIM] += 1 if digest[2] % 2 else -1
    return [float(value) for value in vector]


def carry(source: str, target: str, folder: Path, **options: object) -> CollectionPlan:
    """Migrate one collection as a user does, verified; its plan."""
    settings = vecferry.Settings(
        plan=PlanOptions(**options),  # type: ignore[arg-type]
        ledger=str(folder / "ledger.db"),
        reports=None,
    )
    done = vecferry.migrate(source, target, settings=settings)
    assert done.verification is not None
    assert done.differences == 0, done.verification
    (plan,) = done.plan.collections
    return plan


def assert_same(one: pa.Table, other: pa.Table) -> None:
    """Both hold the same records; vectors that a store scaled came back to within 1 ulp, as the plan says."""
    left, right = (np.stack(table.column("vector").to_numpy()) for table in (one, other))
    np.testing.assert_array_max_ulp(left, right, maxulp=1)
    assert one.drop_columns(["vector"]).to_pylist() == other.drop_columns(["vector"]).to_pylist()


def canonical(url: str, name: str) -> pa.Table:
    """Every record of a collection in its canonical form, by id, without the place in the source's order."""
    database = open_database(url)
    try:
        source = database.source(name)
        batches = [chunk.batch for partition in source.partitions() for chunk in source.read(partition)]
        empty = arrow.empty(source.describe())
        source.close()
    finally:
        database.close()
    return pa.Table.from_batches([empty, *batches]).drop_columns(["seq"]).sort_by("id").combine_chunks()
