"""Search and filter a Chroma collection with Chroma itself, on a copy, to compare its answers and its latency."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from vecferry.connectors.chroma import _codec, client
from vecferry.connectors.chroma.catalog import FILE, Entry
from vecferry.connectors.chroma.source import ChromaSource
from vecferry.connectors.chroma.where import Where, rounded
from vecferry.connectors.chroma.where import where as to_where
from vecferry.errors import Unsupported
from vecferry.filters import Not, leaves_of
from vecferry.model import CollectionSpec, Hit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vecferry.filters import Filter

_PAGE = 100_000
"""Ids that one answer to a filter brings."""


class SearchableChromaSource(ChromaSource):
    """A source that can search, where chromadb is installed. Chroma writes when it opens: it gets a copy of its own."""

    def __init__(self, folder: Path, entry: Entry, spec: CollectionSpec) -> None:
        super().__init__(folder, entry, spec)
        self._guard = RLock()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._client: client.Client | None = None
        self._collection: Any = None
        self._unseen: frozenset[str] = frozenset()

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

    def count_where(self, where: Filter) -> int:
        """The exact number of records that match, as Chroma's own `where` finds them.

        Raises:
            Unsupported: Chroma has no such filter, it would round, or some records keep the key where no filter looks.
        """
        collection = self._opened()
        self._refuse_inexact(where)
        try:
            return self._count(to_where(where))
        except Unsupported:
            if not isinstance(where, Not):
                raise
        return int(collection.count()) - self.count_where(where.part)

    def _refuse_inexact(self, where: Filter) -> None:
        for leaf in leaves_of(where):
            if leaf.key in self._unseen:
                raise Unsupported(
                    f"Some records keep '{leaf.key}' in a form that Chroma's filters cannot see; the plan said so.",
                    hint="Read the records and look at the key yourself.",
                )
        for key, kind in rounded(where):
            if self._holds(key, kind):
                raise Unsupported(
                    f"Chroma rounds numbers under '{key}', which holds integers and floats both, to compare them.",
                    hint="Keep numbers of one type under a key.",
                )

    def _holds(self, key: str, kind: type) -> bool:
        """Are there values of this type under the key?"""
        column = "int_value" if kind is int else "float_value"
        sql = (
            f"SELECT 1 FROM embedding_metadata m JOIN embeddings e ON e.id = m.id AND e.segment_id = ? "  # noqa: S608
            f"WHERE m.key = ? AND m.{column} IS NOT NULL LIMIT 1"
        )
        assert self._copy is not None
        with _read(Path(self._copy.name) / FILE) as db:
            return db.execute(sql, (self._entry.metadata, key)).fetchone() is not None

    def _count(self, chosen: Where) -> int:
        """Page by page, since Chroma gives ids and no count."""
        assert self._client is not None
        found = 0
        while True:
            try:
                page = self._collection.get(where=chosen, limit=_PAGE, offset=found, include=[])["ids"]
            except self._client.refusals as error:
                raise Unsupported(
                    f"This version of Chroma does not take the filter: {error}",
                    hint="Install a newer chromadb to have this filter checked; the records are compared all the same.",
                ) from error
            found += len(page)
            if len(page) < _PAGE:
                return found

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
                self._unseen = _unseen(where / FILE, self._entry) if self._spec.card else frozenset()
                self._client = client.Client(where)
                self._collection = self._client.collection(self._entry.tenant, self._entry.database, self._entry.name)
            return self._collection


def _read(file: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True))


def _unseen(file: Path, entry: Entry) -> frozenset[str]:
    """The metadata keys that stand in the envelope of some record."""
    sql = (
        "SELECT m.string_value FROM embeddings e JOIN embedding_metadata m ON m.id = e.id AND m.key = ? "
        "WHERE e.segment_id = ?"
    )
    with _read(file) as db:
        texts = db.execute(sql, (_codec.ENVELOPE, entry.metadata))
        return frozenset(key for (text,) in texts for key in _codec.wrapped_keys(text))
