"""Qdrant's filters, as `_codec.filters` writes them in JSON, in the edge engine's own objects.

Two things are different in the engine: a plain bool is taken for 0 or 1, a NumPy bool is not; and `values_count` at
least 0, which on a server says "the key is there", holds for missing keys as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vecferry.connectors.qdrant.embedded.engine import engine
from vecferry.layouts import ENVELOPE

Condition = Mapping[str, Any]
EmptyLists = Callable[[str], Iterable[Any]]
"""Payload path -> ids of the points that hold an empty list there: the one thing that no condition finds."""


def as_filter(condition: Condition, empty_lists: EmptyLists) -> Any:
    """A JSON filter as an engine filter."""
    parts = {
        clause: [_condition(part, empty_lists) for part in condition[clause]]
        for clause in ("must", "should", "must_not")
        if clause in condition
    }
    return engine().Filter(**parts)


def _condition(one: Condition, empty_lists: EmptyLists) -> Any:
    edge = engine()
    if "key" not in one and "is_null" not in one and "has_id" not in one:
        return as_filter(one, empty_lists)
    if "is_null" in one:
        return edge.IsNullCondition(one["is_null"]["key"])
    if "has_id" in one:
        return edge.HasIdCondition(set(one["has_id"]))
    if "match" in one:
        value = one["match"]["value"]
        return edge.FieldCondition(one["key"], match=edge.MatchValue(np.bool_(value) if type(value) is bool else value))
    if "range" in one:
        bounds = {name: float(bound) for name, bound in one["range"].items()}
        return edge.FieldCondition(one["key"], range=edge.RangeFloat(**bounds))
    if one["values_count"] == {"gte": 0}:
        return _there(one["key"], empty_lists)
    return edge.FieldCondition(one["key"], values_count=edge.ValuesCount(**one["values_count"]))


def _there(path: str, empty_lists: EmptyLists) -> Any:
    edge = engine()
    filled = edge.FieldCondition(path, values_count=edge.ValuesCount(gte=1))
    if path.startswith(f"{ENVELOPE}.") or f".{ENVELOPE}." in path:  # our own notes are never empty
        return filled
    empty = edge.HasIdCondition(set(empty_lists(path)))
    return edge.Filter(should=[filled, edge.IsNullCondition(path), empty])
