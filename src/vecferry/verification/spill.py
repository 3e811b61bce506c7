"""Rows and texts of one side of a verification, in bounded memory: small ones stay there, large ones go to files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BUCKETS = 256
_COPIED = 1 << 20
Rows = NDArray[np.void]
BucketOf = Callable[[Rows], NDArray[np.integer[Any]]]


class Spill:
    """Rows of one dtype, shared out over `BUCKETS` buckets.

    Up to `limit` bytes stay in memory; then every bucket gets a file, written a `limit` at a time, so that memory
    stays at `limit` and one bucket whatever the number of rows.
    """

    def __init__(self, folder: Path, dtype: np.dtype[np.void], *, limit: int, bucket_of: BucketOf) -> None:
        self._folder, self._dtype, self._limit, self._bucket_of = folder, dtype, limit, bucket_of
        self._held: list[Rows] = []
        self._held_bytes = 0
        self.rows = 0
        self.spilled = False

    def add(self, rows: Rows) -> None:
        """Keep `rows`."""
        if not len(rows):
            return
        self._held.append(rows)
        self._held_bytes += rows.nbytes
        self.rows += len(rows)
        if self._held_bytes > self._limit:
            self._flush()

    def buckets(self, *, apart: bool) -> Iterator[Rows]:
        """Every bucket in turn, or all rows at once where nothing was spilled and `apart` is not asked for."""
        if apart and not self.spilled:
            self._flush()
        if not self.spilled:
            yield self._all_held()
            return
        self._flush()
        for bucket in range(BUCKETS):
            path = self._path(bucket)
            yield np.fromfile(path, self._dtype) if path.exists() else np.empty(0, self._dtype)

    def _all_held(self) -> Rows:
        return np.concatenate(self._held) if self._held else np.empty(0, self._dtype)

    def _flush(self) -> None:
        rows, self._held, self._held_bytes, self.spilled = self._all_held(), [], 0, True
        if not len(rows):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        buckets = self._bucket_of(rows)
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(BUCKETS + 1))
        for bucket in np.flatnonzero(np.diff(bounds)):
            with self._path(int(bucket)).open("ab") as file:
                rows[order[bounds[bucket] : bounds[bucket + 1]]].tofile(file)

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:03d}"


class Texts:
    """The ids of one side as text, in one file: a row holds where its text stands, so that ids cost no memory."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("w+b")
        self._end = 0

    def __getstate__(self) -> tuple[Path, int]:
        """For another process: what is written, under its name; this object is not to be written to any more."""
        self._file.flush()
        return self._path, self._end

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self._path, self._end = state
        self._file = self._path.open("r+b")
        self._file.seek(self._end)

    def add(self, ids: pa.StringArray) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """Keep the texts; where each stands, and how many bytes each is long."""
        _, offsets, data = ids.buffers()
        bounds = np.frombuffer(offsets, np.int32, len(ids) + 1, ids.offset * 4).astype(np.int64)
        first, last = int(bounds[0]), int(bounds[-1])
        if last > first:
            self._file.write(memoryview(data)[first:last])
        places = (bounds[:-1] - first + self._end).astype(np.uint64)
        self._end += last - first
        return places, np.diff(bounds).astype(np.uint32)

    def append(self, other: Texts) -> int:
        """Keep the texts of `other` too; where they now begin."""
        start = self._end
        other._file.seek(0)
        shutil.copyfileobj(other._file, self._file, _COPIED)
        self._end += other._end
        return start

    def read(self, place: int, length: int) -> str:
        """The text that stands at `place`."""
        self._file.seek(place)
        return self._file.read(length).decode("utf-8", "replace")

    def close(self) -> None:
        self._file.close()
