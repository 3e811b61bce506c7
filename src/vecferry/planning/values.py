"""What stands in the metadata: types, values and odd shapes per key, over any number of records in bounded memory.

Records are turned into columns, one list of values per key, and each list is counted by C code (`Counter`, `min`,
`max`); only values that are rare in practice (lists, objects, tagged) are looked at one by one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from vecferry.limits import Limits, Shape
from vecferry.planning.model import KeyProfile
from vecferry.planning.tally import Tally, shorten

MAX_KEYS = 10_000
"""Different keys that are profiled; values under others are only counted."""
_WIDE, _NARROW, _WIDE_KEYS = 1024, 16, 64
"""Different values counted per key: `_WIDE` for the first `_WIDE_KEYS` keys, `_NARROW` for the others."""
_TOP = 20
_LONGEST_VALUE = 128
_INT64 = 1 << 63

_NOT_FLAT = frozenset({"object", "list"})
_SCALARS = (str, int, float, bool)
_NAMES: dict[type, str] = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null", dict: "object"}


class Tagged:
    """Stands where the metadata holds text under a type tag; `tag` says what it was."""

    __slots__ = ("tag",)

    def __init__(self, tag: str) -> None:
        self.tag = tag


class ValueCounter:
    """Counts different values up to a number of them; past it, only the most frequent of those seen so far go on.

    `exact` turns False where a value was not counted: too many different ones, or a text too long to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[Any] = Counter()
        self._closed = False
        self.exact = True

    def add(self, values: Sequence[Any]) -> None:
        """More values, all of one type (1 and True would count as equal)."""
        if self._closed:
            self._counts.update(filter(self._counts.__contains__, values))
            return
        self._counts.update(self._short(values) if type(values[0]) is str else values)
        if len(self._counts) > self._limit:
            self._closed, self.exact = True, False
            self._counts = Counter(dict(self._counts.most_common(_TOP)))

    def _short(self, values: Sequence[str]) -> Sequence[str]:
        if max(map(len, values)) <= _LONGEST_VALUE:
            return values
        self.exact = False
        return [value for value in values if len(value) <= _LONGEST_VALUE]

    def most_common(self) -> list[tuple[Any, int]]:
        """At most 20 values with their counts, most frequent first; the smaller value first where they tie."""
        return sorted(self._counts.items(), key=lambda item: (-item[1], str(item[0])))[:_TOP]

    def __len__(self) -> int:
        return len(self._counts)


class KeyStats:
    """One metadata key over the records so far."""

    __slots__ = ("_high", "_limit", "_low", "_types", "_values")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._types: Counter[str] = Counter()
        self._values: dict[type, ValueCounter] = {}
        self._low, self._high = math.inf, -math.inf

    def add(self, values: Sequence[Any]) -> dict[Shape, int]:
        """The key's values in one batch. Returns the odd shapes among them."""
        kinds = Counter(map(type, values))
        if len(kinds) == 1:
            return self._add_kind(next(iter(kinds)), values)
        shapes: Counter[Shape] = Counter()
        for kind in kinds:
            shapes.update(self._add_kind(kind, [value for value in values if type(value) is kind]))
        return shapes

    def _add_kind(self, kind: type, values: Sequence[Any]) -> dict[Shape, int]:
        if kind not in _SCALARS:
            return self._add_odd(values)
        self._types[_NAMES[kind]] += len(values)
        counter = self._values.get(kind)
        if counter is None:
            counter = self._values[kind] = ValueCounter(self._limit)
        counter.add(values)
        return self._add_numbers(values) if kind is int or kind is float else {}

    def _add_numbers(self, values: Sequence[float]) -> dict[Shape, int]:
        low, high = min(values), max(values)
        self._low, self._high = min(self._low, low), max(self._high, high)
        shapes = {}
        if high >= _INT64 and isinstance(high, int):
            shapes[Shape.UINT64] = sum(value >= _INT64 for value in values)
        if low <= 0.0 <= high and isinstance(low, float):
            shapes[Shape.NEGATIVE_ZERO] = sum(_is_negative_zero(value) for value in values if value == 0.0)
        return shapes

    def _add_odd(self, values: Sequence[Any]) -> dict[Shape, int]:
        shapes: Counter[Shape] = Counter()
        for value in values:
            self._types[type_name(value)] += 1
            shapes.update(shapes_of(value))
        return shapes

    @property
    def records(self) -> int:
        return self._types.total()

    def profile(self) -> KeyProfile:
        """What was seen."""
        counters = self._values.values()
        ranked = sorted((item for counter in counters for item in counter.most_common()), key=lambda item: -item[1])
        return KeyProfile(
            types=dict(sorted(self._types.items(), key=lambda item: (-item[1], item[0]))),
            values=tuple(ranked[:_TOP]),
            distinct=sum(map(len, counters)) if all(counter.exact for counter in counters) else None,
            low=float(self._low) if self._low <= self._high else None,
            high=float(self._high) if self._low <= self._high else None,
        )


def type_name(value: object) -> str:
    """The name that a profile gives to the type of `value`."""
    if isinstance(value, Tagged):
        return "tagged"
    if not isinstance(value, list):
        return _NAMES[type(value)]
    kinds = set(map(type, value))
    (kind,) = kinds if len(kinds) == 1 else (None,)
    return f"list[{_NAMES[kind]}]" if kind in _SCALARS else "list"


def shapes_of(value: Any) -> set[Shape]:
    """The odd shapes of one metadata value, inner ones included where a store minds them at any depth."""
    if value is None:
        return {Shape.NULL_VALUE}
    if isinstance(value, Tagged):
        return {Shape.BIG_INT if value.tag == "int" else Shape.TAGGED}
    if isinstance(value, dict):
        return {Shape.NESTED_OBJECT, *_inner_shapes(value)}
    if isinstance(value, list):
        outer = Shape.LIST if type_name(value) != "list" else Shape.MIXED_LIST if value else Shape.EMPTY_LIST
        return {outer, *_inner_shapes(value)}
    return _number_shapes(value)


def _number_shapes(value: Any) -> set[Shape]:
    if type(value) is int and value >= _INT64:
        return {Shape.UINT64}
    return {Shape.NEGATIVE_ZERO} if _is_negative_zero(value) else set()


def _inner_shapes(value: Any) -> Iterator[Shape]:
    """Shapes of numbers and tagged values at any depth; a stack, since hostile metadata may be nested very deep."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, Tagged):
            yield Shape.BIG_INT if item.tag == "int" else Shape.TAGGED
        elif item is not None:
            yield from _number_shapes(item)


def _is_negative_zero(value: Any) -> bool:
    return type(value) is float and value == 0.0 and math.copysign(1.0, value) < 0


def is_reserved(key: str, limits: Limits) -> bool:
    """Whether the target needs metadata key `key` for itself."""
    return key != "" and (key in limits.reserved_keys or key.startswith(limits.reserved_prefixes))


def singles(metadata: Mapping[str, Any]) -> int:
    """Keys with one value each."""
    return sum(value is not None and not isinstance(value, list | dict) for value in metadata.values())


def elements(metadata: Mapping[str, Any]) -> int:
    """Elements of all lists together."""
    return sum(len(value) for value in metadata.values() if isinstance(value, list))


def is_long(key: str, limits: Limits) -> bool:
    """Whether metadata key `key` has more bytes than the target takes."""
    return limits.key_bytes is not None and len(key.encode()) > limits.key_bytes


def longest(metadata: Mapping[str, Any]) -> int:
    """Bytes of the longest text; those of a list count together, and so does all that is kept beside the record."""
    texts = (sum(len(text.encode()) for text in _texts(value)) for value in metadata.values())
    beside = sum(len(orjson.dumps(value, default=str)) for value in metadata.values() if type_name(value) in _NOT_FLAT)
    return max(*texts, beside, 0, 0)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, str))


class MetadataStats:
    """The metadata of one collection over the records so far.

    Facts about keys are counted whatever their number; those that depend on a target, where its `limits` are given.
    """

    def __init__(self, tally: Tally[Shape], limits: Limits | None = None) -> None:
        self._tally = tally
        self._limits = limits
        self._keys: dict[str, KeyStats] = {}
        self.untracked = 0

    def add(self, raws: Sequence[bytes | None], tags: Sequence[bytes | None] | None, ids: Callable[[int], str]) -> None:
        """One batch: metadata and tags as canonical JSON per record; `ids` names the record of a row."""
        rows = [parse(raw, tags[row] if tags else None) for row, raw in enumerate(raws)]
        columns: dict[str, list[Any]] = {}
        for metadata in rows:
            if metadata:
                for key, value in metadata.items():
                    try:
                        columns[key].append(value)
                    except KeyError:
                        columns[key] = [value]
        for key, values in columns.items():
            for shape, count in self._stats(key, len(values)).add(values).items():
                self._tally.add(shape, count, lambda key=key, shape=shape: _examples(rows, ids, key, shape))  # type: ignore[misc]
        self._tally.add(Shape.EMPTY_KEY, len(columns.get("", ())), lambda: _having(rows, ids, ""))
        self._empty(raws, ids)
        if self._limits is not None:
            self._hold_against(self._limits, columns, rows, raws, ids)

    def _hold_against(
        self,
        limits: Limits,
        columns: Mapping[str, Sequence[Any]],
        rows: Sequence[Mapping[str, Any] | None],
        raws: Sequence[bytes | None],
        ids: Callable[[int], str],
    ) -> None:
        """Count what only this target minds."""
        for key in columns:
            examples = partial(_having, rows, ids, key)
            if is_reserved(key, limits):
                self._tally.add(Shape.RESERVED_KEY, len(columns[key]), examples)
            if is_long(key, limits):
                self._tally.add(Shape.LONG_KEY, len(columns[key]), examples)
        for shape, limit, count in (
            (Shape.MANY_KEYS, limits.metadata_keys, singles),
            (Shape.LONG_LISTS, limits.list_elements, elements),
            (Shape.LONG_VALUE, limits.value_bytes, longest),
        ):
            over = [] if limit is None else list(_over(limit, count, rows, raws))
            self._tally.add(shape, len(over), partial(_wide, over, ids))

    def _stats(self, key: str, values: int) -> KeyStats:
        """The statistics of a key; those of a key past the limit are looked at for odd shapes and then forgotten."""
        stats = self._keys.get(key)
        if stats is None:
            stats = KeyStats(_WIDE if len(self._keys) < _WIDE_KEYS else _NARROW)
            if len(self._keys) < MAX_KEYS:
                self._keys[key] = stats
            else:
                self.untracked += values
        return stats

    def _empty(self, raws: Sequence[bytes | None], ids: Callable[[int], str]) -> None:
        count = raws.count(b"{}")
        self._tally.add(Shape.EMPTY_METADATA, count, lambda: (ids(row) for row, raw in enumerate(raws) if raw == b"{}"))

    def counts(self) -> dict[str, int]:
        """Key -> records that have it."""
        return {key: stats.records for key, stats in self._keys.items()}

    def profiles(self) -> dict[str, KeyProfile]:
        """Key -> profile, the most frequent key first."""
        ranked = sorted(self._keys.items(), key=lambda item: (-item[1].records, item[0]))
        return {key: stats.profile() for key, stats in ranked}


def parse(raw: bytes | None, tags: bytes | None) -> dict[str, Any] | None:
    """Metadata as Python values, with `Tagged` where a tag points."""
    if raw is None:
        return None
    value: dict[str, Any] = orjson.loads(raw)
    if tags is not None:
        for pointer, tag in orjson.loads(tags).items():
            _mark(value, pointer, tag)
    return value


def _mark(value: Any, pointer: str, tag: str) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    slot: Any = int(last) if isinstance(value, list) else last
    value[slot] = Tagged(tag)


def _over(
    limit: int, count: Callable[[Mapping[str, Any]], int], rows: Sequence[Mapping[str, Any] | None], raws: Sequence[Any]
) -> Iterator[tuple[int, int]]:
    """(row, how many) of the records that have more than `limit`; what is shorter as text cannot have so many."""
    for row, metadata in enumerate(rows):
        if metadata and len(raws[row]) > limit and (found := count(metadata)) > limit:
            yield row, found


def _wide(over: Sequence[tuple[int, int]], ids: Callable[[int], str]) -> Iterator[str]:
    return (f"{shorten(ids(row))} ({found:,})" for row, found in over)


def _having(rows: Sequence[Mapping[str, Any] | None], ids: Callable[[int], str], key: str) -> Iterator[str]:
    return (f"{shorten(ids(row))}: {shorten(key)}" for row, found in enumerate(rows) if found and key in found)


def _examples(
    rows: Iterable[Mapping[str, Any] | None], ids: Callable[[int], str], key: str, shape: Shape
) -> Iterator[str]:
    for row, metadata in enumerate(rows):
        if metadata and key in metadata and shape in shapes_of(metadata[key]):
            yield f"{shorten(ids(row))}: {shorten(key)}"
