"""Filters of ours as Chroma's `where`, exactly or not at all. Pure.

Chroma's comparisons mean what ours do (proven against the reference evaluator on the real thing, in
tests/integration/test_chroma_filters.py): a number equals it as integer and as float, `$ne` and `$nin` match a missing
key, a scalar never matches a list. What it cannot say: that a key exists, and the negation of a range. A list's
elements have one type each, so a number is looked for as integer and as float. It turns a number into the type of what
it is compared with, so that 2.5 equals the integer 2: `rounded` names the keys that this may touch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from vecferry.connectors.chroma._codec import INT64, plain
from vecferry.errors import Unsupported
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or, Scalar, leaves_of

Where = dict[str, Any]

_RANGES = {Op.GT: "$gt", Op.GTE: "$gte", Op.LT: "$lt", Op.LTE: "$lte"}
_HINT = "Leave this predicate out; verification does, and says so."


def where(node: Filter, *, negated: bool = False) -> Where:
    """`node`, or its negation, for `Collection.get` and `Collection.query`.

    Raises:
        Unsupported: Chroma has no such filter.
    """
    match node:
        case Not(part):
            return where(part, negated=not negated)
        case And(parts):
            return _joined("$or" if negated else "$and", [where(part, negated=negated) for part in parts])
        case Or(parts):
            return _joined("$and" if negated else "$or", [where(part, negated=negated) for part in parts])
        case Exists():
            raise Unsupported("Chroma has no filter that asks whether a key is there.", hint=_HINT)
    return _leaf(node, negated=negated)


def rounded(node: Filter) -> Iterator[tuple[str, type]]:
    """(key, type): values of this type under the key would be compared with a rounded number."""
    for leaf in leaves_of(node):
        if isinstance(leaf, Compare | OneOf):
            values = leaf.values if isinstance(leaf, OneOf) else (leaf.value,)
            yield from ((leaf.key, other) for value in values if (other := _rounded(value)) is not None)


def _rounded(value: Scalar) -> type | None:
    """The type of number that cannot say `value`."""
    if isinstance(value, float) and not (value.is_integer() and -INT64 <= value < INT64):
        return int
    return float if isinstance(value, int) and int(float(value)) != value else None


def _leaf(node: Compare | OneOf | Contains, *, negated: bool) -> Where:
    match node:
        case Compare(key, Op.EQ, value):
            return {_key(key): {"$ne" if negated else "$eq": _value(value)}}
        case OneOf(key, values):
            return _one_of(_key(key), values, negated=negated)
        case Contains(key, value):
            operator = "$not_contains" if negated else "$contains"
            each = [{_key(key): {operator: one}} for one in _as_elements(_value(value))]
            return _joined("$and" if negated else "$or", each)
        case Compare(key, op, value):
            if negated:
                raise Unsupported("Chroma has no negation of a range that matches records without the key.", hint=_HINT)
            return {_key(key): {_RANGES[op]: _value(value)}}


def _one_of(key: str, values: Sequence[Scalar], *, negated: bool) -> Where:
    """Chroma takes values of one type at a time."""
    groups: dict[type, list[Scalar]] = {}
    for value in values:
        groups.setdefault(type(value), []).append(_value(value))
    operator = "$nin" if negated else "$in"
    return _joined("$and" if negated else "$or", [{key: {operator: group}} for group in groups.values()])


def _joined(operator: str, parts: list[Where]) -> Where:
    """Chroma joins two or more; of none it can neither say "everything" nor "nothing"."""
    if not parts:
        raise Unsupported("Chroma has no filter that matches everything or nothing.", hint=_HINT)
    return parts[0] if len(parts) == 1 else {operator: parts}


def _key(key: str) -> str:
    if not plain(key, ""):
        raise Unsupported(f"Chroma cannot filter on the key '{key}', which it needs for itself.", hint=_HINT)
    return key


def _value(value: Scalar) -> Scalar:
    if isinstance(value, int) and not -INT64 <= value < INT64:
        raise Unsupported("Chroma has no integer past 64 bits to compare with.", hint=_HINT)
    if isinstance(value, float) and not math.isfinite(value):
        raise Unsupported("Chroma cannot compare with a number that is not finite.", hint=_HINT)
    return value


def _as_elements(value: Scalar) -> list[Scalar]:
    """`value` as each type that an equal element may have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [value]
    found: list[Scalar] = [value]
    if isinstance(value, int) and int(float(value)) == value:
        found.append(float(value))
    if isinstance(value, float) and value.is_integer() and -INT64 <= value < INT64:
        found.append(int(value))
    return found
