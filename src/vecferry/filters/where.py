"""Filters as people write them in a file: Chroma's `where` form, and two operators that it lacks. Pure.

    {lang: de}                              {page: {$gte: 3}}                  {$and: [{lang: de}, {page: {$lt: 9}}]}
    $eq $ne $gt $gte $lt $lte $in $nin $contains $not_contains $and $or        and ours: $exists (true, false), $not

The meaning is that of the tree (`vecferry.filters`): a comparison never matches a missing key, its negation does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from vecferry.errors import ConfigError
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or, Scalar

_HINT = "Write {KEY: VALUE} or {KEY: {OPERATOR: VALUE}}, joined by $and, $or and $not."
_DEEPEST = 50


def parse_where(node: object, *, depth: int = 0) -> Filter:
    """The filter that `node` says; several keys in one object must all match.

    Raises:
        ConfigError: an unknown operator, a value that cannot be compared with, or nesting past 50 levels.
    """
    if not isinstance(node, Mapping) or not node:
        raise _wrong(f"{node!r} is no filter.")
    if depth > _DEEPEST:
        raise _wrong("The filter is nested too deeply.")
    parts = [_entry(key, value, depth) for key, value in node.items()]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _entry(key: object, value: object, depth: int) -> Filter:
    if not isinstance(key, str):
        raise _wrong(f"{key!r} is no metadata key.")
    if key == "$not":
        return Not(parse_where(value, depth=depth + 1))
    if key in ("$and", "$or"):
        if not isinstance(value, list) or not value:
            raise _wrong(f"{key} takes a list of filters.")
        parts = tuple(parse_where(part, depth=depth + 1) for part in value)
        return And(parts) if key == "$and" else Or(parts)
    if key.startswith("$"):
        raise _wrong(f"There is no operator {key} in the place of a key.")
    if not isinstance(value, Mapping):
        return Compare(key, Op.EQ, _scalar(value))
    leaves = [_leaf(key, operator, operand) for operator, operand in value.items()]
    if not leaves:
        raise _wrong(f"'{key}' has no operator.")
    return leaves[0] if len(leaves) == 1 else And(tuple(leaves))


def _leaf(key: str, operator: object, operand: object) -> Filter:
    make = _LEAVES.get(str(operator))
    if make is None:
        raise _wrong(f"There is no operator {operator!r}; known: {', '.join(_LEAVES)}.")
    return make(key, operand)


def _scalar(value: object) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(f"Nothing can be compared with {value}.")
    if isinstance(value, str | int | float):
        return value
    raise _wrong(f"Nothing can be compared with {value!r}, which is no text, number or boolean.")


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(f"Order is for numbers, and {value!r} is none.")
    return value


def _scalars(value: object) -> tuple[Scalar, ...]:
    if not isinstance(value, list) or not value:
        raise _wrong(f"$in and $nin take a list of values, not {value!r}.")
    return tuple(_scalar(item) for item in value)


def _exists(key: str, value: object) -> Filter:
    if not isinstance(value, bool):
        raise _wrong(f"$exists is true or false, not {value!r}.")
    return Exists(key) if value else Not(Exists(key))


def _order(op: Op) -> Callable[[str, Any], Filter]:
    return lambda key, value: Compare(key, op, _number(value))


_LEAVES: Mapping[str, Callable[[str, Any], Filter]] = {
    "$eq": lambda key, value: Compare(key, Op.EQ, _scalar(value)),
    "$ne": lambda key, value: Not(Compare(key, Op.EQ, _scalar(value))),
    "$gt": _order(Op.GT),
    "$gte": _order(Op.GTE),
    "$lt": _order(Op.LT),
    "$lte": _order(Op.LTE),
    "$in": lambda key, value: OneOf(key, _scalars(value)),
    "$nin": lambda key, value: Not(OneOf(key, _scalars(value))),
    "$contains": lambda key, value: Contains(key, _scalar(value)),
    "$not_contains": lambda key, value: Not(Contains(key, _scalar(value))),
    "$exists": _exists,
}


def _wrong(message: str) -> ConfigError:
    return ConfigError(message, hint=_HINT)
