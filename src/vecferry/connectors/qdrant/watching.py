"""Whether a collection was written to, told without reading its vectors.

A shard numbers the operations on it, ours too, and tells the number with each: an operation that finds nothing to do
shows whether another one came in between, whatever it did. Numbers of several shards or replicas of one collection are
not told apart; there the ids and payloads are read instead, and a vector that was replaced alone is not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any
from uuid import uuid4

import orjson

from vecferry.connectors.qdrant._codec.shard_keys import ShardKey, of_shard
from vecferry.connectors.qdrant.server import Server
from vecferry.connectors.qdrant.transport import collection_path

_ALONE = ("shard_number", "replication_factor")


def watch(
    server: Server, name: str, params: dict[str, Any], keys: Sequence[ShardKey | None], page: int
) -> Callable[[], bool]:
    """Begin to watch; what it returns says whether the collection was written to since.

    `params` are the collection's own, `keys` those of its shards (None for one without), `page` points a request.
    """
    if all(params.get(setting, 1) == 1 for setting in _ALONE):
        before, asked = [_operation(server, name, key) for key in keys], count(1)

        def other_operations() -> bool:
            ours = next(asked)
            return [_operation(server, name, key) - ours for key in keys] != before

        return other_operations
    digest = _digest(server, name, keys, page)
    return lambda: _digest(server, name, keys, page) != digest


def _operation(server: Server, name: str, key: ShardKey | None) -> int:
    """The number of an operation on a shard that removes a point which nobody has."""
    body = {"points": [str(uuid4())], **of_shard(key)}
    done = server.rest.call("POST", collection_path(name, "/points/delete"), body, wait="true")
    return int(done["operation_id"])


def _digest(server: Server, name: str, keys: Sequence[ShardKey | None], page: int) -> str:
    """Of every id and payload, in Qdrant's order."""
    made = hashlib.blake2b(digest_size=16)
    for key in keys:
        for points in _pages(server, name, key, page):
            made.update(orjson.dumps([key, points], option=orjson.OPT_SORT_KEYS))
    return made.hexdigest()


def _pages(server: Server, name: str, key: ShardKey | None, page: int) -> Iterator[list[Any]]:
    body: dict[str, Any] = {"limit": page, "with_payload": True, "with_vector": False, **of_shard(key)}
    while True:
        found = server.rest.call("POST", collection_path(name, "/points/scroll"), body)
        yield found["points"]
        if found["next_page_offset"] is None:
            return
        body["offset"] = found["next_page_offset"]
