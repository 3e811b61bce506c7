"""The filter tree, and the reference evaluator that says what each node means. Pure.

Nodes are frozen values over *metadata* paths; a store's `_codec` translates them. Semantics, chosen once for all
stores: a comparison never matches a missing key, another type (bool is not a number, 1 == 1.0), or a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Scalar = str | int | float | bool


class Op(StrEnum):
    """Comparison operators."""

    EQ = "=="
    GT = ">"
    GTE = ">="
    LT = "<"
    LTE = "<="


@dataclass(frozen=True, slots=True)
class Compare:
    """`key op value` on a scalar. Order comparisons are for numbers."""

    key: str
    op: Op
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """The scalar under `key` equals one of `values`."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """The list under `key` has an element equal to `value`."""

    key: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Exists:
    """`key` is there and not null."""

    key: str


@dataclass(frozen=True, slots=True)
class And:
    """Every part matches; no parts match everything."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Some part matches; no parts match nothing."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not match."""

    part: Filter


Leaf = Compare | OneOf | Contains | Exists
Filter = Leaf | And | Or | Not


def leaves_of(node: Filter) -> Iterator[Leaf]:
    """Every leaf of a filter, from left to right."""
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves_of(part)
        case Not(part):
            yield from leaves_of(part)
        case _:
            yield node


def matches(node: Filter, metadata: Mapping[str, Any] | None) -> bool:
    """The reference evaluator: does a record with this metadata match?"""
    match node:
        case And(parts):
            return all(matches(part, metadata) for part in parts)
        case Or(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)
    return _test(node, (metadata or {}).get(node.key))


def _test(node: Leaf, value: Any) -> bool:
    match node:
        case Exists():
            return value is not None
        case OneOf(_, values):
            return any(_equal(value, wanted) for wanted in values)
        case Contains(_, wanted):
            return isinstance(value, list) and any(_equal(item, wanted) for item in value)
        case Compare(_, Op.EQ, wanted):
            return _equal(value, wanted)
        case Compare(_, op, wanted):
            return _number(value) and _number(wanted) and _ORDER[op](value, wanted)


_ORDER = {
    Op.GT: lambda a, b: a > b,
    Op.GTE: lambda a, b: a >= b,
    Op.LT: lambda a, b: a < b,
    Op.LTE: lambda a, b: a <= b,
}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(value: object, wanted: Scalar) -> bool:
    if _number(wanted):
        return _number(value) and value == wanted
    return type(value) is type(wanted) and value == wanted
