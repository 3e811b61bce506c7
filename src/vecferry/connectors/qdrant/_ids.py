"""Point ids in Qdrant's order (numbers ascending, then UUIDs ascending), and ranges of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

MAX_NUMBER = (1 << 64) - 1
MAX_UUID = (1 << 128) - 1
FIRST_UUID = str(UUID(int=0))

PointId = int | str
Probe = Callable[[PointId], list[PointId]]
"""The first point id from a start on, as a list of one or none."""


def json_id(point: str) -> PointId:
    """A point id (as text) as JSON has it."""
    return int(point) if point.isdigit() else point


def order(point: str) -> tuple[bool, int]:
    """The place of a point id (as text) in Qdrant's order."""
    return (True, UUID(point).int) if len(point) == 36 else (False, int(point))


def behind(point: str) -> str | None:
    """The smallest id behind `point`, None behind the last there can be."""
    is_uuid, number = order(point)
    if is_uuid:
        return None if number == MAX_UUID else str(UUID(int=number + 1))
    return FIRST_UUID if number == MAX_NUMBER else str(number + 1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of point ids, as text: from `start`, up to but without `end` (None: to the very last).

    `shard` is the key of the shard that is meant, in a collection that has such.
    """

    start: str
    end: str | None
    shard: str | int | None = None

    def text(self) -> str:
        """This range as text that `of` reads."""
        return json.dumps([self.start, self.end] if self.shard is None else [self.start, self.end, self.shard])

    @classmethod
    def of(cls, text: str) -> Bounds:
        """The range in a partition's bounds."""
        return cls(*json.loads(text))

    def holds(self, point: str) -> bool:
        """Does the range reach as far as `point`?"""
        return self.end is None or order(point) < order(self.end)


def split(probe: Probe, shares: int) -> list[Bounds]:
    """The whole id space as about `shares` ranges, cut evenly between the ids that are there."""
    cuts = _cuts(probe, shares) if shares > 1 else []
    starts = ["0", *cuts]
    return [Bounds(start, end) for start, end in zip(starts, [*cuts, None], strict=True)]


def _cuts(probe: Probe, shares: int) -> list[str]:
    first, uuids = probe(0), probe(FIRST_UUID)
    cuts: list[str] = []
    if first and isinstance(first[0], int):
        high = _last(lambda number: _is_number(probe(number)), first[0], MAX_NUMBER)
        cuts += [str(cut) for cut in _even(first[0], high, shares)]
        cuts += [FIRST_UUID] if uuids else []
    if uuids:
        low = UUID(str(uuids[0])).int
        high = _last(lambda number: bool(probe(str(UUID(int=number)))), low, MAX_UUID)
        cuts += [str(UUID(int=cut)) for cut in _even(low, high, shares)]
    return cuts


def _is_number(found: list[PointId]) -> bool:
    return bool(found) and isinstance(found[0], int)


def _even(low: int, high: int, shares: int) -> list[int]:
    return sorted({low + (high - low) * share // shares for share in range(1, shares)} - {low})


def _last(any_from: Callable[[int], bool], low: int, limit: int) -> int:
    """About the largest id, at most a thousandth of the way from `low` beyond it, with some twenty probes.

    `any_from(n)` says whether an id of n or more is there.
    """
    there, gone = -1, (limit - low).bit_length()  # an id of low + 2**there or more is there, of low + 2**gone is not
    while gone - there > 1:
        middle = (there + gone) // 2
        there, gone = (middle, gone) if any_from(low + (1 << middle)) else (there, middle)
    known, high = low + (1 << there if there >= 0 else 0), min(limit, low + (1 << gone))
    for _ in range(_HALVINGS):
        middle = (known + high) // 2
        known, high = (middle, high) if any_from(middle) else (known, middle)
    return high


_HALVINGS = 10
