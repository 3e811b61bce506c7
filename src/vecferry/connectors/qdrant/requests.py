"""A batch cut into requests of points: in as few as the limits allow. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

from vecferry.connectors.qdrant._codec import grpc_write, rest
from vecferry.connectors.qdrant._codec.shard_keys import ShardKey

Points = TypeVar("Points", list[grpc_write.Point], rest.Points)


@dataclass(frozen=True, slots=True)
class _Request(Generic[Points]):
    """The points of one request."""

    ids: list[bytes]
    points: Points
    shard: ShardKey | None

    def part(self, start: int, end: int) -> Self:
        """Some of them."""
        return replace(self, ids=self.ids[start:end], points=self.points[start:end])


class GrpcPoints(_Request[list[grpc_write.Point]]):
    """Points as protobuf."""


class RestPoints(_Request[rest.Points]):
    """Points that become JSON."""


def cut(sizes: list[int], most_rows: int | None, most_bytes: int | None) -> list[tuple[int, int]]:
    """(start, end) of each request; one record may exceed `most_bytes`."""
    if (most_rows is None or len(sizes) <= most_rows) and (most_bytes is None or sum(sizes) <= most_bytes):
        return [(0, len(sizes))]
    parts, start, total = [], 0, 0
    for row, size in enumerate(sizes):
        total += size
        if row > start and (row - start == most_rows or (most_bytes is not None and total > most_bytes)):
            parts.append((start, row))
            start, total = row, size
    return [*parts, (start, len(sizes))]


def even(sizes: list[int], most_bytes: int) -> int:
    """A limit that makes as few requests as `most_bytes`, but all of about one size: no small one at the end."""
    total = sum(sizes)
    return min(most_bytes, total // -(-total // most_bytes) + max(sizes))
