"""One Qdrant server: its connections, and what it tells of its collections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vecferry.catalog import find
from vecferry.connectors.qdrant._codec.settings import CARD
from vecferry.connectors.qdrant._codec.shard_keys import ShardKey, in_order, of_shard
from vecferry.connectors.qdrant.transport import Address, Grpc, Rest, collection_path, find_grpc, greeting
from vecferry.errors import AuthFailed, NotFound, Unsupported
from vecferry.model import IdKind

_IDS = 10_000
_POINTS = 1_000
"""Points that one request names."""
_LAST_NUMBER, _FIRST_UUID = (1 << 64) - 1, "00000000-0000-0000-0000-000000000000"


class Server:
    """Open connections to one server, shared by everything that reads from it and writes to it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.store = address.store
        self.rest = Rest(address)
        self.grpc: Grpc | None = None
        try:
            self.version = str(greeting(self.rest, address).get("version", ""))
            self.names()  # the greeting needs no key, this does
            self.grpc = find_grpc(address)
        except BaseException:
            self.close()
            raise

    def at_least(self, *version: int) -> bool:
        """Is the server of this version or a later one?"""
        return tuple(map(int, re.findall(r"\d+", self.version)[: len(version)])) >= version

    def names(self) -> list[str]:
        """The names of the collections, sorted."""
        return sorted(entry["name"] for entry in self.rest.call("GET", "/collections")["collections"])

    def find(self, name: str) -> str:
        """The name of the collection that is called `name`, or has that alias.

        Raises:
            NotFound: there is none; lists near names.
        """
        names = self.names()
        if name in names:
            return name
        if (real := self.aliases().get(name)) is not None:
            return real
        return find([(known,) for known in names], name, store=self.store)[-1]

    def aliases(self) -> dict[str, str]:
        """Alias -> the collection that it leads to; none where the key does not allow to ask."""
        try:
            told = self.rest.call("GET", "/aliases")["aliases"]
        except AuthFailed:
            return {}
        return {entry["alias_name"]: entry["collection_name"] for entry in told}

    def aliases_of(self, name: str) -> list[str]:
        """The aliases of a collection, sorted."""
        return sorted(alias for alias, real in self.aliases().items() if real == name)

    def is_cluster(self) -> bool:
        """Does the server run in distributed mode, which custom sharding needs?"""
        return bool(self.rest.call("GET", "/cluster").get("status") == "enabled")

    def shard_keys(self, name: str) -> list[ShardKey]:
        """The shard keys of a collection, numbers first; none where it has no custom sharding."""
        told = self.rest.call("GET", collection_path(name, "/cluster"))
        shards = (*told.get("local_shards", ()), *told.get("remote_shards", ()))
        return in_order(shard["shard_key"] for shard in shards if shard.get("shard_key") is not None)

    def info(self, name: str) -> Mapping[str, Any] | None:
        """What the server tells of a collection, None where there is none."""
        try:
            told: Mapping[str, Any] = self.rest.call("GET", collection_path(name))
        except NotFound:
            return None
        return told

    def count(self, name: str, where: Mapping[str, Any] | None = None) -> int:
        """The exact number of points, of those that match a Qdrant filter if one is given.

        Where the strict mode allows no exact count, they are gone through.
        """
        narrowed = {"filter": where} if where is not None else {}
        try:
            return int(
                self.rest.call("POST", collection_path(name, "/points/count"), {"exact": True, **narrowed})["count"]
            )
        except Unsupported:
            info = self.info(name)
            most = None if info is None else self.strict_limit(info, "max_query_limit")
            return sum(self._pages_of_ids(name, min(_IDS, most or _IDS), narrowed))

    def _pages_of_ids(self, name: str, limit: int, narrowed: Mapping[str, Any]) -> Iterator[int]:
        """How many points each page of a scroll holds."""
        body: dict[str, Any] = {"limit": limit, "with_payload": False, "with_vector": False, **narrowed}
        while True:
            found = self.rest.call("POST", collection_path(name, "/points/scroll"), body)
            yield len(found["points"])
            if found["next_page_offset"] is None:
                return
            body["offset"] = found["next_page_offset"]

    def first_ids(self, name: str, start: int | str, *, shard: ShardKey | None = None) -> list[int | str]:
        """The first point id from `start` on (inclusive), in Qdrant's order (numbers, then UUIDs); empty behind all."""
        body = {"offset": start, "limit": 1, "with_payload": False, "with_vector": False, **of_shard(shard)}
        found = self.rest.call("POST", collection_path(name, "/points/scroll"), body)["points"]
        return [point["id"] for point in found]

    def standing(self, name: str, points: Sequence[int | str]) -> list[int | str]:
        """Those of these points that are there, in whichever shard."""
        found: list[int | str] = []
        for start in range(0, len(points), _POINTS):
            body = {"ids": points[start : start + _POINTS], "with_payload": False, "with_vector": False}
            found += [point["id"] for point in self.rest.call("POST", collection_path(name, "/points"), body)]
        return found

    def delete(self, name: str, points: Sequence[int | str], shards: Sequence[ShardKey | None]) -> None:
        """Remove these points from these shards; None is a collection without shards of its own."""
        for start in range(0, len(points), _POINTS):
            for key in shards:
                body = {"points": points[start : start + _POINTS], **of_shard(key)}
                self.rest.call("POST", collection_path(name, "/points/delete"), body, wait="true")

    def id_kind(self, name: str) -> IdKind:
        """Of what kind the point ids of a collection are; `UUID` for an empty one."""
        numbers = any(isinstance(point, int) for point in self.first_ids(name, 0))
        uuids = bool(self.first_ids(name, _FIRST_UUID))
        if numbers and uuids:
            return IdKind.MIXED
        return IdKind.INT if numbers else IdKind.UUID

    def payloads(self, name: str, limit: int) -> list[dict[str, Any]]:
        """The payloads of the first points."""
        body = {"limit": limit, "with_payload": True, "with_vector": False}
        found = self.rest.call("POST", collection_path(name, "/points/scroll"), body)["points"]
        return [point.get("payload") or {} for point in found]

    def strict_limit(self, info: Mapping[str, Any], name: str) -> int | None:
        """A limit of the collection's strict mode, None where it is off or has none."""
        strict = info["config"].get("strict_mode_config") or {}
        value = strict.get(name) if strict.get("enabled") else None
        return None if value is None else int(value)

    def close(self) -> None:
        """Close the connections."""
        self.rest.close()
        if self.grpc is not None:
            self.grpc.close()


def has_card(info: Mapping[str, Any]) -> bool:
    """Did we write this collection?"""
    return CARD in (info["config"].get("metadata") or {})
