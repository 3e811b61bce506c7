"""Read the vectors of an HNSW index as Chroma's fork of hnswlib lays it on disk.

`header.bin` holds 100 bytes (`HEADER`), `data_level0.bin` one element after the other: its links, its vector
(float32, little-endian), its label; `length.bin` one float32 per element. Where an element stands is its *slot*.
Under cosine the index holds vectors of length 1 and `length.bin` their lengths: the product is what was stored, and
what Chroma itself answers. Under the other metrics `length.bin` is memory that nobody set and must not be read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.errors import CorruptData

HEADER = Struct("<iQQQQQQiIQQQdQ")
FILES = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle")
SLOTS = 1 << 16
"""Slots whose labels are read at a time."""
RESIDENT_BYTES = 8 << 20
"""Bytes of vectors read before their pages are handed back to the system, which keeps them cached."""
MAX_LABEL = 1 << 36
HINT = "Restore this folder from a backup of the Chroma directory."


class Index:
    """The elements of one index, mapped into memory and read by slot. Thread-safe.

    Attributes:
        count: number of slots in use; dim: components of a vector.
    """

    def __init__(self, folder: Path, *, cosine: bool) -> None:
        """Open the index in `folder`.

        Raises:
            CorruptData: a file is missing, shorter than the header says, or no index.
        """
        try:
            self.count, self.dim, self._elements, self._map = _elements(folder)
            self._lengths = _lengths(folder, self.count) if cosine else None
        except FileNotFoundError as error:
            name = Path(str(error.filename)).name
            raise CorruptData(f"{folder.name}/{name} is missing.", hint=HINT) from error
        self._unread = RESIDENT_BYTES

    def labels(self) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """(first slot, labels of the slots from there), in order."""
        for start in range(0, self.count, SLOTS):
            yield start, self._elements["label"][start : start + SLOTS].astype(np.uint64)
            self._release()

    def read(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors in `slots`, shape (len(slots), dim), as they were given to Chroma."""
        vectors: NDArray[np.float32] = self._elements["vector"][slots]
        if self._lengths is not None:
            vectors *= self._lengths[slots][:, None]
        self._unread -= vectors.nbytes
        if self._unread < 0:
            self._unread = RESIDENT_BYTES
            self._release()
        return vectors

    def _release(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which trims by itself
            self._map.madvise(mmap.MADV_DONTNEED)


def _elements(folder: Path) -> tuple[int, int, NDArray[Any], mmap.mmap]:
    header = (folder / "header.bin").read_bytes()
    if len(header) < HEADER.size:
        raise CorruptData(f"{folder.name}/header.bin is torn: {len(header)} of {HEADER.size} bytes.", hint=HINT)
    version, first, _, count, size, label_at, vector_at = HEADER.unpack_from(header)[:7]
    dim, rest = divmod(label_at - vector_at, 4)
    if version != 1 or first or rest or not 0 < dim < 1 << 20 or vector_at < 4 or size < label_at + 8 or size > 1 << 24:
        raise CorruptData(f"{folder.name}/header.bin is not the header of a Chroma index.", hint=HINT)
    with (folder / "data_level0.bin").open("rb") as file:
        there = file.seek(0, 2)
        if there < count * size:
            raise CorruptData(f"{folder.name}/data_level0.bin is torn: {there} of {count * size} bytes.", hint=HINT)
        mapped = mmap.mmap(file.fileno(), count * size, access=mmap.ACCESS_READ) if count else mmap.mmap(-1, 1)
    element = np.dtype(
        {
            "names": ["vector", "label"],
            "formats": [("<f4", dim), "<u8"],
            "offsets": [vector_at, label_at],
            "itemsize": size,
        }
    )
    return count, dim, np.frombuffer(mapped, element, count), mapped


def _lengths(folder: Path, count: int) -> NDArray[np.float32]:
    path = folder / "length.bin"
    if path.stat().st_size < 4 * count:
        raise CorruptData(f"{folder.name}/length.bin is torn: {path.stat().st_size} of {4 * count} bytes.", hint=HINT)
    return np.memmap(path, "<f4", "r", shape=(count,)) if count else np.empty(0, np.float32)


def looks_whole(folder: Path) -> str | None:
    """Why the index in `folder` cannot be read, None where it looks whole. Cheap: the id map is not parsed."""
    try:
        Index(folder, cosine=True)
        with (folder / "index_metadata.pickle").open("rb") as file:
            head, size = file.read(1), file.seek(0, 2)
            file.seek(max(0, size - 1))
            if head != b"\x80" or file.read(1) != b".":
                return f"{folder.name}/index_metadata.pickle is torn: it ends after {size} bytes."
    except FileNotFoundError as error:
        return f"{folder.name}/{Path(str(error.filename)).name} is missing."
    except CorruptData as error:
        return error.message
    return None
