"""Records of one collection as canonical batches: what all forms share, and our own form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from vecferry.arrow import build, column
from vecferry.connectors.json._cells import PAST_RANGE, Unfit, cell, cells, unfit_rows
from vecferry.connectors.json._found import Found
from vecferry.errors import DataError, VecferryError
from vecferry.model import CollectionSpec, Rejection
from vecferry.tags import canonical

_SIMPLE = ("id", "id_kind", "seq", "document", "uri")
_COLUMNS = (*_SIMPLE, "metadata", "tags")
Cells = dict[str, Any]
"""One record: column of the canonical batch -> its cell."""


@dataclass(frozen=True, slots=True)
class Reader(ABC):
    """Turns rows of one collection, as its form holds them, into batches."""

    found: Found
    spec: CollectionSpec

    @abstractmethod
    def rows(self, block: int) -> list[Any]:
        """The rows of a block of 64."""

    @abstractmethod
    def id(self, row: Any) -> str | None:
        """The id of a row in its canonical text; None where it has none that can be."""

    @abstractmethod
    def record(self, row: Any, number: int) -> Cells:
        """One row as a record; `number` counts from 0.

        Raises:
            Unfit, DataError, ValueError, KeyError: it cannot be one.
        """

    def name(self, row: Any, number: int) -> str:
        """A row as a rejection calls it."""
        return self.id(row) or f"record {number + 1}"

    def batch(self, rows: Sequence[Any], first: int) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        """A canonical batch, and the records that cannot be part of it. `first` is the number of the first row."""
        kept: list[Cells] = []
        names: list[int] = []
        rejected: list[Rejection] = []
        for number, row in enumerate(rows, first):
            try:
                kept.append(self.record(row, number))
                names.append(number)
            except (Unfit, DataError, ValueError, KeyError) as error:
                reason = error.message if isinstance(error, VecferryError) else str(error)
                rejected.append(Rejection(self.name(row, number), reason))
        for place in sorted(self._unfit(kept), reverse=True):
            number = names[place]
            rejected.append(Rejection(self.name(rows[number - first], number), PAST_RANGE))
            del kept[place]
        return self._built(kept), tuple(rejected)

    def vectors(self, named: Mapping[str, Any]) -> Cells:
        """The vectors of one record, by column, from their parsed JSON by name."""
        unknown = named.keys() - {vector.name for vector in self.spec.vectors}
        if unknown:
            raise Unfit(f"it has a vector '{min(unknown)}', which the collection has not")
        return {column(vector): cell(named.get(vector.name), vector) for vector in self.spec.vectors}

    def _unfit(self, kept: Sequence[Cells]) -> set[int]:
        """Places of records whose vectors hold what no vector may."""
        return {row for one in self.spec.vectors for row in unfit_rows([cells[column(one)] for cells in kept], one)}

    def _built(self, kept: Sequence[Cells]) -> pa.RecordBatch:
        columns: dict[str, Any] = {name: [row.get(name) for row in kept] for name in _COLUMNS}
        vectors = {column(one): cells([row[column(one)] for row in kept], one) for one in self.spec.vectors}
        return build(self.spec, {**columns, **vectors})


class OwnReader(Reader):
    """Our own form: its digest proved it, so its parser may be the fastest one. A row is a line."""

    __slots__ = ()

    def rows(self, block: int) -> list[bytes]:
        return self.found.lines(block)

    def id(self, row: bytes) -> str | None:
        return str(orjson.loads(row)["id"])

    def record(self, row: bytes, number: int) -> Cells:  # noqa: ARG002 (`seq` is what was written)
        # One line at a time: its numbers, as Python floats, stay in the CPU's cache until they are packed.
        line = orjson.loads(row)
        found: Cells = {name: line.get(name) for name in _SIMPLE}
        for name in ("metadata", "tags"):
            if name in line:
                found[name] = canonical(line[name]).decode()
        named = line["vectors"] if "vectors" in line else {"": line["vector"]} if "vector" in line else {}
        return found | self.vectors(named)
