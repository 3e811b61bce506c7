"""Facts about a store, as data: what it holds as it is, what it holds with a tag of ours, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vecferry.model import Element, IdKind, IndexKind, Metric, VectorKind


class Shape(StrEnum):
    """A feature of a record that some store cannot hold as it is. A profile counts them; a plan judges them."""

    # ids
    ID_TEXT = "id-text"
    ID_INT = "id-int"
    ID_TOO_LONG = "id-too-long"
    # vectors
    NO_VECTOR = "no-vector"
    ZERO_VECTOR = "zero-vector"
    COSINE_LENGTH = "cosine-length"
    NON_FINITE_VECTOR = "non-finite-vector"
    WRONG_DIMENSION = "wrong-dimension"
    # metadata values
    NULL_VALUE = "null-value"
    NESTED_OBJECT = "nested-object"
    EMPTY_LIST = "empty-list"
    MIXED_LIST = "mixed-list"
    LIST = "list"
    UINT64 = "uint64"
    BIG_INT = "big-int"
    NEGATIVE_ZERO = "negative-zero"
    TAGGED = "tagged"
    """datetime, bytes, decimal, NaN: values that travel under a type tag"""
    # metadata keys
    RESERVED_KEY = "reserved-key"
    EMPTY_KEY = "empty-key"
    MANY_KEYS = "many-keys"
    """more keys with one value each than a record may have"""
    LONG_LISTS = "long-lists"
    """more elements in a record's lists, all together, than it may have"""
    LONG_KEY = "long-key"
    LONG_VALUE = "long-value"
    """a text, or what a record keeps as text beside itself, longer than the target takes as one value"""
    EMPTY_METADATA = "empty-metadata"
    """`{}`, which is not "no metadata" """
    # document
    NO_DOCUMENT = "no-document"
    URI = "uri"
    LONG_URI = "long-uri"
    NUL_IN_TEXT = "nul-in-text"
    TOO_LARGE = "too-large"
    # order
    ORDER = "order"
    """the source returns its records in an order of its own"""


class Score(StrEnum):
    """What a store's native search score says of a metric; verification maps them before it compares."""

    SIMILARITY = "similarity"
    """the cosine or the dot product itself; higher is nearer"""
    ONE_MINUS = "one-minus"
    """1 - cosine, 1 - dot; lower is nearer"""
    NEGATED = "negated"
    """-dot; lower is nearer"""
    DISTANCE = "distance"
    """the L2 or L1 distance itself"""
    SQUARED = "squared"
    """the squared L2 distance"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one store can hold. Sizes in bytes unless the name says otherwise; None means no limit is known.

    Attributes:
        keeps: shapes that the store holds exactly as they are.
        restores: shapes that it holds rewritten, with a tag of ours that undoes it on the way back.
            A shape in neither set is lost (or, for ids and vectors, refused): the plan asks first.
        normalises: metrics under which the store scales vectors to length 1.
        reserved_keys / reserved_prefixes: metadata keys that must be renamed (and are, with a tag).
        metadata_keys: keys with one value (no list, no object) that one record may have.
        list_elements: elements that all lists of one record may have together.
        key_bytes / value_bytes: of one metadata key, of one text under it.
        records: that one collection may hold.
        request_bytes: the largest request that the store accepts.
    """

    store: str
    id_kinds: frozenset[IdKind]
    vector_kinds: frozenset[VectorKind]
    elements: frozenset[Element]
    metrics: frozenset[Metric]
    keeps: frozenset[Shape]
    restores: frozenset[Shape]
    max_dim: int | None = None
    named_vectors: bool = False
    normalises: frozenset[Metric] = frozenset()
    keeps_bits: bool = False
    """whether it can hold a vector's original bytes beside one that it scales (`exact_vectors: keep`)"""
    id_bytes: int | None = None
    document_bytes: int | None = None
    record_bytes: int | None = None
    metadata_keys: int | None = None
    list_elements: int | None = None
    key_bytes: int | None = None
    value_bytes: int | None = None
    uri_bytes: int | None = None
    records: int | None = None
    request_bytes: int | None = None
    request_records: int | None = None
    reserved_keys: frozenset[str] = frozenset()
    reserved_prefixes: tuple[str, ...] = ()
    payload_indexes: frozenset[IndexKind] = frozenset()
    """kinds of index that it builds over metadata keys when asked to; empty where it needs none or has none"""
    needs_dimension: bool = False
    """a collection cannot be made before its dimension is known"""
    sequential: bool = False
    """records keep the order in which they are written, so one batch is sent at a time, in the source's order"""
    collection_name: str = r".+"
    """regular expression that a whole collection name must match"""
    scores: Mapping[Metric, Score] = field(default_factory=dict)
    """metric -> form of the scores that `Searchable.search` returns, for stores that search"""
    cosine_in_single: bool = False
    """its cosine has the sums of squares in float32, so that vectors that are too long or too short have none (NaN)"""
