"""The shard key of a record, where a collection's owner says where each record goes (`sharding_method: custom`). Pure.

Outside Qdrant, and in a collection that is sharded in another way, it stands in the metadata under `KEY`, so that it is
filtered by and found again; in such a collection itself the record stands in the shard, and its payload says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from vecferry.arrow import JSON, as_array, utf8
from vecferry.tags import canonical

KEY = "_vf_shard_key"
ShardKey = str | int


def is_custom(config: Mapping[str, Any]) -> bool:
    """Do these settings say that every record has a shard key?"""
    return config.get("sharding_method") == "custom"


def in_order(keys: Iterable[ShardKey]) -> list[ShardKey]:
    """Different keys, numbers first."""
    return sorted(set(keys), key=lambda key: (isinstance(key, str), key))


def of_shard(key: ShardKey | None) -> dict[str, ShardKey]:
    """What a REST request says to reach one shard alone."""
    return {} if key is None else {"shard_key": key}


def put(batch: pa.RecordBatch, key: ShardKey) -> pa.RecordBatch:
    """The records of one shard, which is known by `key`, with that in their metadata."""
    told = [canonical({**(orjson.loads(text) if text is not None else {}), KEY: key}) for text in _texts(batch)]
    return _with_metadata(batch, told)


def take(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[ShardKey | None]]:
    """(the records without their shard keys, those keys; None where a record has none, or no such)."""
    texts: list[bytes | None] = []
    keys: list[ShardKey | None] = []
    for text in _texts(batch):
        values = orjson.loads(text) if text is not None else {}
        key = values.pop(KEY, None)
        keys.append(key if type(key) is str or (type(key) is int and key >= 0) else None)
        texts.append(canonical(values) if values else None)
    return _with_metadata(batch, texts), keys


def _texts(batch: pa.RecordBatch) -> list[bytes | None]:
    return utf8(batch, "metadata")


def _with_metadata(batch: pa.RecordBatch, texts: Sequence[bytes | None]) -> pa.RecordBatch:
    place = batch.schema.get_field_index("metadata")
    return batch.set_column(place, batch.schema.field(place), as_array(texts, JSON))
