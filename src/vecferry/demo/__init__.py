"""The demo's data: Python's own documentation in four Chroma collections, with vectors of a real embedding model.

Vectors and texts lie in this folder (`make_corpus` says how they were made), so that the demo needs no network and no
model: only chromadb to write the source, and Qdrant's edge engine for the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vecferry.registry import missing_extra

__all__ = ["QUESTIONS", "Question", "Summary", "write_chroma"]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Something a person might ask of one collection. `vector` is float32 of shape (512,)."""

    text: str
    collection: str
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written: collection -> records, and the vectors' dimension."""

    collections: Mapping[str, int]
    dimension: int

    @property
    def records(self) -> int:
        return sum(self.collections.values())

    def __str__(self) -> str:
        return f"{self.records:,} records in {len(self.collections)} collections, {self.dimension} dimensions, cosine."


def write_chroma(folder: Path) -> Summary:
    """Write the four collections into a new Chroma directory, through Chroma itself.

    Raises:
        ConfigError: chromadb is not installed.
    """
    try:
        import chromadb
    except ModuleNotFoundError as error:
        raise missing_extra("Chroma directories to write", "chroma-local") from error
    corpus = _table("corpus.parquet")
    client = chromadb.PersistentClient(path=str(folder), settings=chromadb.Settings(anonymized_telemetry=False))
    written = {name: _write(client, name, part) for name, part in _parts(corpus)}
    client.close()
    return Summary(collections=written, dimension=corpus.column("vector").type.list_size)


def _parts(corpus: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """(collection, its rows) in the order of the file."""
    names = corpus.column("collection")
    for name in names.unique().to_pylist():
        yield name, corpus.filter(pa.compute.equal(names, name))


def _write(client: Any, name: str, part: pa.Table) -> int:
    rows = part.select(["topic", "section", "position", "see_also", "text"]).to_pylist()
    collection = client.create_collection(
        name,
        configuration={"hnsw": {"space": "cosine"}},
        metadata={"about": "Python’s own documentation", "language": "en"},
        embedding_function=None,
    )
    collection.add(
        ids=[f"{row['topic']}/{row['position']}" for row in rows],
        embeddings=_vectors(part),
        documents=[row["text"] for row in rows],
        metadatas=[_metadata(row) for row in rows],
    )
    return len(rows)


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    """What an indexing pipeline would note: text, whole and broken numbers, a truth value, a list, other alphabets."""
    text = row["text"]
    found = {
        "topic": row["topic"],
        "section": row["section"],
        "position": row["position"],
        "length": len(text),
        "letters": round(sum(map(str.isalpha, text)) / len(text), 3),
        "example": ">>>" in text or "::=" in text,
        "label": f"§ {row['topic']} – {row['position'] + 1}",
    }
    return {**found, "see_also": row["see_also"]} if row["see_also"] else found


@cache
def _table(name: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(files(__package__).joinpath(name).read_bytes()))


def _vectors(table: pa.Table) -> NDArray[np.float32]:
    """The vectors of a table, shape (rows, dim)."""
    column = table.column("vector").combine_chunks()
    small = column.flatten().to_numpy().reshape(len(column), -1)
    vectors: NDArray[np.float32] = small * table.column("factor").to_numpy()[:, None]
    return vectors


def _questions() -> tuple[Question, ...]:
    table = _table("questions.parquet")
    texts, collections = (table.column(name).to_pylist() for name in ("text", "collection"))
    return tuple(map(Question, texts, collections, _vectors(table)))


QUESTIONS: tuple[Question, ...] = _questions()
"""Six questions with the vectors that the same model gave them."""
