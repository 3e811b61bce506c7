"""Which rows of an unfinished collection are superseded: found in bounded memory, whatever its size.

Every record's key becomes 16 bytes of BLAKE2b, spread over buckets that fit in memory. In a sorted bucket the rows of
one key stand side by side in the order in which they were written, and all but the last are superseded.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vecferry.connectors.files._codec import Entry, Part

BUCKET_ROWS = 1 << 18
"""24 bytes a row, twice while it is sorted"""
_ROW = np.dtype([("high", "<u8"), ("low", "<u8"), ("entry", "<u4"), ("row", "<u4")])

Rows = NDArray[np.void]
KeysOf = Callable[[Entry], Sequence[bytes]]


def superseded(
    entries: Sequence[Entry], keys_of: KeysOf, *, bucket_rows: int = BUCKET_ROWS
) -> dict[str, NDArray[np.int64]]:
    """Part file -> the rows in it, ascending, whose key a later row or removal has again."""
    total = sum(entry.rows for entry in entries if isinstance(entry, Part))
    dead: dict[int, list[NDArray[np.int64]]] = {}
    for rows in _buckets(_hashed(entries, keys_of), 1 + total // bucket_rows):
        for row in _older(rows):
            dead.setdefault(int(row["entry"]), []).append(row["row"])
    return {
        entry.file: np.sort(np.array(dead[number], np.int64))
        for number, entry in enumerate(entries)
        if number in dead and isinstance(entry, Part)
    }


def _hashed(entries: Iterable[Entry], keys_of: KeysOf) -> Iterator[Rows]:
    for number, entry in enumerate(entries):
        keys = keys_of(entry)
        rows = np.zeros(len(keys), _ROW)
        joined = b"".join([hashlib.blake2b(key, digest_size=16).digest() for key in keys])
        hashes = np.frombuffer(joined, "<u8").reshape(-1, 2)
        rows["high"], rows["low"] = hashes[:, 0], hashes[:, 1]
        rows["entry"], rows["row"] = number, np.arange(len(keys))
        yield rows


def _buckets(batches: Iterator[Rows], count: int) -> Iterator[Rows]:
    """All rows, those of equal key in one bucket, in the order in which they were given."""
    if count == 1:
        everything = list(batches)
        yield np.concatenate(everything) if everything else np.zeros(0, _ROW)
        return
    with tempfile.TemporaryDirectory(prefix="vecferry-") as folder, ExitStack() as stack:
        paths = [Path(folder) / str(number) for number in range(min(count, 512))]
        _spill(batches, [stack.enter_context(path.open("wb")) for path in paths])
        for path in paths:
            yield np.fromfile(path, _ROW)


def _spill(batches: Iterator[Rows], files: Sequence[BinaryIO]) -> None:
    for rows in batches:
        bucket = rows["high"] % len(files)
        for number in np.unique(bucket):
            files[int(number)].write(rows[bucket == number].tobytes())
    for file in files:
        file.flush()


def _older(rows: Rows) -> Rows:
    """All rows but the last of each key."""
    ordered = rows[np.lexsort((rows["low"], rows["high"]))]  # stable: equal keys stay in the order of writing
    high, low = ordered["high"], ordered["low"]
    repeats = (high[:-1] == high[1:]) & (low[:-1] == low[1:])
    older: Rows = ordered[:-1][repeats]
    return older
