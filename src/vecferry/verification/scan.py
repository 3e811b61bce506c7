"""One side of a verification: every record of a collection read once and kept as a row of fingerprints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecferry.arrow import split
from vecferry.digest import fingerprints
from vecferry.model import Chunk, CollectionSpec, Partition
from vecferry.planning.breakdown import Groups
from vecferry.protocols import Source
from vecferry.verification.spill import BUCKETS, Rows, Spill, Texts
from vecferry.verification.tries import Tries

ROW = np.dtype(
    [
        ("hi", "<u8"),
        ("lo", "<u8"),
        ("content", "<u8", 2),
        ("seq", "<i8"),
        ("place", "<u8"),
        ("length", "<u4"),
    ]
)
"""A record: fingerprints of its id and of its content, its place in the source's order, where its id stands."""
NO_SEQ = np.iinfo(np.int64).min

_ROWS, _BYTES = 1024, 768 << 10
"""Records viewed and hashed at a time: with all that is made of them, they stay in the CPU's cache."""

View = Callable[[pa.RecordBatch], tuple[pa.RecordBatch, CollectionSpec]]
"""What becomes of a batch before it is hashed, and the spec it then has."""


def _by_id(rows: Rows) -> NDArray[np.integer[Any]]:
    buckets: NDArray[np.uint64] = rows["hi"] // (2**64 // BUCKETS)
    return buckets


class Side:
    """The rows of one side, and what could not be read of it. Can be pickled, to be filled by another process."""

    def __init__(self, folder: Path, *, limit: int, by: Sequence[str] = ()) -> None:
        self.rows = Spill(folder / "rows", ROW, limit=limit, bucket_of=_by_id)
        self.texts = Texts(folder / "ids")
        self.groups = Groups(by)
        self.unreadable: Counter[str] = Counter()
        self.set_aside: Counter[str] = Counter()
        """records that a transform cannot be done on"""
        self.low, self.high = np.iinfo(np.int64).max, NO_SEQ

    @property
    def records(self) -> int:
        return self.rows.rows

    def add(self, batch: pa.RecordBatch, spec: CollectionSpec, seq: pa.Array, *, seed: int) -> None:
        """Keep the records of `batch`; `seq` is their place in the order of the side that they come from."""
        rows = np.empty(batch.num_rows, ROW)
        ids, rows["content"] = fingerprints(batch, spec, seed=seed)
        rows["hi"], rows["lo"] = ids[:, 0], ids[:, 1]
        rows["seq"] = pc.fill_null(seq, NO_SEQ).to_numpy(zero_copy_only=False)
        rows["place"], rows["length"] = self.texts.add(batch.column("id"))
        ordered = rows["seq"][rows["seq"] != NO_SEQ]
        if len(ordered):
            self.low, self.high = min(self.low, int(ordered.min())), max(self.high, int(ordered.max()))
        self.rows.add(rows)
        self.groups.add(batch)

    def absorb(self, other: Side) -> None:
        """Take over what another part of the same side holds; `other` is closed."""
        start = self.texts.append(other.texts)
        for rows in other.rows.buckets(apart=False):
            rows["place"] += np.uint64(start)
            self.rows.add(rows)
        self.groups.absorb(other.groups)
        self.unreadable += other.unreadable
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        other.close()

    def texts_of(self, rows: Rows) -> list[str]:
        """The ids of `rows`."""
        return [self.texts.read(int(row["place"]), int(row["length"])) for row in rows]

    def close(self) -> None:
        self.texts.close()


def scan(
    source: Source,
    side: Side,
    *,
    seed: int,
    view: View,
    tries: Tries,
    seen: Callable[[Chunk], None],
    partitions: Iterable[Partition] | None = None,
) -> None:
    """Read `source`, or these partitions of it, into `side`; `seen` hears of every chunk."""
    for chunk in tries.chunks(source, partitions):
        for rejection in chunk.rejected:
            (side.set_aside if rejection.aside else side.unreadable)[rejection.reason] += 1
        for part in split(chunk.batch, max_rows=_ROWS, max_bytes=_BYTES):
            batch, spec = view(part)
            if batch.num_rows:
                side.add(batch, spec, batch.column("seq"), seed=seed)
        seen(chunk)
