"""Units: the rows of a table with one value of a column, each with partitions of its own. Pure.

The id of a unit's partition is the value, as JSON text, and the partition's name within the unit, which has no space:
`7 keys-000`, `"alice smith" keys-000`, `null keys-000`. In a merge the place of the collection stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from vecferry.model import Partition, PartitionId
from vecferry.tables.model import Column
from vecferry.tables.types import is_int

_ID = re.compile(r"(?:\d+:)?(null|-?\d+|\".*\") (\S+)", re.DOTALL)


def partition_id(value: str, name: str) -> PartitionId:
    """The id of the partition `name` of the unit `value` (JSON text)."""
    return PartitionId(f"{value} {name}")


def unit_of(partition: str) -> str | None:
    """The unit that a partition is of, as JSON text; None where it is of none."""
    found = _ID.fullmatch(partition)
    return found[1] if found else None


def rows_by_unit(partitions: Iterable[Partition]) -> dict[str, int]:
    """Unit -> the rows that its partitions were made of, in their order; empty where the collection has no units."""
    found: dict[str, int] = {}
    for partition in partitions:
        unit = unit_of(partition.id)
        if unit is not None:
            found[unit] = found.get(unit, 0) + (partition.estimated_rows or 0)
    return found


def share(rows: int, number: int, shares: int) -> int:
    """The rows of one of so many equal shares, counted from 0; all of them together are `rows`."""
    return rows * (number + 1) // shares - rows * number // shares


def as_unit(text: str | None, column: Column) -> str:
    """The JSON text of a value that the store prints as `text`."""
    if text is None:
        return "null"
    return str(int(text)) if is_int(column.type) else orjson.dumps(text).decode()


def text_of(unit: str) -> str | None:
    """What the store prints of the value `unit`; the way back of `as_unit`."""
    value = orjson.loads(unit)
    return None if value is None else str(value)


def shown(unit: str) -> str:
    """A unit for a person: its text as it is; `null` where the column is empty.

    A text that would show as nothing, or as that `null`, stands in quotes.
    """
    value = orjson.loads(unit)
    return value if isinstance(value, str) and value.strip() and value != "null" else unit
