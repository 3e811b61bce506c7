"""Search a Chroma collection with Chroma itself, on a copy, to compare its latency and its answers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from vecferry.connectors.chroma import client
from vecferry.connectors.chroma.catalog import FILE, Entry
from vecferry.connectors.chroma.source import ChromaSource
from vecferry.errors import Unsupported
from vecferry.model import CollectionSpec, Hit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vecferry.filters import Filter


class SearchableChromaSource(ChromaSource):
    """A source that can search, where chromadb is installed. Chroma writes when it opens: it gets a copy of its own."""

    def __init__(self, folder: Path, entry: Entry, spec: CollectionSpec) -> None:
        super().__init__(folder, entry, spec)
        self._guard = RLock()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._client: client.Client | None = None
        self._collection: Any = None

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """Chroma's own approximate search; scores are Chroma's distances (`LIMITS.scores`)."""
        if exact or where is not None or vector:
            raise Unsupported(
                "A Chroma directory is searched by Chroma's index alone: not exactly, and not with filters.",
                hint="Compute exact results from the vectors themselves; vecferry verify does.",
            )
        found = self._opened().query(
            query_embeddings=np.asarray(queries, np.float32), n_results=k, include=["distances"]
        )
        return [
            [Hit(text, float(score)) for text, score in zip(ids, scores, strict=True)]
            for ids, scores in zip(found["ids"], found["distances"], strict=True)
        ]

    def close(self) -> None:
        with self._guard:
            self._collection = None
            if self._client is not None:
                self._client.close()
                self._client = None
            if self._copy is not None:
                self._copy.cleanup()
                self._copy = None
        super().close()

    def _opened(self) -> Any:
        with self._guard:
            if self._collection is None:
                self._copy = tempfile.TemporaryDirectory(prefix="vecferry-chroma-")
                where = Path(self._copy.name)
                shutil.copy2(self._folder / FILE, where / FILE)
                if self._entry.vectors and (self._folder / self._entry.vectors).exists():
                    shutil.copytree(self._folder / self._entry.vectors, where / self._entry.vectors)
                self._client = client.Client(where)
                self._collection = self._client.collection(self._entry.tenant, self._entry.database, self._entry.name)
            return self._collection
