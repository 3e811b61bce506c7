"""How many things are larger than a limit, from a histogram by powers of two and the five largest. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecferry.planning.model import Profile
from vecferry.planning.tally import shorten

_LARGEST = 5


class Sizes:
    """Sizes of one kind of thing over the records so far."""

    def __init__(self) -> None:
        self.histogram: Counter[int] = Counter()
        self.largest: list[tuple[int, str]] = []

    def add(self, sizes: NDArray[np.int64], ids: Callable[[int], str]) -> None:
        """One batch: bytes per record, shape (rows,); `ids` names the record of a row."""
        powers = np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
        for power, count in enumerate(np.bincount(powers).tolist()):
            if count:
                self.histogram[1 << power] += count
        floor = self.largest[-1][0] if len(self.largest) == _LARGEST else -1
        if int(sizes.max()) > floor:
            best = np.argsort(-sizes, kind="stable")[:_LARGEST].tolist()
            ranked = [*self.largest, *((int(sizes[row]), shorten(ids(row))) for row in best)]
            self.largest = sorted(ranked, key=lambda item: -item[0])[:_LARGEST]


def larger_than(profile: Profile, what: str, limit: int | None) -> tuple[int, tuple[str, ...]]:
    """(how many, examples) of the profile's `id`, `document`, `uri` or `record` sizes that exceed `limit` bytes.

    Exact while at most four do, or where the limit is a power of two; otherwise an upper bound.
    """
    if limit is None:
        return 0, ()
    largest = [(size, name) for size, name in profile.largest.get(what, ()) if size > limit]
    examples = tuple(f"{name} ({size:,} bytes)" for size, name in largest)
    if len(largest) < _LARGEST:
        return len(largest), examples
    return sum(count for bound, count in profile.sizes.get(what, {}).items() if bound > limit), examples
