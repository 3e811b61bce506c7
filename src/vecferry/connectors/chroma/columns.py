"""Records in the form in which Chroma takes them: a list per column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from vecferry.arrow import dense, present, utf8
from vecferry.connectors.chroma import _codec, rounding
from vecferry.model import CollectionSpec, IdKind, Keep, Metric, Rejection, VectorSpec


class Columns(msgspec.Struct, kw_only=True):
    """Records, column by column; `embeddings` has the shape (rows, dim), float32."""

    ids: list[str]
    embeddings: Any
    documents: list[str | None]
    uris: list[str | None]
    metadatas: list[dict[str, Any] | None]
    seqs: list[int | None]

    def take(self, rows: Sequence[int]) -> Columns:
        """Some of them."""
        return Columns(
            ids=[self.ids[row] for row in rows],
            embeddings=self.embeddings[list(rows)],
            documents=[self.documents[row] for row in rows],
            uris=[self.uris[row] for row in rows],
            metadatas=[self.metadatas[row] for row in rows],
            seqs=[self.seqs[row] for row in rows],
        )

    def slice(self, start: int, stop: int) -> Columns:
        """Some of them."""
        return self.take(range(start, min(stop, len(self.ids))))

    def arguments(self) -> dict[str, Any]:
        """Arguments of `add` and `upsert`; a column that is all None is left out."""
        return {
            "ids": self.ids,
            "embeddings": self.embeddings,
            **some("documents", self.documents),
            **some("uris", self.uris),
            **some("metadatas", self.metadatas),
        }

    def held(self) -> pa.RecordBatch:
        """The records as one Arrow batch that can be kept in a file."""
        return pa.RecordBatch.from_pydict(
            {
                "id": self.ids,
                "vector": [row.tobytes() for row in self.embeddings],
                "document": pa.array(self.documents, pa.large_string()),
                "uri": pa.array(self.uris, pa.large_string()),
                "metadata": [None if one is None else msgspec.json.encode(one) for one in self.metadatas],
            }
        )

    @classmethod
    def from_held(cls, batch: pa.RecordBatch) -> Columns:
        """What `held` was made of."""
        rows = batch.to_pydict()
        return cls(
            ids=rows["id"],
            embeddings=np.stack([np.frombuffer(raw, np.float32) for raw in rows["vector"]]),
            documents=rows["document"],
            uris=rows["uri"],
            metadatas=[None if raw is None else msgspec.json.decode(raw) for raw in rows["metadata"]],
            seqs=[None] * batch.num_rows,
        )


def some(name: str, column: Sequence[object]) -> dict[str, Any]:
    """The column as an argument; nothing where it is all None."""
    return {name: column} if any(value is not None for value in column) else {}


def columns_of(
    batch: pa.RecordBatch, spec: CollectionSpec, vector: VectorSpec, holds: _codec.Holds
) -> tuple[Columns, tuple[Rejection, ...]]:
    """What Chroma takes of a canonical batch, of equal ids the last, in the order of `seq`; and what it cannot hold."""
    batch = _in_order(batch)
    ids: list[str] = batch.column("id").to_pylist()
    metadatas = _metadatas(batch, spec, holds, _bits(batch, spec, vector, holds))
    faults = _faults(batch, vector, metadatas, holds)
    rows = [row for row in sorted({text: row for row, text in enumerate(ids)}.values()) if row not in faults]
    everything = Columns(
        ids=ids,
        embeddings=dense(batch, vector),
        documents=batch.column("document").to_pylist(),
        uris=batch.column("uri").to_pylist(),
        metadatas=metadatas,
        seqs=batch.column("seq").to_pylist(),
    )
    return everything.take(rows), tuple(Rejection(ids[row], why) for row, why in sorted(faults.items()))


def _metadatas(
    batch: pa.RecordBatch, spec: CollectionSpec, holds: _codec.Holds, bits: list[bytes | None]
) -> list[dict[str, Any] | None]:
    mixed = spec.id_kind is IdKind.MIXED
    kinds = batch.column("id_kind").to_pylist() if mixed else [None] * batch.num_rows
    cells = zip(utf8(batch, "metadata"), utf8(batch, "tags"), kinds, bits, strict=True)
    return [
        _codec.wrap(held, tags, None if kind is None else IdKind(kind), holds=holds, bits=raw)
        for held, tags, kind, raw in cells
    ]


def keeps_bits(spec: CollectionSpec, holds: _codec.Holds) -> bool:
    """Whether the bits of vectors that the server would round go into the envelope."""
    asked = spec.card is not None and (holds.rounds_some or spec.card.exact_vectors is Keep.BITS)
    return asked and holds.rounds and spec.vectors[0].metric is Metric.COSINE


def _bits(batch: pa.RecordBatch, spec: CollectionSpec, vector: VectorSpec, holds: _codec.Holds) -> list[bytes | None]:
    if not keeps_bits(spec, holds) or not batch.num_rows:
        return [None] * batch.num_rows
    values = dense(batch, vector)
    return [row.tobytes() if changed else None for row, changed in zip(values, rounding.rounds(values), strict=True)]


def _faults(
    batch: pa.RecordBatch, vector: VectorSpec, metadatas: Sequence[dict[str, Any] | None], holds: _codec.Holds
) -> dict[int, str]:
    """Row -> why Chroma cannot hold it."""
    there, finite = present(batch, vector), np.isfinite(dense(batch, vector)).all(axis=1)
    found = dict.fromkeys(np.flatnonzero(there & ~finite).tolist(), "Its vector holds NaN or infinity.")
    found |= dict.fromkeys(np.flatnonzero(~there).tolist(), "It has no vector, and Chroma needs one.")
    if holds.value_bytes is not None:
        for row, metadata in enumerate(metadatas):
            size = len(str((metadata or {}).get(_codec.ENVELOPE, "")).encode())
            if size > holds.value_bytes:
                found[row] = f"What Chroma cannot hold of its metadata takes {size:,} bytes, of {holds.value_bytes:,}."
    return found


def _in_order(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in the order of `seq`."""
    seqs = batch.column("seq").drop_null().to_numpy()
    return batch.sort_by("seq") if len(seqs) > 1 and (np.diff(seqs) < 0).any() else batch
