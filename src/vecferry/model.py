"""The nouns: frozen values that describe stores, collections and what moves between them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Json = Any
"""A value that JSON can say. Spelled `Any` because recursive aliases defeat msgspec and mypy alike."""
JsonObject = Mapping[str, Json]

PartitionId = NewType("PartitionId", str)
Position = NewType("Position", str)
"""Opaque text, "continue strictly after this"; only the source that issued it may read it."""

UNNAMED = ""
"""Name of a collection's only, unnamed vector."""


class Metric(StrEnum):
    """How a collection measures nearness. `L2` ranks like squared L2; scores differ per store (docs/reference)."""

    COSINE = "cosine"
    L2 = "l2"
    IP = "ip"
    L1 = "l1"
    HAMMING = "hamming"
    JACCARD = "jaccard"


class VectorKind(StrEnum):
    """The four forms a vector takes, one Arrow column type each (see `vecferry.arrow`)."""

    DENSE = "dense"
    SPARSE = "sparse"
    MULTI = "multi"
    BITS = "bits"


class Element(StrEnum):
    """The number type of a vector's components."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"
    INT8 = "int8"


class IdKind(StrEnum):
    """What a record's id is. `MIXED` collections carry a kind per record."""

    INT = "int"
    UUID = "uuid"
    TEXT = "text"
    COMPOSITE = "composite"
    MIXED = "mixed"


class IndexKind(StrEnum):
    """What a payload index is built for."""

    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"
    TEXT = "text"
    DATETIME = "datetime"
    UUID = "uuid"
    GEO = "geo"


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSpec:
    """One vector of a collection. `dim` is its length (bits for `BITS`), None where the store does not know it yet."""

    name: str = UNNAMED
    kind: VectorKind = VectorKind.DENSE
    dim: int | None = None
    metric: Metric = Metric.COSINE
    element: Element = Element.FLOAT32


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldIndex:
    """A payload index to build on metadata key `key` (a path into the record's metadata, not into the payload).

    Attributes:
        settings: further settings under the store's own names (Qdrant: tokenizer, lookup, range, on_disk …); `path`
            where the index is on something else than a key of the metadata: `document`, `uri`, `metadata.a.b`.
    """

    key: str
    kind: IndexKind
    tenant: bool = False
    settings: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRule:
    """How ids that a target cannot hold become ids that it can: data, so that every path computes the same.

    An id whose kind stands in `verbatim` is kept as it is. Every other becomes
    `uuid5(namespace, template.format(kind=…, tenant=…, id=…))` (RFC 9562, section 5.5) and the original is kept.
    """

    namespace: str = "d5f0a4e3-6d57-5c3e-9d0b-6f1a8c1e7b42"
    template: str = "{kind}\x1f{tenant}\x1f{id}"
    verbatim: tuple[IdKind, ...] = (IdKind.INT, IdKind.UUID)


class Keep(StrEnum):
    """What happens to the length of cosine vectors in a store that normalises them."""

    RESTORE = "restore"
    """The norm travels beside the vector; reading back multiplies (within 1 ulp per component)."""
    BITS = "keep"
    """The original bytes travel in an unindexed, on-disk vector of their own; reading back is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What we write into every collection we make, so that anybody can read it without our ledger.

    Attributes:
        run: id of the run that wrote the collection.
        origin: the source's own name, uid, namespace, metadata and configuration, for the way back.
        indexes: the payload indexes that the collection was promised, so that a verification elsewhere can miss them.
        key_types: metadata key -> {type name: count}, the profile that decides which filters are exact.
        adopted: the collection held records of somebody else when it got this card; they stand in it as they were.
    """

    version: int = 1
    vecferry: str = ""
    id_kind: IdKind = IdKind.TEXT
    id_rule: IdRule = field(default_factory=IdRule)
    tenant: str = ""
    layout: str = "plain"
    exact_vectors: Keep = Keep.RESTORE
    vectors: tuple[VectorSpec, ...] = ()
    indexes: tuple[FieldIndex, ...] = ()
    run: str = ""
    origin: JsonObject = field(default_factory=dict)
    key_types: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSpec:
    """What a collection is. A source describes one, a sink prepares one.

    Attributes:
        namespace: what the name lives in, outermost first; Chroma: (tenant, database).
        uid: the store's own identifier, which changes when a collection is dropped and made anew.
        metadata: the collection's own metadata.
        config: store settings under the store's own names (Qdrant: hnsw_config, quantization_config, …).
        layout: the framework layout in which its source found the payloads, empty where there is none or nobody looked.
        count: records, exact where the store can say so cheaply, else None.
        card: ours, where we wrote (or shall write) this collection.
    """

    name: str
    namespace: tuple[str, ...] = ()
    uid: str | None = None
    id_kind: IdKind = IdKind.TEXT
    vectors: tuple[VectorSpec, ...] = ()
    metadata: JsonObject = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)
    indexes: tuple[FieldIndex, ...] = ()
    layout: str = ""
    count: int | None = None
    card: Card | None = None

    @property
    def qualified_name(self) -> str:
        """`namespace/name`, the name that is unique in its store."""
        return "/".join((*self.namespace, self.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentity:
    """Which store this is: no secrets, stable across runs, part of a plan's fingerprint.

    Attributes:
        where: host and port, or absolute path.
        version: what the server or file says of itself; not part of the fingerprint.
        transport: how we talk to it ("grpc", "rest", "file", …).
    """

    kind: str
    where: str
    version: str = ""
    transport: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A share of a collection that can be read on its own, anywhere, any number of times.

    `bounds` is opaque text for the source that made it; it is stored in the ledger before the first write.
    """

    id: PartitionId
    bounds: str
    estimated_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that cannot be read or written, with the reason for a person.

    `aside`: it can be read, but a transform cannot be done on it.
    """

    id: str
    reason: str
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A batch and the position strictly after it: one value, so that no off-by-one can be written.

    Attributes:
        misfits: of those rejected, the records that lack nothing but a vector that fits, without it; for who makes one.
    """

    batch: pa.RecordBatch
    position: Position
    rejected: tuple[Rejection, ...] = ()
    misfits: pa.RecordBatch | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sink confirms for one batch: rows that are durable, bytes sent, records refused."""

    rows: int
    bytes: int
    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result. `score` is the store's native score."""

    id: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A source held still: when, and a text that names this state of it for ever."""

    at: datetime
    identity: str
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """All that a store is made of, looked at before it is removed.

    Attributes:
        name: what must be typed to have it removed.
        what: what that is, for a person: "the directory /data/chroma_db, 9 files, 12 MB".
        state: a text that differs once anything in it has changed.
    """

    name: str
    what: str
    state: str


@dataclass(slots=True, kw_only=True)
class Record:
    """One record as Python values, for small numbers of them: tests, examples, differences. Never on a bulk path.

    Attributes:
        vectors: vector name -> array; dense: shape (dim,), multi: (rows, dim), sparse: (indices, values), bits: bytes.
        metadata: None where the record has none; may hold datetime, bytes, Decimal, NaN and big integers.
    """

    id: str
    vectors: Mapping[str, NDArray[np.generic] | tuple[NDArray[np.uint32], NDArray[np.float32]] | bytes | None]
    document: str | None = None
    uri: str | None = None
    metadata: Mapping[str, Any] | None = None
    seq: int | None = None
    id_kind: IdKind | None = None
