"""A store's filters held against the reference evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vecferry.errors import Unsupported
from vecferry.filters import Filter, matches
from vecferry.protocols import FilterCountable


def answered(source: FilterCountable, filters: Iterable[Filter], rows: Sequence[Mapping[str, Any] | None]) -> int:
    """How many of `filters` the source answers; each answer must be the number of `rows`, its metadata, that match."""
    count = 0
    for where in filters:
        try:
            found = source.count_where(where)
        except Unsupported:
            continue
        count += 1
        assert found == sum(matches(where, row) for row in rows), where
    return count
