"""The writing side of a Chroma collection, through Chroma's own embedded client.

Chroma's upsert merges: old metadata keys and the old document survive. A whole record is replaced by naming every
stale key as None, and where that cannot be said (a document or a uri that must go) by deleting and adding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from vecferry.arrow import dense, present, utf8
from vecferry.connectors.chroma import _codec
from vecferry.connectors.chroma.client import Client
from vecferry.connectors.chroma.order import Order
from vecferry.errors import Conflict, DataError, NotFound, Unsupported
from vecferry.model import Card, CollectionSpec, Element, IdKind, Metric, Receipt, Rejection, VectorKind, VectorSpec

BATCH = 1_000
"""Records per call; Chroma's own limit (`get_max_batch_size`) is larger, and its speed does not depend on it."""
_SETTINGS = frozenset(
    {"ef_construction", "max_neighbors", "ef_search", "num_threads", "batch_size", "sync_threshold", "resize_factor"}
)
_EVERYTHING = ["embeddings", "documents", "metadatas", "uris"]


class ChromaSink:
    """Writes one collection; calls are made one at a time, as Chroma has one writer.

    Guarantee: `write` is durable when it returns (Chroma commits its log first), replaces whole records, and writing
    again changes nothing. Records come back in the order of `seq`: where batches came in another order, `finish`
    puts it right by writing what is misplaced again.
    """

    def __init__(self, spec: CollectionSpec, path: Path, open_client: Callable[[], Client]) -> None:
        self._spec, self._path, self._open_client = spec, path, open_client
        self._collection: Any = None
        self._order: Order | None = None
        self._lock = RLock()

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        """See `Sink.prepare`. The namespace, where it has two parts, is (tenant, database); both are made.

        Raises:
            Unsupported: more than one vector, or none that is dense float32.
        """
        with self._lock:
            vector = _only_vector(spec)
            tenant, database = spec.namespace if len(spec.namespace) == 2 else _codec.DEFAULT_NAMESPACE
            client = self._open_client()
            client.of(tenant, database, make=True)
            try:
                self._collection = client.collection(tenant, database, spec.name)
                self._check(spec, vector)
            except NotFound:
                self._collection = client.of(tenant, database).create_collection(
                    spec.name, embedding_function=None, metadata=_metadata(spec) or None,
                    configuration={"hnsw": _settings(spec, vector)},
                )  # fmt: skip
            uid = str(self._collection.id)
            self._order = Order(self._path, uid)
            named = _codec.namespace(tenant, database)
            self._spec = replace(spec, namespace=named, uid=uid, count=self._collection.count())
            self._put_back_held()
            return self._spec

    def write(self, batch: pa.RecordBatch) -> Receipt:
        with self._lock:
            self._prepared()
            records, rejected = self._records(_in_order(batch))
            for start in range(0, len(records.ids), BATCH):
                self._replace(records.slice(start, start + BATCH))
            return Receipt(rows=len(records.ids), bytes=batch.nbytes, rejected=rejected)

    def finish(self) -> None:
        """Bring the records into the order of `seq`, where they came otherwise."""
        with self._lock:
            if self._order is None:
                return
            misplaced = self._order.misplaced()
            for start in range(0, len(misplaced), BATCH):
                self._move(misplaced[start : start + BATCH])
            self._order.forget()

    def close(self) -> None:
        with self._lock:
            if self._order is not None:
                self._order.close()
            self._collection = self._order = None

    def delete(self, ids: Sequence[str]) -> None:
        with self._lock:
            wanted = list(dict.fromkeys(ids))
            for start in range(0, len(wanted), BATCH):
                self._prepared()[0].delete(ids=wanted[start : start + BATCH])

    # ----------------------------------------------------------------------- within

    def _prepared(self) -> tuple[Any, Order]:
        if self._collection is None or self._order is None:
            hint = "Call prepare(spec) before the first write."
            raise DataError(f"{self._spec.qualified_name} was not prepared.", hint=hint)
        return self._collection, self._order

    def _check(self, spec: CollectionSpec, vector: VectorSpec) -> None:
        """That an existing collection fits; one without our card gets it, so that envelopes are undone later.

        Raises:
            Conflict: another dimension or metric, or it cannot carry the card.
        """
        held = dict(self._collection.metadata or {})
        recorded = str(self._collection.configuration_json.get("hnsw", {}).get("space") or "l2")
        space = str(held.get("hnsw:space") or recorded)
        sample = self._collection.get(limit=1, include=["embeddings"])["embeddings"]
        card = _card(held)
        dim = len(sample[0]) if len(sample) else card.vectors[0].dim if card and card.vectors else None
        found, wanted = _codec.METRICS.get(space), vector.metric
        if found is not wanted or (dim is not None and vector.dim is not None and dim != vector.dim):
            raise Conflict(
                f"The collection {spec.name} exists with metric {space} and dimension {dim}; "
                f"asked for were {wanted} and {vector.dim}.",
                store=f"chroma:{self._path}",
                hint="Choose another name, or drop the collection first.",
            )
        if card is None and spec.card is not None:
            if space != recorded:
                raise Conflict(
                    f"The collection {spec.name} was made by a Chroma older than 1.0 and cannot be marked as ours.",
                    store=f"chroma:{self._path}",
                    hint="Write into a new collection.",
                )
            kept = {key: value for key, value in held.items() if not key.startswith("hnsw:")}
            self._collection.modify(metadata={**kept, _codec.CARD_KEY: msgspec.json.encode(spec.card).decode()})

    def _records(self, batch: pa.RecordBatch) -> tuple[_Columns, tuple[Rejection, ...]]:
        """What Chroma's client takes, and what it cannot hold."""
        vector = _only_vector(self._spec)
        values, there = dense(batch, vector), present(batch, vector)
        ids: list[str] = batch.column("id").to_pylist()
        last = {text: row for row, text in enumerate(ids)}
        rejected = [Rejection(ids[row], "It has no vector, and Chroma needs one.") for row in np.flatnonzero(~there)]
        finite = np.isfinite(values).all(axis=1)
        rejected += [
            Rejection(ids[row], "Its vector holds NaN or infinity.") for row in np.flatnonzero(there & ~finite)
        ]
        rows = [row for row in sorted(last.values()) if there[row] and finite[row]]
        mixed = self._spec.id_kind is IdKind.MIXED
        kinds = batch.column("id_kind").to_pylist() if mixed else [None] * len(ids)
        metadata, tags = utf8(batch, "metadata"), utf8(batch, "tags")
        documents, uris = batch.column("document").to_pylist(), batch.column("uri").to_pylist()
        seqs = batch.column("seq").to_pylist()
        columns = _Columns(
            ids=[ids[row] for row in rows],
            embeddings=np.ascontiguousarray(values[rows]),
            documents=[documents[row] for row in rows],
            uris=[uris[row] for row in rows],
            metadatas=[_codec.wrap(metadata[row], tags[row], _kind(kinds[row])) for row in rows],
            seqs=[seqs[row] for row in rows],
        )
        return columns, tuple(rejected)

    def _replace(self, records: _Columns) -> None:
        """Add what is new, replace what is there: in place where Chroma can say it, else by deleting and adding."""
        collection, order = self._prepared()
        order.note(records.seqs, records.ids)
        old = collection.get(ids=records.ids, include=["documents", "metadatas", "uris"])
        there = {
            text: (document, uri, metadata or {})
            for text, document, uri, metadata in zip(
                old["ids"], old["documents"], old["uris"] or [None] * len(old["ids"]), old["metadatas"], strict=True
            )
        }
        known = [row for row, text in enumerate(records.ids) if text in there]
        gone = [row for row in known if _must_go(there[records.ids[row]], records, row)]
        if gone:
            collection.delete(ids=[records.ids[row] for row in gone])
            order.moved([records.ids[row] for row in gone])
        kept = sorted(set(known) - set(gone))
        if kept:
            stale = [dict.fromkeys(there[records.ids[row]][2]) for row in kept]
            merged = [{**old, **(records.metadatas[row] or {})} or None for old, row in zip(stale, kept, strict=True)]
            collection.upsert(**{**records.take(kept).arguments(), **_some("metadatas", merged)})
        new = sorted(set(range(len(records.ids))) - set(kept))
        if new:
            collection.add(**records.take(new).arguments())

    def _move(self, ids: list[str]) -> None:
        """Write records anew at the end, in the order of `ids`; kept aside meanwhile."""
        collection, order = self._prepared()
        found = collection.get(ids=ids, include=_EVERYTHING)
        row_of = {text: row for row, text in enumerate(found["ids"])}
        rows = [row_of[text] for text in ids if text in row_of]
        uris = found["uris"] or [None] * len(found["ids"])
        records = _Columns(
            ids=[found["ids"][row] for row in rows],
            embeddings=np.asarray(found["embeddings"], np.float32)[rows],
            documents=[found["documents"][row] for row in rows],
            uris=[uris[row] for row in rows],
            metadatas=[found["metadatas"][row] or None for row in rows],
            seqs=[None] * len(rows),
        )
        if rows:
            order.hold(records.held())
            collection.delete(ids=records.ids)
            collection.add(**records.arguments())
            order.hold(None)

    def _put_back_held(self) -> None:
        """Add what a crash left between deleting and adding."""
        collection, order = self._prepared()
        for batch in order.held():
            records = _Columns.from_held(batch)
            there = set(collection.get(ids=records.ids, include=[])["ids"])
            missing = [row for row, text in enumerate(records.ids) if text not in there]
            if missing:
                collection.add(**records.take(missing).arguments())
            order.hold(None)


class _Columns(msgspec.Struct, kw_only=True):
    """Records in the form in which Chroma's client takes them."""

    ids: list[str]
    embeddings: Any
    documents: list[str | None]
    uris: list[str | None]
    metadatas: list[dict[str, Any] | None]
    seqs: list[int | None]

    def take(self, rows: Sequence[int]) -> _Columns:
        return _Columns(
            ids=[self.ids[row] for row in rows],
            embeddings=self.embeddings[list(rows)],
            documents=[self.documents[row] for row in rows],
            uris=[self.uris[row] for row in rows],
            metadatas=[self.metadatas[row] for row in rows],
            seqs=[self.seqs[row] for row in rows],
        )

    def slice(self, start: int, stop: int) -> _Columns:
        return self.take(range(start, min(stop, len(self.ids))))

    def arguments(self) -> dict[str, Any]:
        """Arguments of `add` and `upsert`; a column that is all None is left out."""
        return {
            "ids": self.ids,
            "embeddings": self.embeddings,
            **_some("documents", self.documents),
            **_some("uris", self.uris),
            **_some("metadatas", self.metadatas),
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
    def from_held(cls, batch: pa.RecordBatch) -> _Columns:
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


def _some(name: str, column: Sequence[object]) -> dict[str, Any]:
    return {name: column} if any(value is not None for value in column) else {}


def _must_go(old: tuple[str | None, str | None, dict[str, Any]], new: _Columns, row: int) -> bool:
    """True where an upsert would leave something of the old record: a document, a uri."""
    document, uri, _ = old
    return (document is not None and new.documents[row] is None) or (uri is not None and new.uris[row] is None)


def _in_order(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in the order of `seq`."""
    seqs = batch.column("seq").drop_null().to_numpy()
    return batch.sort_by("seq") if len(seqs) > 1 and (np.diff(seqs) < 0).any() else batch


def _kind(text: str | None) -> IdKind | None:
    return IdKind(text) if text is not None else None


def _only_vector(spec: CollectionSpec) -> VectorSpec:
    vectors = spec.vectors
    if len(vectors) != 1 or vectors[0].kind is not VectorKind.DENSE or vectors[0].element is not Element.FLOAT32:
        found = ", ".join(f"'{v.name}' ({v.kind}, {v.element})" for v in vectors) or "none"
        raise Unsupported(
            f"Chroma holds exactly one dense float32 vector per record; {spec.name} has {found}.",
            hint="Choose one vector in the plan, or archive the collection with files:DIR.",
        )
    if vectors[0].metric not in (Metric.L2, Metric.COSINE, Metric.IP):
        raise Unsupported(f"Chroma cannot search by {vectors[0].metric}.", hint="Choose cosine, l2 or ip in the plan.")
    return vectors[0]


def _origin(spec: CollectionSpec, what: str) -> dict[str, Any]:
    """A collection's own metadata or settings, from the card where it comes home to Chroma."""
    own = getattr(spec, what)
    if own or spec.card is None:
        return dict(own)
    found = spec.card.origin.get(what)
    return dict(found) if isinstance(found, dict) else {}


def _metadata(spec: CollectionSpec) -> dict[str, Any]:
    held = _codec.wrap_collection(_origin(spec, "metadata"))
    return {**held, _codec.CARD_KEY: msgspec.json.encode(spec.card).decode()} if spec.card else held


def _settings(spec: CollectionSpec, vector: VectorSpec) -> dict[str, Any]:
    found = spec.config.get("hnsw") or _origin(spec, "config").get("hnsw") or {}
    return {**{key: value for key, value in found.items() if key in _SETTINGS}, "space": vector.metric.value}


def _card(metadata: dict[str, Any]) -> Card | None:
    try:
        return msgspec.json.decode(metadata[_codec.CARD_KEY], type=Card)
    except (KeyError, TypeError, msgspec.MsgspecError):
        return None
