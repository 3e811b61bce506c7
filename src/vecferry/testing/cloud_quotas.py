"""Chroma Cloud's quotas as data, and which of them a request breaks. Pure; for `vecferry.testing.cloud_double`.

Numbers: the page "Quotas & Limits" of Chroma's documentation (Cloud), October 2026, where no other source is named.
Names and the form of the message: Chroma's published frontend (`rust/frontend/src/quota/mod.rs`: `UsageType`, `Action`,
`QuotaExceededError`), which Cloud's answers that people quote in public agree with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPARSE_VECTOR = "sparse_vector"
Usage = tuple[str, int, int]
"""what is counted, how much of it the request has, how much it may have"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudQuotas:
    """What a tenant may ask for. Sizes in bytes of UTF-8.

    Attributes:
        where_text_bytes: a text that a document must contain. The page says 256; a user was refused at 131 (with 130
            as the limit): people's tenants differ from the page.
        query_ids: ids that a read names, and sparse_dimensions: pairs of a sparse vector. On no page: the defaults of
            the published frontend.
        collection_records: records that a collection may hold.
        requests_per_second: of the whole tenant; Cloud publishes no such number, so there is none by default.
    """

    records_per_write: int = 300
    results_per_read: int = 300
    dimensions: int = 4096
    document_bytes: int = 16_384
    uri_bytes: int = 256
    id_bytes: int = 128
    name_bytes: int = 128
    value_bytes: int = 8182
    key_bytes: int = 36
    keys: int = 32
    collection_value_bytes: int = 256
    collection_keys: int = 32
    predicates: int = 8
    where_text_bytes: int = 256
    query_ids: int = 1000
    sparse_dimensions: int = 4096
    concurrent_reads: int = 10
    concurrent_writes: int = 10
    collection_records: int = 5_000_000
    requests_per_second: float | None = None


ACTIONS = {
    "add": "Add",
    "upsert": "Upsert",
    "update": "Update",
    "delete": "Delete",
    "get": "Get",
    "query": "Query",
    "create": "Create Collection",
    "modify": "Update Collection",
}
"""Operation of the HTTP API -> its name in a quota's message. Operations that are not here have no quota."""


def broken(operation: str, body: Mapping[str, Any], quotas: CloudQuotas) -> str | None:
    """The message for the first quota that a request's `body` breaks, None where it breaks none."""
    if operation in {"create", "modify"}:
        usages = _collection(body, quotas)
    elif operation in {"get", "query"}:
        usages = _read(body, quotas)
    else:
        usages = _write(body, quotas)
    return next((message(operation, *usage) for usage in usages if usage[1] > usage[2]), None)


def message(operation: str, what: str, used: int, limit: int) -> str:
    """What Cloud says of a quota that was exceeded."""
    action = ACTIONS[operation]
    return (
        f"Quota exceeded: '{what}' exceeded quota limit for action '{action}': "
        f"current usage of {used} exceeds limit of {limit}"
    )


def _write(body: Mapping[str, Any], quotas: CloudQuotas) -> Iterator[Usage]:
    """`add`, `upsert`, `update` and `delete`."""
    yield "Number of records", len(body.get("ids") or ()), quotas.records_per_write
    yield "ID size (bytes)", _longest(body.get("ids")), quotas.id_bytes
    for vector in body.get("embeddings") or ():
        yield "Embedding dimension", dimension(vector), quotas.dimensions
    yield "Document size (bytes)", _longest(body.get("documents")), quotas.document_bytes
    yield "URI size (bytes)", _longest(body.get("uris")), quotas.uri_bytes
    for metadata in body.get("metadatas") or ():
        yield from _metadata(metadata or {}, quotas.keys, quotas.value_bytes, quotas)
    yield from _filter(body, quotas)


def _read(body: Mapping[str, Any], quotas: CloudQuotas) -> Iterator[Usage]:
    """`get` and `query`."""
    yield "Limit value", body.get("limit") or 0, quotas.results_per_read
    yield "Number of results", body.get("n_results") or 0, quotas.results_per_read
    yield "Number of IDs to filter by in a query", len(body.get("ids") or ()), quotas.query_ids
    for vector in body.get("query_embeddings") or ():
        yield "Embedding dimension", dimension(vector), quotas.dimensions
    yield from _filter(body, quotas)


def _collection(body: Mapping[str, Any], quotas: CloudQuotas) -> Iterator[Usage]:
    """A collection that is made, renamed or given other metadata."""
    yield "Name size (bytes)", _longest([body.get("name"), body.get("new_name")]), quotas.name_bytes
    for metadata in (body.get("metadata"), body.get("new_metadata")):
        yield from _metadata(metadata or {}, quotas.collection_keys, quotas.collection_value_bytes, quotas)


def _metadata(metadata: Mapping[str, Any], keys: int, value_bytes: int, quotas: CloudQuotas) -> Iterator[Usage]:
    yield "Number of metadata dictionary keys", len(metadata), keys
    yield "Size of metadata dictionary key (bytes)", _longest(list(metadata)), quotas.key_bytes
    for value in metadata.values():
        if is_sparse(value):
            yield "Sparse vector populated dimension", len(value.get("indices") or ()), quotas.sparse_dimensions
        else:
            yield "Size of metadata dictionary value (bytes)", _size(value), value_bytes


def _filter(body: Mapping[str, Any], quotas: CloudQuotas) -> Iterator[Usage]:
    """`where` and `where_document`: the values of an `$in` do not count, comparisons inside `$and` and `$or` do."""
    where, documents = body.get("where") or {}, body.get("where_document") or {}
    yield "Number of where clause predicates", len(list(_texts(where))), quotas.predicates
    texts = list(_texts(documents))
    yield "Number of where document predicates", len(texts), quotas.predicates
    yield "Length of where document value", _longest(texts), quotas.where_text_bytes


def _texts(clause: Mapping[str, Any]) -> Iterator[str | None]:
    """One entry per predicate of a filter: the text that it compares with, None where that is no text."""
    for key, value in clause.items():
        if key in {"$and", "$or"}:
            for part in value:
                yield from _texts(part)
        elif isinstance(value, Mapping):
            yield from (text if isinstance(text, str) else None for text in value.values())
        else:
            yield value if isinstance(value, str) else None


def is_sparse(value: object) -> bool:
    """True for a sparse vector as a metadata value: `{"#type": "sparse_vector", "indices": [...], "values": [...]}`."""
    return isinstance(value, Mapping) and value.get("#type") == SPARSE_VECTOR


def dimension(vector: Any) -> int:
    """Numbers in a vector: a list, or the base64 text of little-endian float32."""
    if isinstance(vector, str):
        return (len(vector) * 3 // 4 - vector[-2:].count("=")) // 4
    return len(vector or ())


def _size(value: Any) -> int:
    """Bytes of a metadata value: our reading is that numbers have 8 and a list has those of its elements."""
    if isinstance(value, str):
        return len(value.encode())
    return sum(map(_size, value)) if isinstance(value, list) else 8


def _longest(texts: Sequence[str | None] | None) -> int:
    return max((len(text.encode()) for text in texts or () if text), default=0)
