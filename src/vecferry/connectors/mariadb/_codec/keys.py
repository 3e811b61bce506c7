"""The key that a table is read by: literals, ranges, positions. Pure.

A position is the JSON array of the key columns' values as the server prints them (bytes in hexadecimal). Ranges are
compared and ordered by the columns' own collations, under which a key's values differ: none is skipped, none is twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from vecferry.connectors.mariadb._codec.types import base, is_binary
from vecferry.connectors.mariadb.names import quote, text
from vecferry.errors import ConfigError
from vecferry.model import Position
from vecferry.tables import Column, Table
from vecferry.tables.types import is_int

Values = tuple[str, ...]
_INEXACT = frozenset({"float", "enum", "set", "bit", "json", "time"})


@dataclass(frozen=True, slots=True)
class Key:
    """The columns that a table is read by, in their order."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, table: Table, names: Sequence[str]) -> Key:
        """The key over the columns `names`.

        Raises:
            ConfigError: values of such a type are not compared as they are printed.
        """
        columns = tuple(table.column(name) for name in names)
        for column in columns:
            if base(column.type) in _INEXACT:
                raise ConfigError(
                    f"'{column.name}' of '{table.name}' is a {column.type}, which no table can be read by.",
                    hint="Name other columns that tell its rows apart: key: [column] in the plan.",
                )
        return cls(columns)

    @property
    def selected(self) -> list[str]:
        """The key's columns in a SELECT."""
        return [f"t.{quote(column.name)}" for column in self.columns]

    @property
    def order(self) -> str:
        """ORDER BY …, from the first to the last."""
        return "ORDER BY " + ", ".join(self.selected)

    def values(self, row: Sequence[bytes | None]) -> Values:
        """The values of a row that begins with the key's columns."""
        pairs = zip(self.columns, row, strict=False)
        return tuple((v or b"").hex() if is_binary(c.type) else (v or b"").decode() for c, v in pairs)

    def position(self, row: Sequence[bytes | None]) -> Position:
        """Strictly behind `row`."""
        return Position(dump(self.values(row)))

    def behind(self, values: Values) -> str:
        """The condition of the rows behind `values`. Its first part says to the optimizer where the range begins."""
        pairs = list(zip(self.columns, values, strict=True))
        cases = []
        for place, (column, value) in enumerate(pairs):
            equal = [f"t.{quote(c.name)} = {literal(c, v)}" for c, v in pairs[:place]]
            cases.append(" AND ".join((*equal, f"t.{quote(column.name)} > {literal(column, value)}")))
        if len(cases) == 1:
            return cases[0]
        first = f"t.{quote(pairs[0][0].name)} >= {literal(*pairs[0])}"
        return f"{first} AND ({' OR '.join(f'({case})' for case in cases)})"

    def until(self, values: Values) -> str:
        """The condition of the rows up to `values`, these among them."""
        first = f"t.{quote(self.columns[0].name)} <= {literal(self.columns[0], values[0])}"
        return first if len(values) == 1 else f"{first} AND NOT ({self.behind(values)})"


def literal(column: Column, value: str) -> str:
    """A value of a key, as `Key.values` gave it, as a literal."""
    if is_int(column.type):
        return str(int(value))
    return f"x'{bytes.fromhex(value).hex()}'" if is_binary(column.type) else text(value)


def dump(values: Values) -> str:
    """The text of key values."""
    return orjson.dumps(values).decode()


def load(text_: str) -> Values:
    """The key values that `dump` was given."""
    return tuple(str(value) for value in orjson.loads(text_))
