"""Copying a collection unit by unit: each on its own, proven when it is copied; one that fails stops no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vecferry.engine.crew import Crew
from vecferry.errors import Interrupted, LedgerError, UnitsFailed, VecferryError
from vecferry.events import Observer, UnitChanged
from vecferry.model import Partition
from vecferry.state.model import Unit, UnitState
from vecferry.tables.units import shown, unit_of

if TYPE_CHECKING:
    from vecferry.state.run import Run

Prove = Callable[[str, Sequence[Partition]], int]
"""(collection, partitions of a unit) -> records of it that the target holds, once each was compared.

Raises a `VecferryError` where they differ.
"""
Grow = Callable[[str], Sequence[Partition]]
"""Collection -> the partitions of units that came up since; the ledger knows them when it returns."""
Copy = Callable[[Sequence[Partition], Crew], None]
_NAMED = 5


def by_unit(partitions: Sequence[Partition]) -> dict[str, list[Partition]]:
    """Unit -> its partitions, in their order; empty where the collection has no units."""
    found: dict[str, list[Partition]] = {}
    for partition in partitions:
        unit = unit_of(partition.id)
        if unit is not None:
            found.setdefault(unit, []).append(partition)
    return found


def planned(collection: str, partitions: Sequence[Partition]) -> list[Unit]:
    """The units of a collection, before anything is read."""
    return [
        Unit(collection=collection, value=value, total=sum(part.estimated_rows or 0 for part in parts))
        for value, parts in by_unit(partitions).items()
    ]


@dataclass(frozen=True, slots=True)
class Care:
    """What the caller does about units."""

    prove: Prove
    grow: Grow


@dataclass(slots=True)
class Walk:
    """The units of one collection on their way, one after the other, in the order of the plan."""

    collection: str
    run: Run
    crew: Crew
    copy: Copy
    care: Care
    observer: Observer

    def go(self, partitions: Sequence[Partition], units: Mapping[str, Unit]) -> None:
        """Copy and prove every unit that is not completed, and then those that came up meanwhile.

        Raises:
            UnitsFailed: some failed; the others are through.
            Interrupted, LedgerError: nothing more can be done now.
        """
        failed: list[Unit] = []
        todo, known = by_unit(partitions), dict(units)
        while todo:
            for value, parts in todo.items():
                unit = known.get(value, Unit(collection=self.collection, value=value))
                if unit.state not in {UnitState.COMPLETED, UnitState.STAYS}:
                    done = self._one(unit, parts)
                    failed += [done] if done.state is UnitState.FAILED else []
            try:
                todo = by_unit(self.care.grow(self.collection))
            except (Interrupted, LedgerError):
                raise
            except VecferryError:
                if not failed:
                    raise
                break  # the next run of the same command looks again; which units failed is what is to be told
            known = {unit.value: unit for unit in self.run.units() if unit.collection == self.collection}
        if failed:
            raise _refusal(self.collection, failed)

    def _one(self, unit: Unit, parts: Sequence[Partition]) -> Unit:
        started = unit.started or time.time()
        begun = self._told(replace(unit, state=UnitState.IN_PROGRESS, started=started, finished=None, error=""))
        try:
            with self.crew.another() as crew:
                self.copy(parts, crew)
            moved = self.care.prove(self.collection, parts)
        except (Interrupted, LedgerError):
            raise
        except VecferryError as error:
            return self._told(replace(begun, state=UnitState.FAILED, finished=time.time(), error=error.message))
        done = replace(begun, state=UnitState.COMPLETED, finished=time.time(), moved=moved, total=moved)
        return self._told(done)

    def _told(self, unit: Unit) -> Unit:
        self.run.change_unit(unit)
        self.observer(
            UnitChanged(
                collection=unit.collection,
                unit=unit.value,
                state=unit.state.value,
                total=unit.total,
                moved=unit.moved,
                error=unit.error,
            )
        )
        return unit


def _refusal(collection: str, failed: Sequence[Unit]) -> UnitsFailed:
    lines = "".join(f"\n  {shown(unit.value)}: {unit.error}" for unit in failed[:_NAMED])
    more = f"\n  and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    count = "1 unit" if len(failed) == 1 else f"{len(failed):,} units"
    return UnitsFailed(
        f"{count} of '{collection}' failed; all others are moved and proven.{lines}{more}",
        hint="Mend what is said above and run the same command again: it tries these again, and nothing else.",
        units=len(failed),
    )
