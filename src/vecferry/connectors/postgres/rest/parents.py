"""A parent's columns in each of its children's rows (`vecferry.tables.Join`), looked up page by page.

What a LEFT JOIN does in SQL: a child without a parent keeps its row, with nulls. Keys are compared by their text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vecferry.connectors.postgres.rest import query
from vecferry.connectors.postgres.rest.api import Api
from vecferry.connectors.postgres.rest.wire import Field, typed
from vecferry.errors import CorruptData
from vecferry.tables import Form, Join, Table

Key = tuple[str | None, ...]
_NAMED = 50
"""Keys in one request: its address has to stay short."""
_REMEMBERED = 10_000


class Parents:
    """The parents of one table's rows. Thread-safe: what two threads look up twice is the same."""

    def __init__(self, api: Api, form: Form, tables: Mapping[str, Table]) -> None:
        """Settle what is looked up; `tables` are those that the interface describes, by name."""
        self._lookups = [_Lookup(api, join, tables.get(join.table)) for join in form.joins]

    @property
    def matched(self) -> list[str]:
        """The child's columns that name a parent; a row has their texts under `m` and their place in this list."""
        return [column for lookup in self._lookups for column in lookup.here]

    @property
    def fields(self) -> list[Field]:
        """How the parents' values become fields; a row has them under `j` and their place in this list."""
        return [field for lookup in self._lookups for field in lookup.fields]

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put the parents' values into `rows`."""
        matched = joined = 0
        for lookup in self._lookups:
            keys = [tuple(row[f"m{matched + n}"] for n in range(len(lookup.here))) for row in rows]
            found = lookup.values(keys)
            for row, key in zip(rows, keys, strict=True):
                values = found.get(key, (None,) * len(lookup.fields))
                row |= {f"j{joined + n}": value for n, value in enumerate(values)}
            matched, joined = matched + len(lookup.here), joined + len(lookup.fields)


class _Lookup:
    """The parents that one join means, remembered by their keys."""

    def __init__(self, api: Api, join: Join, table: Table | None) -> None:
        self._api, self._table = api, join.table
        self.here, self._there = list(join.match), list(join.match.values())
        types = {} if table is None else {column.name: column.type for column in table.columns}
        self.fields = [typed(column, types.get(column, "")) for column in join.columns.values()]
        self._known: dict[Key, tuple[Any, ...]] = {}

    def values(self, keys: Sequence[Key]) -> Mapping[Key, tuple[Any, ...]]:
        """By key, the values of the parents that there are."""
        if len(self._known) > _REMEMBERED:
            self._known = {}
        known = self._known
        wanted = sorted({key for key in keys if None not in key} - known.keys())
        for first in range(0, len(wanted), _NAMED):
            known |= self._ask(wanted[first : first + _NAMED])
        return known

    def _ask(self, keys: Sequence[Sequence[str | None]]) -> dict[Key, tuple[Any, ...]]:
        """The parents with these keys."""
        texts = [[text for text in key if text is not None] for key in keys]
        names = [f"k{n}:{query.name(column)}::text" for n, column in enumerate(self._there)]
        names += [f"v{n}:{field.select}" for n, field in enumerate(self.fields)]
        rows = self._api.rows(self._table, {**query.among(self._there, texts), "select": ",".join(names)})
        try:
            found = {tuple(row[f"k{n}"] for n in range(len(self._there))): self._values(row) for row in rows}
        except (KeyError, TypeError) as error:
            raise CorruptData(
                f"The parents in '{self._table}' came without their keys.", hint="Use postgresql:// instead."
            ) from error
        return found

    def _values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[f"v{n}"] for n in range(len(self.fields)))
