"""Units that stay in the source: whoever compares both stores reads the source without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from vecferry.limits import Limits
from vecferry.model import Chunk, CollectionSpec, Partition, Position, StoreIdentity
from vecferry.protocols import Database, Fetchable, Sink, Source
from vecferry.state.model import Unit, UnitState
from vecferry.tables.units import rows_by_unit, shown, unit_of

_NAMED = 5
Staying = Mapping[str, frozenset[str]]
"""Source collection -> units of it, as JSON text; collections without any are left out."""


def staying(units: Iterable[Unit]) -> dict[str, frozenset[str]]:
    """Those of `units` that stay."""
    found: dict[str, frozenset[str]] = {}
    for unit in units:
        if unit.state is UnitState.STAYS:
            found[unit.collection] = found.get(unit.collection, frozenset()) | {unit.value}
    return found


def told(units: frozenset[str]) -> str:
    """That these units are not compared, for a person."""
    return f"Not compared: {named(units)} in the source."


def named(units: frozenset[str]) -> str:
    """That these units stay, in words."""
    some = ", ".join(sorted(map(shown, units))[:_NAMED]) + (" …" if len(units) > _NAMED else "")
    return f"1 unit ({some}) stays" if len(units) == 1 else f"{len(units):,} units ({some}) stay"


def without(database: Database, units: Staying) -> Database:
    """`database` as if the records of these units were not there."""
    return Without(database, units) if units else database


class Without:
    """A database whose sources have no partition of some units. It holds nothing of its own."""

    def __init__(self, database: Database, units: Staying) -> None:
        self._database, self._units = database, units

    @property
    def identity(self) -> StoreIdentity:
        return self._database.identity

    @property
    def limits(self) -> Limits:
        return self._database.limits

    def collections(self) -> Iterator[CollectionSpec]:
        for spec in self._database.collections():
            if spec.qualified_name in self._units:
                with closing(self.source(spec.qualified_name)) as source:
                    yield source.describe()
            else:
                yield spec

    def source(self, name: str) -> Source:
        source = self._database.source(name)
        units = self._units.get(name, frozenset())
        if not units:
            return source
        return _Fetching(source, units, source) if isinstance(source, Fetchable) else _Rest(source, units)

    def sink(self, spec: CollectionSpec) -> Sink:
        return self._database.sink(spec)

    def close(self) -> None:
        self._database.close()


class _Rest:
    """One collection without some units."""

    def __init__(self, source: Source, units: frozenset[str]) -> None:
        self._source, self._units = source, units

    def describe(self) -> CollectionSpec:
        """As the source says, with the count of the others."""
        spec = self._source.describe()
        if spec.count is None:
            return spec
        rows = rows_by_unit(self._source.partitions())
        return replace(spec, count=max(0, spec.count - sum(rows.get(unit, 0) for unit in self._units)))

    def partitions(self) -> list[Partition]:
        return [part for part in self._source.partitions() if unit_of(part.id) not in self._units]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        return self._source.read(partition, after=after)

    def close(self) -> None:
        self._source.close()


class _Fetching(_Rest):
    def __init__(self, source: Source, units: frozenset[str], power: Fetchable) -> None:
        super().__init__(source, units)
        self._power = power

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        return self._power.fetch(ids)
