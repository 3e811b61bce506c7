"""The Chroma directories that real chromadb versions wrote (tests/data/make_chroma.py), unpacked, with their truth.

`VECFERRY_TEST_CHROMA_DATA=DIR` takes the archives from DIR instead: directories that were made anew just now.
"""

from __future__ import annotations

import base64
import json
import os
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMMITTED = Path(__file__).parent / "data" / "chroma"
NAMES = ("0.4.24", "0.5.23", "0.6.3", "1.5.9", "0.4.24-to-1.5.9", "0.5.23-to-1.5.9")


@dataclass(frozen=True)
class ChromaRecord:
    """A record as get() of the chromadb that wrote it returns it."""

    id: str
    document: str | None
    metadata: dict[str, Any] | None
    uri: str | None
    vector: NDArray[np.float32]
    """what get() returned"""
    given_vector: NDArray[np.float32]
    """what the application had given: under cosine, get() may return it rounded (norm times unit vector)"""


@dataclass(frozen=True)
class ChromaCollection:
    """One collection of a directory; `records` stand in get()'s order."""

    tenant: str
    database: str
    name: str
    id: str
    space: str
    dimension: int | None
    metadata: dict[str, Any] | None
    records: list[ChromaRecord]


@dataclass(frozen=True)
class ChromaData:
    """An unpacked directory: `path` holds chroma.sqlite3."""

    name: str
    path: Path
    truth: dict[str, Any]

    @cached_property
    def collections(self) -> list[ChromaCollection]:
        """What stands in it."""
        return [_collection(entry) for entry in self.truth["collections"]]

    def collection(self, name: str, database: str = "default_database", tenant: str = "default_tenant"):
        """The one collection of that name."""
        wanted = (tenant, database, name)
        return next(one for one in self.collections if (one.tenant, one.database, one.name) == wanted)


def unpack(name: str, room: Path) -> ChromaData:
    """A fresh copy of the directory `name` under `room`."""
    folder = Path(os.environ.get("VECFERRY_TEST_CHROMA_DATA", COMMITTED))
    with tarfile.open(folder / f"{name}.tar.xz") as tar:
        tar.extractall(room, filter="data")
    return ChromaData(name, room / "data", json.loads((room / "truth.json").read_text()))


def _collection(entry: dict[str, Any]) -> ChromaCollection:
    kept = ("tenant", "database", "name", "id", "space", "dimension", "metadata")
    return ChromaCollection(**{key: entry[key] for key in kept}, records=[_record(one) for one in entry["records"]])


def _record(entry: dict[str, Any]) -> ChromaRecord:
    got = entry["vector"]
    return ChromaRecord(
        id=entry["id"],
        document=entry["document"],
        metadata=entry["metadata"],
        uri=entry["uri"],
        vector=_vector(got),
        given_vector=_vector(entry.get("given_vector", got)),
    )


def _vector(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4")
