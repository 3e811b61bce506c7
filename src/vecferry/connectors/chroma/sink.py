"""The writing side of a Chroma collection: in a directory through Chroma's own embedded client, or over HTTP.

Chroma's upsert merges: old metadata keys and the old document survive. A whole record is replaced by naming every
stale key as None, and where that cannot be said (a document or a uri that must go) by deleting and adding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from vecferry.connectors.chroma import _codec, cards, rounding
from vecferry.connectors.chroma.columns import Columns, columns_of, some
from vecferry.connectors.chroma.order import Order
from vecferry.errors import Conflict, DataError, NotFound, Unsupported
from vecferry.model import Card, CollectionSpec, Element, Metric, Receipt, VectorKind, VectorSpec

BATCH = 1_000
"""Records per call; Chroma's own limit (`get_max_batch_size`) is larger, and its speed does not depend on it."""
_SETTINGS = frozenset(
    {"ef_construction", "max_neighbors", "ef_search", "num_threads", "batch_size", "sync_threshold", "resize_factor"}
)
_EVERYTHING = ["embeddings", "documents", "metadatas", "uris"]


class Calls(Protocol):
    """What a sink asks of one collection: chromadb's own, or ours over HTTP (`connectors.chroma.http.collection`)."""

    @property
    def id(self) -> object: ...
    @property
    def metadata(self) -> dict[str, Any] | None: ...
    @property
    def configuration_json(self) -> dict[str, Any]: ...
    def count(self) -> int: ...
    def get(self, *, ids: list[str] | None = ..., limit: int | None = ..., include: list[str]) -> Any: ...
    def add(self, **columns: Any) -> object: ...
    def upsert(self, **columns: Any) -> object: ...
    def delete(self, ids: list[str]) -> object: ...


class Client(Protocol):
    """What a sink asks of a store.

    Attributes:
        store: its name in errors.
        holds / card_bytes / card_keys: what metadata it holds, of a record and of a collection.
        orders: the folder for files that remember an order until a load is finished.
    """

    @property
    def store(self) -> str: ...
    @property
    def holds(self) -> _codec.Holds: ...
    @property
    def card_bytes(self) -> int | None: ...
    @property
    def card_keys(self) -> int | None: ...
    @property
    def orders(self) -> Path: ...
    def collection(self, tenant: str, database: str, name: str) -> Calls: ...
    def create(
        self, tenant: str, database: str, name: str, *, metadata: dict[str, Any] | None, hnsw: dict[str, Any]
    ) -> Calls: ...
    def modify(self, collection: Any, metadata: dict[str, Any]) -> None: ...


class ChromaSink:
    """Writes one collection; calls are made one at a time, as Chroma has one writer.

    Guarantee: `write` is durable when it returns (Chroma commits its log first), replaces whole records, and writing
    again changes nothing. Records come back in the order of `seq`: where batches came in another order, `finish`
    puts it right by writing what is misplaced again.
    """

    def __init__(
        self, spec: CollectionSpec, open_client: Callable[[], Client], namespace: tuple[str, str] | None = None
    ) -> None:
        """`namespace` is where a collection goes whose spec names no (tenant, database)."""
        self._spec, self._open_client = spec, open_client
        self._namespace = namespace or _codec.DEFAULT_NAMESPACE
        self._collection: Calls | None = None
        self._order: Order | None = None
        self._holds = _codec.LOCAL
        self._marked = False
        self._lock = RLock()

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        """See `Sink.prepare`. The namespace, where it has two parts, is (tenant, database); both are made.

        Raises:
            Unsupported: more than one vector, or none that is dense float32.
        """
        with self._lock:
            vector = _only_vector(spec)
            tenant, database = spec.namespace if len(spec.namespace) == 2 else self._namespace
            client = self._open_client()
            self._holds = client.holds
            try:
                collection = client.collection(tenant, database, spec.name)
                _check(collection, spec, vector, client)
            except NotFound:
                collection = client.create(
                    tenant, database, spec.name, metadata=_metadata(spec, client) or None, hnsw=_settings(spec, vector)
                )
            self._marked = spec.card is not None
            self._collection, uid = collection, str(collection.id)
            self._order = Order(client.orders, uid)
            named = _codec.namespace(tenant, database)
            self._spec = replace(spec, namespace=named, uid=uid, count=collection.count())
            self._put_back_held()
            return self._spec

    def write(self, batch: pa.RecordBatch) -> Receipt:
        with self._lock:
            self._prepared()
            records, rejected = columns_of(batch, self._spec, _only_vector(self._spec), self._holds)
            self._mark(records)
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

    def _prepared(self) -> tuple[Calls, Order]:
        if self._collection is None or self._order is None:
            hint = "Call prepare(spec) before the first write."
            raise DataError(f"{self._spec.qualified_name} was not prepared.", hint=hint)
        return self._collection, self._order

    def _mark(self, records: Columns) -> None:
        """Envelopes are undone only beside a card: where nobody gave one, the first envelope brings a bare one."""
        if self._marked or not any(_codec.ENVELOPE in (metadata or {}) for metadata in records.metadatas):
            return
        collection = self._prepared()[0]
        if cards.KEY not in (collection.metadata or {}):
            _mark(collection, replace(self._spec, card=Card(id_kind=self._spec.id_kind)), self._open_client())
        self._marked = True

    def _replace(self, records: Columns) -> None:
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
            collection.upsert(**{**records.take(kept).arguments(), **some("metadatas", merged)})
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
        records = Columns(
            ids=[found["ids"][row] for row in rows],
            embeddings=np.asarray(found["embeddings"], np.float32)[rows],
            documents=[found["documents"][row] for row in rows],
            uris=[uris[row] for row in rows],
            metadatas=[found["metadatas"][row] or None for row in rows],
            seqs=[None] * len(rows),
        )
        self._keep_as_it_stands(records)
        if rows:
            order.hold(records.held())
            collection.delete(ids=records.ids)
            collection.add(**records.arguments())
            order.hold(None)

    def _keep_as_it_stands(self, records: Columns) -> None:
        """What a server would round once more when it takes it again is given back as it stands there now."""
        cosine = self._spec.vectors[0].metric is Metric.COSINE
        if not self._holds.rounds or not cosine or self._spec.card is None or not records.ids:
            return
        for row in np.flatnonzero(rounding.rounds(records.embeddings)).tolist():
            held = _codec.with_bits(records.metadatas[row], records.embeddings[row].tobytes())
            if self._holds.value_bytes is None or len(held[_codec.ENVELOPE]) <= self._holds.value_bytes:
                records.metadatas[row] = held

    def _put_back_held(self) -> None:
        """Add what a crash left between deleting and adding."""
        collection, order = self._prepared()
        for batch in order.held():
            records = Columns.from_held(batch)
            there = set(collection.get(ids=records.ids, include=[])["ids"])
            missing = [row for row, text in enumerate(records.ids) if text not in there]
            if missing:
                collection.add(**records.take(missing).arguments())
            order.hold(None)


def _must_go(old: tuple[str | None, str | None, dict[str, Any]], new: Columns, row: int) -> bool:
    """True where an upsert would leave something of the old record: a document, a uri."""
    document, uri, _ = old
    return (document is not None and new.documents[row] is None) or (uri is not None and new.uris[row] is None)


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


def _metadata(spec: CollectionSpec, client: Client) -> dict[str, Any]:
    held = _codec.wrap_collection(_origin(spec, "metadata"))
    return {**held, **_card(spec, client, taken=len(held))}


def _card(spec: CollectionSpec, client: Client, *, taken: int) -> dict[str, str]:
    """The card as metadata beside `taken` other keys."""
    free = None if client.card_keys is None else client.card_keys - taken
    return cards.written(spec.card, value_bytes=client.card_bytes, keys=free) if spec.card is not None else {}


def _check(collection: Calls, spec: CollectionSpec, vector: VectorSpec, client: Client) -> None:
    """That an existing collection fits; one without our card gets it, so that envelopes are undone later.

    Raises:
        Conflict: another dimension or metric, or it cannot carry the card.
    """
    held = dict(collection.metadata or {})
    space = str(held.get("hnsw:space") or _recorded(collection))
    sample = collection.get(limit=1, include=["embeddings"])["embeddings"]
    card = cards.read(held)
    dim = len(sample[0]) if len(sample) else card.vectors[0].dim if card and card.vectors else None
    found, wanted = _codec.METRICS.get(space), vector.metric
    if found is not wanted or (dim is not None and vector.dim is not None and dim != vector.dim):
        raise Conflict(
            f"The collection {spec.name} exists with metric {space} and dimension {dim}; "
            f"asked for were {wanted} and {vector.dim}.",
            store=client.store,
            hint="Choose another name, or drop the collection first.",
        )
    if card is None and spec.card is not None:
        _mark(collection, spec, client)


def _mark(collection: Calls, spec: CollectionSpec, client: Client) -> None:
    """Write the card into a collection that has none, beside what its owner keeps there.

    Raises:
        Conflict: it is of a Chroma before 1.0.  Unsupported: its own metadata leaves no room.
    """
    held = dict(collection.metadata or {})
    recorded = _recorded(collection)
    if str(held.get("hnsw:space") or recorded) != recorded:
        raise Conflict(
            f"The collection {spec.name} was made by a Chroma older than 1.0 and cannot be marked as ours.",
            store=client.store,
            hint="Write into a new collection.",
        )
    kept = cards.without(held)
    if spec.card is not None and collection.count():
        spec = replace(spec, card=replace(spec.card, adopted=True))
    client.modify(collection, {**kept, **_card(spec, client, taken=len(kept))})


def _recorded(collection: Calls) -> str:
    """The metric that its configuration names."""
    return str(collection.configuration_json.get("hnsw", {}).get("space") or "l2")


def _settings(spec: CollectionSpec, vector: VectorSpec) -> dict[str, Any]:
    found = spec.config.get("hnsw") or _origin(spec, "config").get("hnsw") or {}
    return {**{key: value for key, value in found.items() if key in _SETTINGS}, "space": vector.metric.value}
