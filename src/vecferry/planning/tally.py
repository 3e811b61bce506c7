"""Counting what is seen, with the first few examples: the accumulators that a scan fills, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecferry.planning.model import Range, Seen

EXAMPLES = 5
"""How many examples a count carries."""
LONGEST_EXAMPLE = 120
"""Characters of an example; a longer id is cut, since a plan is for reading."""

Name = TypeVar("Name", bound=str)


class Tally(Generic[Name]):
    """Counts by name. Examples are fetched only while fewer than five are there, so that a scan pays for them once."""

    def __init__(self) -> None:
        self._counts: dict[Name, int] = {}
        self._examples: dict[Name, list[str]] = {}

    def add(self, name: Name, count: int, examples: Callable[[], Iterable[str]]) -> None:
        """`count` more of `name`; `examples` is asked for some of them, if any are wanted."""
        if count:
            self._counts[name] = self._counts.get(name, 0) + count
            kept = self._examples.setdefault(name, [])
            if len(kept) < EXAMPLES:
                kept += [shorten(text) for text in islice(examples(), EXAMPLES - len(kept))]

    def seen(self) -> dict[Name, Seen]:
        """Everything counted, in the order of first sight."""
        return {name: Seen(count=n, examples=tuple(self._examples[name])) for name, n in self._counts.items()}


def shorten(text: str) -> str:
    """`text` as an example: printable, on one line, not too long."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode()
    return shown if len(shown) <= LONGEST_EXAMPLE else shown[: LONGEST_EXAMPLE - 1] + "…"


class Spread:
    """Smallest, mean and largest of numbers that come in arrays; what is not finite is left out."""

    def __init__(self) -> None:
        self._low, self._high, self._sum, self._count = math.inf, -math.inf, 0.0, 0

    def add(self, values: NDArray[Any]) -> None:
        """More numbers, shape (n,)."""
        finite = values[np.isfinite(values)]
        if finite.size:
            self._low = min(self._low, float(finite.min()))
            self._high = max(self._high, float(finite.max()))
            self._sum += float(finite.sum(dtype=np.float64))
            self._count += finite.size

    def range(self) -> Range | None:
        """None where there was nothing to measure."""
        return Range(low=self._low, mean=self._sum / self._count, high=self._high) if self._count else None
