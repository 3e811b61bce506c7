"""How many records have each value of a metadata key: what teams look at to see that nothing is missing. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
import pyarrow as pa
import xxhash

from vecferry.arrow import utf8

KEPT = 10_000
"""Different values of a key that are counted apart; records with others, seen later, are counted together."""
LISTED = 1_000
"""Values that a breakdown lists; the rarer ones are one row together."""
_LONGEST = 200


class Row(StrEnum):
    """What a row of a breakdown stands for."""

    VALUE = "value"
    MISSING = "missing"
    """records without the key"""
    NULL = "null"
    """records whose value is null"""
    OTHERS = "others"
    """all values that are not listed, together"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One row: `value` is text as it is, or JSON. `in_target` is None where one side alone was counted."""

    row: Row
    value: str
    records: int
    in_target: int | None = None

    @property
    def same(self) -> bool:
        """Whether both sides have as many."""
        return self.in_target is None or self.in_target == self.records


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The records of a collection by one metadata key.

    Attributes:
        records, in_target: all of them; the sum of the groups.
        groups: values that both sides do not have alike first, then the most frequent; then the rows that are no value.
        values: how many different ones there are, those of both sides together; at least so many where `cut`.
        cut: there were more than 10,000, and those seen later were counted together, as others.
    """

    key: str
    records: int
    in_target: int | None = None
    groups: tuple[Group, ...] = ()
    values: int = 0
    cut: bool = False


class Groups:
    """Counts batch by batch, for any number of keys. Memory is bounded; can be pickled."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.records = 0
        self.counts: dict[str, Counter[str]] = {key: Counter() for key in keys}
        """key -> {JSON text of a value, or a row that is no value: records}"""

    def add(self, batch: pa.RecordBatch) -> None:
        """The records of a canonical batch."""
        self.records += batch.num_rows
        if not self.counts:
            return
        metadata = [orjson.loads(raw) if raw else {} for raw in utf8(batch, "metadata")]
        for key in self.counts:
            self._count(key, Counter(_text(one[key]) if key in one else Row.MISSING.value for one in metadata))

    def absorb(self, other: Groups) -> None:
        """Take over what another part of the same side counted."""
        self.records += other.records
        for key, found in other.counts.items():
            self._count(key, found)

    def _count(self, key: str, found: Counter[str]) -> None:
        counts = self.counts[key]
        for text, records in found.items():
            known = text in counts or text in _NO_VALUES or len(counts) < KEPT
            counts[text if known else Row.OTHERS.value] += records

    def breakdowns(self, target: Groups | None = None) -> tuple[Breakdown, ...]:
        """What was counted, beside what `target` counted if there is one."""
        return tuple(self._breakdown(key, target) for key in self.counts)

    def _breakdown(self, key: str, target: Groups | None) -> Breakdown:
        ours, theirs = self.counts[key], None if target is None else target.counts[key]
        everything = [one for one in (ours, theirs) if one is not None]
        texts = {text for side in everything for text in side} - _NO_VALUES.keys()
        order = sorted(texts, key=lambda text: (len({side[text] for side in everything}) < 2, -ours[text], text))
        cut = any(side[Row.OTHERS.value] for side in everything)
        unlisted = frozenset(order[LISTED:])
        sides = [_summed(side, unlisted) for side in everything]
        groups = [_group(text, sides) for text in (*order[:LISTED], *_NO_VALUES)]
        return Breakdown(
            key=key,
            records=self.records,
            in_target=None if target is None else target.records,
            groups=tuple(group for group in groups if group.records or group.in_target),
            values=len(texts),
            cut=cut,
        )


_NO_VALUES = {row.value: row for row in (Row.OTHERS, Row.MISSING, Row.NULL)}
"""What stands among the values without being one; JSON text is never one of them, but for null."""


def _summed(side: Counter[str], unlisted: frozenset[str]) -> Counter[str]:
    """A side with the values that are not listed counted as others."""
    if not unlisted:
        return side
    kept = Counter({text: records for text, records in side.items() if text not in unlisted})
    kept[Row.OTHERS.value] += sum(records for text, records in side.items() if text in unlisted)
    return kept


def _group(text: str, sides: Sequence[Counter[str]]) -> Group:
    row = _NO_VALUES.get(text, Row.VALUE)
    return Group(
        row=row,
        value=shown(text) if row is Row.VALUE else "",
        records=sides[0][text],
        in_target=sides[1][text] if len(sides) > 1 else None,
    )


def _text(value: Any) -> str:
    """A value as JSON; a long one by its beginning and a hash, so that two of them stay two."""
    raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    text = raw.decode()
    if len(text) <= _LONGEST:
        return text
    return orjson.dumps(f"{text[: _LONGEST - 20]}… ({xxhash.xxh3_64_hexdigest(raw)})").decode()


def shown(text: str) -> str:
    """A value for a person: text without quotes, unless it would look like another JSON value."""
    value = orjson.loads(text)
    if not isinstance(value, str) or not value.strip():
        return text
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    return text
