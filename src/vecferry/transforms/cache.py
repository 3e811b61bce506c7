"""Embeddings that were paid for, kept by content in one SQLite file: no text is sent to one model twice.

Key: BLAKE2b-256 of the canonical JSON of [the model's identity, the text]. Value: the vector as little-endian float32.
A vector is durable before anybody uses it, so a run that is killed and resumed finds all that it had paid.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_state_path

from vecferry.errors import ConfigError, CorruptData
from vecferry.tags import canonical

VARIABLE = "VECFERRY_EMBEDDINGS"
_AT_ONCE = 500
_WAIT_S = 60.0
_TABLE = "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"


def location() -> Path:
    """The file: $VECFERRY_EMBEDDINGS, else the user's own."""
    given = os.environ.get(VARIABLE, "").strip()
    return Path(given).expanduser().absolute() if given else user_state_path("vecferry") / "embeddings.sqlite"


def key_of(identity: Sequence[object], text: str) -> bytes:
    """The key of one text under one model; 32 bytes."""
    return hashlib.blake2b(canonical([*identity, text]), digest_size=32).digest()


class Cache:
    """The file at `path`, opened for each use: any number of threads and processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors of those keys that are known.

        Raises:
            ConfigError: the file cannot be read.
        """
        found: dict[bytes, NDArray[np.float32]] = {}
        if not self.path.exists():
            return found
        with self._open() as database:
            for some in _parts(list(keys)):
                marks = ",".join("?" * len(some))
                rows = database.execute(f"SELECT key, vector FROM embeddings WHERE key IN ({marks})", some)  # noqa: S608
                found.update((bytes(key), self._vector(raw)) for key, raw in rows)
        return found

    def store(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep these vectors; durable when it returns.

        Raises:
            ConfigError: the file cannot be written.
        """
        rows = [(key, vector.astype("<f4").tobytes()) for key, vector in vectors.items()]
        with self._open() as database, database:
            database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?)", rows)

    def _vector(self, raw: bytes) -> NDArray[np.float32]:
        if not raw or len(raw) % 4:
            raise CorruptData(f"The embedding cache {self.path} is damaged.", hint="Remove it; texts are paid anew.")
        return np.frombuffer(raw, "<f4").astype(np.float32)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=_WAIT_S)
            try:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=FULL")
                database.execute(_TABLE)
                yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"The embedding cache {self.path} cannot be used: {error}.",
                hint=f"Check the path, its permissions and the space; {VARIABLE}=FILE names another one.",
            ) from error


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
