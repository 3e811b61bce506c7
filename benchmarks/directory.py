"""A Chroma directory to measure with, written by Chroma itself and kept in the cache.

Run: python benchmarks/directory.py ROWS DIM [FOLDER]

Records as they are in a document search: a 360-byte text, six metadata keys of four types, vectors of any length.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

COLLECTION = "documents"
_PAGE = 1000
_WORDS = ("harbour", "ferry", "ledger", "tide", "cargo", "anchor", "route", "pilot", "beacon", "quay")


def directory(rows: int, dim: int) -> Path:
    """The directory of `rows` records, made in a process of its own the first time (about 2,500 records a second)."""
    folder = user_cache_path("vecferry") / "benchmarks" / f"chroma-{rows}x{dim}"
    if not folder.is_dir():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        subprocess.run([sys.executable, __file__, str(rows), str(dim), str(unfinished)], check=True)
        unfinished.rename(folder)
    return folder


def write(rows: int, dim: int, folder: Path) -> None:
    """Write the directory with chromadb, cosine, with an index quick to build: what lies in the files is the same."""
    import chromadb

    client = chromadb.PersistentClient(str(folder), settings=chromadb.Settings(anonymized_telemetry=False))
    quick = {"hnsw:space": "cosine", "hnsw:M": 8, "hnsw:construction_ef": 32}
    collection = client.create_collection(COLLECTION, metadata=quick, embedding_function=None)
    random = np.random.default_rng(7)
    for start in range(0, rows, _PAGE):
        numbers = range(start, min(rows, start + _PAGE))
        collection.add(
            ids=[f"chunk-{row:08}" for row in numbers],
            embeddings=random.standard_normal((len(numbers), dim)).astype(np.float32),
            documents=[document(row) for row in numbers],
            metadatas=[metadata(row) for row in numbers],
        )


def document(row: int) -> str:
    """A text of 360 bytes, different for each row."""
    return (f"{row} " + " ".join(_WORDS[(row * 7 + place * 3) % 10] for place in range(70)))[:360]


def metadata(row: int) -> dict[str, str | int | float | bool]:
    """Six keys: texts that repeat, a page, a score, a flag."""
    return {
        "source": f"docs/part-{row % 97}.md",
        "page": row % 211,
        "score": (row * 37 % 1000) / 1000,
        "language": "de" if row % 3 else "en",
        "public": row % 2 == 0,
        "tenant": f"tenant-{row % 50}",
    }


def main(arguments: Sequence[str]) -> None:
    rows, dim = int(arguments[0]), int(arguments[1])
    if len(arguments) > 2:
        write(rows, dim, Path(arguments[2]))
    else:
        print(directory(rows, dim))


if __name__ == "__main__":
    main(sys.argv[1:])
