"""Filters in the engine's own conditions, with the meaning that `vecferry.filters` gives them.

Qdrant's conditions match a list where one of its elements matches; ours never do. `key` says "the value, or an element
of it", `key[]` says "an element of it": so a scalar matches where the first holds and the second does not.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant.embedded_engine import engine
from vecferry.errors import Unsupported
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or, Scalar

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_EXACT = 1 << 53
"""Integers up to here are the same as a double."""


def translate(node: Filter, form: Form) -> Any:
    """`node` as an engine filter over the payloads of `form`."""
    make = engine().Filter
    match node:
        case And(parts):
            return make(must=[translate(part, form) for part in parts])
        case Or(parts):
            return make(should=[translate(part, form) for part in parts]) if parts else _nothing()
        case Not(part):
            return make(must_not=[translate(part, form)])
        case Exists(key):
            return _exists(index_path(key, form))
        case Contains(key, value):
            return make(must=[_equal(f"{index_path(key, form)}[]", value)])
        case OneOf(key, values):
            return translate(Or(tuple(Compare(key, Op.EQ, value) for value in values)), form)
        case Compare(key, op, value):
            return _compare(index_path(key, form), op, value)


def index_path(key: str, form: Form) -> str:
    """Where metadata key `key` stands in a payload, as Qdrant writes paths.

    Raises:
        Unsupported: a key with a quotation mark, which such a path cannot hold.
    """
    if '"' in key:
        raise Unsupported(f"Qdrant cannot filter on the key {key!r}: its paths know no quotation mark.")
    quoted = key if _PLAIN.fullmatch(key) else f'"{key}"'
    return quoted if form.layout.metadata_key is None else f"{form.layout.metadata_key}.{quoted}"


def _compare(path: str, op: Op, value: Scalar) -> Any:
    condition = _equal if op is Op.EQ else lambda at, number: _range(at, **{_BOUNDS[op]: float(number)})
    return engine().Filter(must=[condition(path, value)], must_not=[condition(f"{path}[]", value)])


_BOUNDS = {Op.GT: "gt", Op.GTE: "gte", Op.LT: "lt", Op.LTE: "lte"}


def _equal(path: str, value: Scalar) -> Any:
    edge = engine()
    if isinstance(value, bool):
        return edge.FieldCondition(path, match=edge.MatchValue(np.bool_(value)))  # a plain bool is taken for 0 or 1
    if isinstance(value, str) or (isinstance(value, int) and abs(value) > _EXACT):
        return edge.FieldCondition(path, match=edge.MatchValue(value))
    return _range(path, gte=float(value), lte=float(value))


def _range(path: str, **bounds: float) -> Any:
    edge = engine()
    return edge.FieldCondition(path, range=edge.RangeFloat(**bounds))


def _exists(path: str) -> Any:
    edge = engine()
    return edge.Filter(must_not=[edge.IsEmptyCondition(path), edge.IsNullCondition(path)])


def _nothing() -> Any:
    """What no record matches."""
    return engine().Filter(must=[engine().HasIdCondition(set())])
