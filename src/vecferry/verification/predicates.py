"""Predicates drawn from what a collection's metadata really holds, and their exact counts in one pass. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice, pairwise, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.filters import (
    And,
    Compare,
    Contains,
    Exists,
    Filter,
    Leaf,
    Not,
    OneOf,
    Op,
    Or,
    Scalar,
    leaves_of,
    matches,
)
from vecferry.planning.model import Profile

_KEYS = 8
_VALUE_SHOWN = 40
_CACHED = 1 << 16
_Answers = dict[str, NDArray[np.bool_]]
"""repr of a leaf -> which records of a batch match; not the leaf itself, since `1 == True` makes two leaves equal"""


@dataclass(slots=True)
class Facts:
    """What is known of one metadata key: values with their counts, elements of lists, how many records have it."""

    records: int = 0
    scalars: Counter[Scalar] = field(default_factory=Counter)
    elements: Counter[Scalar] = field(default_factory=Counter)


def facts_of_sample(metadata: Iterable[Mapping[str, Any]]) -> dict[str, Facts]:
    """Facts from a sample of records."""
    keys: dict[str, Facts] = {}
    for record in metadata:
        for key, value in record.items():
            facts = keys.setdefault(key, Facts())
            facts.records += 1
            if isinstance(value, str | int | float) and value == value:  # noqa: PLR0124 - NaN equals nothing
                facts.scalars[value] += 1
            elif isinstance(value, list):
                facts.elements.update(item for item in value if isinstance(item, str | int | bool))
    return keys


def facts_of_profile(profile: Profile) -> dict[str, Facts]:
    """Facts from a profile, which has seen every record."""
    return {
        key: Facts(sum(known.types.values()), Counter(dict(item for item in known.values if _scalar(item[0]))))
        for key, known in profile.keys.items()
    }


def _scalar(value: object) -> bool:
    return isinstance(value, str | int | float)


def draw(keys: Mapping[str, Facts], count: int) -> list[Filter]:
    """At most `count` predicates over the most frequent keys: simple ones of every kind first, then combined ones."""
    frequent = sorted(keys, key=lambda key: (-keys[key].records, key))[:_KEYS]
    each = [list(_leaves(key, keys[key])) for key in frequent]
    simple = [node for group in zip_longest(*each) for node in group if node is not None]
    simple = simple[: max(1, count * 2 // 3)]
    return [*simple, *islice(_combined(simple), count - len(simple))][:count]


def _leaves(key: str, facts: Facts) -> Iterator[Filter]:
    """Predicates over one key; scalars of one type only, because stores differ where types mix."""
    common = [value for value, _ in facts.scalars.most_common()]
    if common:
        yield Compare(key, Op.EQ, common[0])
        yield Compare(key, Op.EQ, common[-1])
        alike = [value for value in common if type(value) is type(common[0])]
        yield OneOf(key, tuple(alike[1:4]) or (alike[0],))
        yield from _ranges(key, [v for v in alike if isinstance(v, int | float) and not isinstance(v, bool)])
        yield from (Compare(key, Op.EQ, v) for v in islice((v for v in alike if not str(v).isascii()), 1))
    if facts.elements:
        yield Contains(key, facts.elements.most_common(1)[0][0])
    yield Exists(key)
    if common:
        yield Not(Compare(key, Op.EQ, common[0]))


def _ranges(key: str, numbers: Sequence[int | float]) -> Iterator[Filter]:
    if numbers:
        ordered = sorted(numbers)
        middle = ordered[len(ordered) // 2]
        yield Compare(key, Op.GTE, middle)
        yield And((Compare(key, Op.GT, ordered[0]), Compare(key, Op.LTE, middle)))


def _combined(simple: Sequence[Filter]) -> Iterator[Filter]:
    for left, right in pairwise(simple):
        yield And((left, right))
        yield Or((left, Not(right)))
        yield Not(Or((left, right)))


def show(node: Filter) -> str:
    """A predicate for a person."""
    match node:
        case And(parts):
            return "(" + " and ".join(map(show, parts)) + ")" if parts else "everything"
        case Or(parts):
            return "(" + " or ".join(map(show, parts)) + ")" if parts else "nothing"
        case Not(part):
            return f"not {show(part)}"
        case Exists(key):
            return f"{_short(key)} exists"
        case Contains(key, value):
            return f"{_short(key)} contains {_short(repr(value))}"
        case OneOf(key, values):
            return f"{_short(key)} in ({', '.join(_short(repr(value)) for value in values)})"
        case Compare(key, op, value):
            return f"{_short(key)} {op} {_short(repr(value))}"


def _short(text: str) -> str:
    return text if len(text) <= _VALUE_SHOWN else f"{text[: _VALUE_SHOWN - 3]}..."


class Counts:
    """How many records match each predicate, by the reference evaluator, counted while they pass.

    Each leaf is asked once per distinct value of its key (answers are kept), then joined over whole batches.
    """

    def __init__(self, predicates: Sequence[Filter]) -> None:
        self.predicates = list(predicates)
        self.counts = [0] * len(self.predicates)
        self._leaves: dict[str, list[Leaf]] = {}
        for leaf in {repr(leaf): leaf for node in predicates for leaf in leaves_of(node)}.values():
            self._leaves.setdefault(leaf.key, []).append(leaf)
        self._known: dict[str, dict[object, int]] = {key: {} for key in self._leaves}

    def add(self, metadata: Sequence[Mapping[str, Any] | None]) -> None:
        """Let records pass."""
        answers: _Answers = {}
        for key, leaves in self._leaves.items():
            column = [None if record is None else record.get(key) for record in metadata]
            bits = np.fromiter((self._bits(key, value) for value in column), np.uint64, len(column))
            for place, leaf in enumerate(leaves):
                answers[repr(leaf)] = (bits >> np.uint64(place) & np.uint64(1)).astype(bool)
        for index, node in enumerate(self.predicates):
            self.counts[index] += int(_join(node, answers, len(metadata)).sum())

    def _bits(self, key: str, value: Any) -> int:
        """One bit per leaf over `key`: does a record with this value match?"""
        if isinstance(value, list | dict):
            return self._ask(key, value)
        known = self._known[key]
        found = known.get((type(value), value))
        if found is None:
            if len(known) >= _CACHED:
                known.clear()
            found = known[type(value), value] = self._ask(key, value)
        return found

    def _ask(self, key: str, value: Any) -> int:
        return sum(1 << i for i, leaf in enumerate(self._leaves[key]) if matches(leaf, {key: value}))


def _join(node: Filter, answers: _Answers, rows: int) -> NDArray[np.bool_]:
    match node:
        case And(parts):
            return reduce(np.logical_and, (_join(part, answers, rows) for part in parts), np.ones(rows, bool))
        case Or(parts):
            return reduce(np.logical_or, (_join(part, answers, rows) for part in parts), np.zeros(rows, bool))
        case Not(part):
            return ~_join(part, answers, rows)
        case _:
            return answers[repr(node)]
