"""Two sides set against each other, bucket by bucket: what is missing, extra, changed, repeated or out of order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecferry.verification.scan import NO_SEQ, Side
from vecferry.verification.spill import BUCKETS, Rows, Spill

_PAIR = np.dtype([("source", "<i8"), ("target", "<i8"), ("place", "<u8"), ("length", "<u4")])


@dataclass(frozen=True, slots=True)
class BucketDiff:
    """One bucket compared, as rows.

    Attributes:
        missing, changed, repeated: of the source side; `repeated` are ids that stood there before.
        extra, doubled: of the target side; `doubled` are ids that it gave more than once.
        again: of the target side, once each: the doubled that the source has too, and that did not change.
        source, target: the matched rows of each side, partners in the same order.
    """

    matched: int
    missing: Rows
    extra: Rows
    changed: Rows
    repeated: Rows
    doubled: Rows
    again: Rows
    source: Rows
    target: Rows


def compare(source: Side, target: Side) -> Iterator[BucketDiff]:
    """The differences of two sides, a bucket at a time, in bounded memory."""
    apart = source.rows.spilled or target.rows.spilled
    pairs = zip(source.rows.buckets(apart=apart), target.rows.buckets(apart=apart), strict=True)
    return (_compare(left, right) for left, right in pairs)


def _compare(source: Rows, target: Rows) -> BucketDiff:
    source, repeated = _unique(source)
    target, doubled = _unique(target)
    left, right = _partners(source, target)
    changed = (source["content"][left] != target["content"][right]).any(axis=1)
    return BucketDiff(
        matched=len(left),
        missing=np.delete(source, left),
        extra=np.delete(target, right),
        changed=source[left[changed]],
        repeated=repeated,
        doubled=doubled,
        again=_among(target[right[~changed]], doubled),
        source=source[left],
        target=target[right],
    )


def _unique(rows: Rows) -> tuple[Rows, Rows]:
    """`rows` sorted by id digest, and those whose id stood there before."""
    rows = rows[np.lexsort((rows["lo"], rows["hi"]))]
    again = np.zeros(len(rows), bool)
    again[1:] = (rows["hi"][1:] == rows["hi"][:-1]) & (rows["lo"][1:] == rows["lo"][:-1])
    return (rows[~again], rows[again]) if again.any() else (rows, rows[:0])


def _among(rows: Rows, others: Rows) -> Rows:
    """Those of `rows` whose id is one of the `others`'."""
    if not len(others):
        return rows[:0]
    known = set(zip(others["hi"].tolist(), others["lo"].tolist(), strict=True))
    pairs = zip(rows["hi"].tolist(), rows["lo"].tolist(), strict=True)
    among: Rows = rows[np.fromiter((pair in known for pair in pairs), bool, len(rows))]
    return among


def _partners(source: Rows, target: Rows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indexes of the rows of each side that share an id; no id occurs twice on one side."""
    high = np.concatenate((source["hi"], target["hi"]))
    low = np.concatenate((source["lo"], target["lo"]))
    order = np.lexsort((low, high))  # stable: where ids are equal, the source's row stands first
    high, low = high[order], low[order]
    first = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1]))
    return order[first], order[first + 1] - len(source)


class OrderCheck:
    """Does the target's order of records give the source's? Fed with partners, asked at the end."""

    def __init__(self, folder: Path, source: Side, *, limit: int) -> None:
        low, span = source.low, max(1, source.high - source.low + 1)
        self._pairs = Spill(
            folder / "order",
            _PAIR,
            limit=limit,
            bucket_of=lambda rows: np.minimum((rows["source"] - low) / span * BUCKETS, BUCKETS - 1).astype(np.int64),
        )
        self._side = source
        self.without_source = 0
        self.without_target = 0

    @property
    def compared(self) -> int:
        return self._pairs.rows

    def add(self, diff: BucketDiff) -> None:
        """Keep the places of partners that have one on both sides; count the others."""
        in_source, in_target = diff.source["seq"] != NO_SEQ, diff.target["seq"] != NO_SEQ
        self.without_source += int((~in_source).sum())
        self.without_target += int((in_source & ~in_target).sum())
        both = in_source & in_target
        pairs = np.empty(int(both.sum()), _PAIR)
        pairs["source"], pairs["target"] = diff.source["seq"][both], diff.target["seq"][both]
        pairs["place"], pairs["length"] = diff.source["place"][both], diff.source["length"][both]
        self._pairs.add(pairs)

    def out_of_order(self, limit: int) -> tuple[int, list[str]]:
        """How many records stand before one that they should follow, and the ids of the first `limit`.

        Records that share a place on one side, as those of merged collections do, may stand there in any order.
        """
        count, highest = 0, NO_SEQ
        ids: list[str] = []
        for rows in self._pairs.buckets(apart=False):
            ordered = rows[np.argsort(rows["source"], kind="stable")]
            reached = np.maximum.accumulate(np.concatenate(([highest], ordered["target"])))
            earlier = np.searchsorted(ordered["source"], ordered["source"])  # how many stand at an earlier place
            wrong = ordered[ordered["target"] < reached[earlier]]
            count, highest = count + len(wrong), reached[-1]
            ids += self._side.texts_of(wrong[: limit - len(ids)])
        return count, ids
