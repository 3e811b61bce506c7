"""What Chroma's values mean, without any I/O: limits, metrics, sequence numbers, typed values, the `_vf` envelope.

Chroma holds flat metadata: text, integers, floats, booleans, and lists of one of these. What it cannot hold travels in
one metadata value of ours, the envelope: key `_vf`, a JSON text of

    {"m": {key: value, …}, "t": {pointer: tag, …}, "k": kind of the id, "e": 1, "v": vector}

`m` holds the keys that Chroma cannot hold, or not so many of, with their values; `t` the type tags of the metadata
(`vecferry.tags`); `k` the kind of the id where a collection mixes kinds; `e` says that the metadata is `{}`, not
missing; `v` holds the bits of a vector that a server would round (float32, little-endian, base64). Keys that Chroma
can hold stand beside the envelope, so that its filters see them. Envelopes are undone only in collections that carry
our card.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vecferry.limits import Limits, Score, Shape
from vecferry.model import Element, IdKind, Metric, VectorKind
from vecferry.tags import canonical, loads, pack

ENVELOPE = "_vf"
DOCUMENT_KEY = "chroma:document"
URI_KEY = "chroma:uri"
OWN_PREFIX = "chroma:"
RESERVED_PREFIXES = (OWN_PREFIX, "#", "$")
DEFAULT_NAMESPACE = ("default_tenant", "default_database")
METRICS = {"l2": Metric.L2, "cosine": Metric.COSINE, "ip": Metric.IP}
KNOWN = {"sysdb": 10, "metadb": 6, "embeddings_queue": 2}
"""Migrations that this reader knows; Chroma counts them per part of its database."""
INT64 = 1 << 63
_FLOAT32 = float(np.finfo(np.float32).max)
MOST_ROWS = 32_766 // 6
"""Rows that Chroma can write of one record: one statement writes them all, six values each, and SQLite takes 32,766.
Scalars and list elements are counted apart. Where there are more, Chroma never gets past that record of its log again:
the whole collection can be neither read nor written any more.
"""
_OWN_ROWS = 3
"""Rows beside the keys: the document, the uri and the envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """What one Chroma can hold of a record's metadata; the rest travels in the envelope.

    Attributes:
        lists: Chroma before 1.5 has no lists.
        rounds: vectors under cosine come back rounded, so that their bits go into the envelope where a card asks.
        rounds_some: some of them do (before 1.0: those that reached the index), so that the bits go there in any case.
        sparse: sparse vectors, `{"#type": "sparse_vector", …}`, which only Cloud has.
        keys: all keys together, the envelope among them.
        key_bytes / value_bytes: of one key, of one text.
    """

    lists: bool = True
    rounds: bool = False
    rounds_some: bool = False
    sparse: bool = False
    keys: int | None = None
    key_bytes: int | None = None
    value_bytes: int | None = None


LOCAL = Holds()

LIMITS = Limits(
    store="Chroma",
    sequential=True,
    id_kinds=frozenset({IdKind.TEXT, IdKind.UUID, IdKind.INT, IdKind.MIXED}),
    vector_kinds=frozenset({VectorKind.DENSE}),
    elements=frozenset({Element.FLOAT32}),
    metrics=frozenset(METRICS.values()),
    keeps=frozenset(
        {
            Shape.ID_TEXT, Shape.ZERO_VECTOR, Shape.LIST, Shape.NO_DOCUMENT, Shape.URI, Shape.NUL_IN_TEXT, Shape.ORDER,
        }
    ),
    restores=frozenset(
        {
            Shape.ID_INT, Shape.COSINE_LENGTH, Shape.NULL_VALUE, Shape.NESTED_OBJECT, Shape.EMPTY_LIST,
            Shape.MIXED_LIST, Shape.UINT64, Shape.BIG_INT, Shape.NEGATIVE_ZERO, Shape.TAGGED, Shape.RESERVED_KEY,
            Shape.EMPTY_KEY, Shape.EMPTY_METADATA, Shape.MANY_KEYS, Shape.LONG_LISTS,
        }
    ),
    normalises=frozenset({Metric.COSINE}),
    reserved_keys=frozenset({"", ENVELOPE, DOCUMENT_KEY, URI_KEY}),
    reserved_prefixes=RESERVED_PREFIXES,
    metadata_keys=MOST_ROWS - _OWN_ROWS,
    list_elements=MOST_ROWS,
    collection_name=r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]",
    scores={Metric.COSINE: Score.ONE_MINUS, Metric.IP: Score.ONE_MINUS, Metric.L2: Score.SQUARED},
)  # fmt: skip
"""The embedded store. Its client adds the largest batch (`get_max_batch_size`), which depends on the machine."""


# --------------------------------------------------------------------------- what stands in the files


def namespace(tenant: str, database: str) -> tuple[str, ...]:
    """(tenant, database); empty for Chroma's own defaults, which nobody chose and nobody wants to read."""
    named = (tenant, database)
    return () if named == DEFAULT_NAMESPACE else named


def sequence(value: bytes | int | None) -> int:
    """A sequence number: an integer, or eight big-endian bytes as 0.4 to 0.6 wrote it; none is 0."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else value or 0


def typed(text: str | None, integer: int | None, real: float | None, flag: int | None) -> Any:
    """The value of one row of a metadata table: the one column that is set. None where none is (NaN, in 0.4)."""
    if text is not None:
        return text
    if integer is not None:
        return integer
    return real if real is not None else None if flag is None else bool(flag)


def queued_vector(blob: bytes, encoding: str | None) -> NDArray[np.float32]:
    """A vector from the write-ahead log, as float32."""
    if encoding == "INT32":
        return np.frombuffer(blob, "<i4").astype(np.float32)
    return np.frombuffer(blob, "<f4")


def hnsw_config(schema: str | None, config: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The index settings under 1.x's names, `space` (the metric's truth) among them.

    Order of trust: the schema (1.x); `hnsw:…` collection metadata, which 0.4 to 0.6 obeyed while recording `l2`
    in their configuration; the configuration; Chroma's defaults.
    """
    found = _from_schema(schema) or {**_from_config(config), **_from_metadata(metadata)}
    return {"space": "l2", **found}


def served_config(schema: str | None, config: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The same, of what a server says: it makes up a schema for collections of 0.4 to 0.6, and says `l2` in it."""
    return {**hnsw_config(schema, config, {}), **_from_metadata(metadata)}


_LEGACY = {
    "hnsw:space": "space",
    "hnsw:construction_ef": "ef_construction",
    "hnsw:search_ef": "ef_search",
    "hnsw:M": "max_neighbors",
    "hnsw:batch_size": "batch_size",
    "hnsw:sync_threshold": "sync_threshold",
    "hnsw:num_threads": "num_threads",
    "hnsw:resize_factor": "resize_factor",
}
_OLD_KEYS = {name: key for key, name in _LEGACY.items()}
_OLD_NAMES = {"M": "max_neighbors"}


def _from_schema(text: str | None) -> dict[str, Any]:
    try:
        vector = orjson.loads(text or "{}")["keys"]["#embedding"]["float_list"]["vector_index"]["config"]
        return {**(vector.get("hnsw") or {}), **({"space": vector["space"]} if vector.get("space") else {})}
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
        return {}


def _from_config(text: str | None) -> dict[str, Any]:
    try:
        config = orjson.loads(text or "{}")
        found = config.get("hnsw") or config.get("spann") or config.get("hnsw_configuration") or {}
        return {_OLD_NAMES.get(key, key): value for key, value in found.items() if value is not None and key != "_type"}
    except (AttributeError, orjson.JSONDecodeError):
        return {}


def legacy_settings(hnsw: Mapping[str, Any]) -> dict[str, Any]:
    """Index settings as collection metadata, which 0.4 to 0.6 obey."""
    return {_OLD_KEYS[name]: value for name, value in hnsw.items() if name in _OLD_KEYS}


def _from_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metadata[key] for key, name in _LEGACY.items() if metadata.get(key) is not None}


# --------------------------------------------------------------------------- the envelope


def wrap(
    metadata: bytes | None,
    tags: bytes | None = None,
    kind: IdKind | None = None,
    *,
    holds: Holds = LOCAL,
    bits: bytes | None = None,
) -> dict[str, Any] | None:
    """Metadata (canonical JSON) as Chroma can hold it; None where there is nothing to hold."""
    value: Mapping[str, Any] = loads(metadata) if metadata is not None else {}
    flat = _as_many({key: item for key, item in value.items() if plain(key, item, holds)})
    if holds.keys is not None:
        alone = len(flat) == len(value) and tags is None and kind is None and bits is None
        flat = dict(list(flat.items())[: holds.keys if alone and len(flat) <= holds.keys else holds.keys - 1])
    envelope: dict[str, Any] = {}
    if len(flat) < len(value):
        envelope["m"] = {key: item for key, item in value.items() if key not in flat}
    if tags is not None:
        envelope["t"] = orjson.loads(tags)
    if kind is not None:
        envelope["k"] = kind.value
    if metadata is not None and not value:
        envelope["e"] = 1
    if bits is not None:
        envelope["v"] = b64encode(bits).decode()
    if envelope:
        flat[ENVELOPE] = canonical(envelope).decode()
    return flat or None


def _as_many(flat: dict[str, Any]) -> dict[str, Any]:
    """As many of these keys, in their order, as Chroma can write of one record."""
    if len(flat) <= MOST_ROWS - _OWN_ROWS and sum(len(v) for v in flat.values() if isinstance(v, list)) <= MOST_ROWS:
        return flat
    kept, scalars, elements = dict[str, Any](), MOST_ROWS - _OWN_ROWS, MOST_ROWS
    for key, item in flat.items():
        if isinstance(item, list):
            fits = len(item) <= elements
            elements -= len(item) if fits else 0
        else:
            fits = scalars > 0
            scalars -= fits
        if fits:
            kept[key] = item
    return kept


def unwrap(metadata: bytes | None) -> tuple[bytes | None, bytes | None, str | None, bytes | None]:
    """(metadata, tags, id kind, bits) as `wrap` was given them. What is not our envelope stays as it is."""
    value = loads(metadata) if metadata is not None else {}
    envelope = _envelope(value.get(ENVELOPE))
    if envelope is None:
        return metadata, None, None, None
    del value[ENVELOPE]
    value.update(envelope.get("m", {}))
    tags = envelope.get("t")
    there = value or "e" in envelope
    text = canonical(value) if there else None
    return text, canonical(tags) if tags else None, envelope.get("k"), _bits(envelope)


def with_bits(metadata: Mapping[str, Any] | None, bits: bytes) -> dict[str, Any]:
    """Metadata as Chroma holds it, with the bits of the vector in its envelope, unless some stand there already."""
    held = dict(metadata or {})
    envelope = {"v": b64encode(bits).decode(), **(_envelope(held.get(ENVELOPE)) or {})}
    return {**held, ENVELOPE: canonical(envelope).decode()}


def _bits(envelope: Mapping[str, Any]) -> bytes | None:
    held = envelope.get("v")
    return b64decode(held) if isinstance(held, str) else None


def wrapped_keys(text: object) -> Iterable[str]:
    """The metadata keys that an envelope holds, where no filter of Chroma's sees them."""
    held = (_envelope(text) or {}).get("m")
    return held.keys() if isinstance(held, dict) else ()


def _envelope(text: object) -> dict[str, Any] | None:
    if not isinstance(text, str):
        return None
    try:
        value = loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.keys() <= {"m", "t", "k", "e", "v"} else None


def plain(key: str, value: object, holds: Holds = LOCAL) -> bool:
    """True where Chroma holds this key and value exactly."""
    if not key or key == ENVELOPE or key.startswith(RESERVED_PREFIXES):
        return False
    if holds.key_bytes is not None and len(key.encode()) > holds.key_bytes:
        return False
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        return holds.lists and len(kinds) == 1 and all(_scalar(item) for item in value)
    if isinstance(value, dict):
        return holds.sparse and is_sparse(value)
    return _scalar(value)


def is_sparse(value: Mapping[str, Any]) -> bool:
    """True for a sparse vector as Cloud holds it: a metadata value with indices that rise and finite values."""
    indices, values = value.get("indices"), value.get("values")
    if value.get("#type") != "sparse_vector" or not isinstance(indices, list) or not isinstance(values, list):
        return False
    rising = all(type(i) is int and 0 <= i < 1 << 32 for i in indices) and indices == sorted(set(indices))
    exact = all(isinstance(v, float) and _is_float32(v) for v in values)
    return rising and exact and len(indices) == len(values) and value.keys() <= {"#type", "indices", "values", "tokens"}


def _is_float32(value: float) -> bool:
    """True where the number, or its shortest text, is that of a float32."""
    near = np.float32(value) if abs(value) <= _FLOAT32 else np.float32(0)
    return value in (float(near), float(str(near)))


def _scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value) and (value != 0 or math.copysign(1, value) > 0)
    if isinstance(value, int):
        return -INT64 <= value < INT64
    return isinstance(value, str)


def lists_of(rows: Sequence[tuple[Any, ...]]) -> dict[int, dict[str, list[Any]]]:
    """Rows of `embedding_metadata_array` as {record: {key: list}}, element order kept."""
    found: dict[int, dict[str, list[Any]]] = {}
    for record, key, *cells in rows:
        found.setdefault(record, {}).setdefault(key, []).append(typed(*cells))
    return found


def wrap_collection(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A collection's own metadata as Chroma can hold it: what it cannot travels in the envelope. No lists here."""
    held = {key: value for key, value in metadata.items() if plain(key, value) and not isinstance(value, list)}
    rest = {key: value for key, value in metadata.items() if key not in held}
    return {**held, ENVELOPE: canonical({"m": rest}).decode()} if rest else held


def unwrap_collection(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A collection's own metadata as `wrap_collection` was given it."""
    envelope = _envelope(metadata.get(ENVELOPE))
    if envelope is None:
        return dict(metadata)
    return {**{key: value for key, value in metadata.items() if key != ENVELOPE}, **envelope.get("m", {})}


def pack_odd(value: Mapping[str, Any], mark: str) -> tuple[bytes | None, bytes | None]:
    """(canonical metadata, tags) of metadata where infinite numbers and missing values stand as text behind `mark`."""
    clean = {key: _odd(item, mark) for key, item in value.items() if item != f"{mark}None"}
    return pack(clean) if clean else (None, None)


def _odd(item: Any, mark: str) -> Any:
    return float(item.removeprefix(mark)) if isinstance(item, str) and item.startswith(mark) else item
