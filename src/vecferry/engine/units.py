"""Copying a collection unit by unit: each on its own, proven when it is copied; one that fails stops no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vecferry.engine.crew import Crew
from vecferry.engine.pausing import Pause
from vecferry.errors import Interrupted, LedgerError, UnitsFailed, UnitsPaused, VecferryError
from vecferry.events import UnitChanged
from vecferry.model import Partition
from vecferry.planning.model import CollectionPlan
from vecferry.planning.priority import Rank
from vecferry.state.model import Unit, UnitState
from vecferry.tables.units import rows_by_unit, shown, unit_of

if TYPE_CHECKING:
    from vecferry.state.run import Run

Prove = Callable[[str, Sequence[Partition]], int]
"""(collection, partitions of a unit) -> records of it that the target holds, once each was compared.

Raises a `VecferryError` where they differ.
"""


@dataclass(frozen=True, slots=True)
class Came:
    """What came up in the source while units were moved.

    Attributes:
        new: partitions of units that nobody knew; the ledger knows them by now.
        larger: units that hold more rows than when they were counted last.
    """

    new: Sequence[Partition] = ()
    larger: Sequence[str] = ()


Grow = Callable[[str], Came]
"""Collection -> what came up in it since it was asked last; each unit is `larger` once at most."""
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


def planned(plan: CollectionPlan) -> list[Unit]:
    """The units of a collection as its plan has them, before anything is read; none where it has none."""
    return [
        Unit(
            collection=plan.source,
            value=value,
            total=rows,
            state=UnitState.STAYS if value in plan.stays else UnitState.PENDING,
        )
        for value, rows in rows_by_unit(plan.partitions).items()
    ]


def copied(crew: Crew, pause: Pause, copy: Callable[[Crew], None]) -> bool:
    """Copy with a crew of its own; False where it broke off for a pause. What landed is behind the checkpoints."""
    with crew.another(pause) as one:
        try:
            copy(one)
        except Interrupted:
            if not one.paused or crew.stop.requested:
                raise
            return False
    return True


@dataclass(frozen=True, slots=True)
class Care:
    """What the caller does about units."""

    prove: Prove
    grow: Grow
    rank: Rank | None = None
    """the order of units, where it is not that of the plan"""


@dataclass(slots=True)
class Walk:
    """The units of one collection on their way, one after the other, in the order of the plan."""

    collection: str
    run: Run
    crew: Crew
    copy: Copy
    care: Care
    wait: Callable[[], None]
    """returns once the run is not paused"""
    failed: list[Unit] = field(default_factory=list)

    def go(self, partitions: Sequence[Partition]) -> None:
        """Copy and prove every unit that is not completed, and then those that came up meanwhile.

        A unit that is paused is left alone, and looked at again behind the others. Returns when the ledger has noted
        that the collection is copied.

        Raises:
            UnitsFailed: some failed; the others are through, but for those that are paused.
            UnitsPaused: some are paused; the others are through.
            Interrupted, LedgerError: nothing more can be done now.
        """
        parts = by_unit(partitions)
        while True:
            while todo := self._todo():
                self._each(todo, parts)
            came = self._came()
            if came.new or came.larger:
                parts |= by_unit(came.new)
                self._compare_again(came.larger, parts)
            elif self._through():
                return

    def _through(self) -> bool:
        """Whether all units are; False where one that was to stay was resumed since they were listed.

        Raises:
            UnitsFailed, UnitsPaused: all but some.
        """
        if self.failed:
            raise _refusal(self.collection, self.failed)
        if paused := [unit for unit in self._units() if unit.paused and not unit.settled]:
            raise _paused(self.collection, paused)
        return self.run.copied(self.collection)

    def _units(self) -> list[Unit]:
        return [unit for unit in self.run.units() if unit.collection == self.collection]

    def _todo(self) -> list[Unit]:
        left_alone = {unit.value for unit in self.failed}
        todo = [unit for unit in self._units() if not (unit.settled or unit.paused or unit.value in left_alone)]
        rank = self.care.rank
        return sorted(todo, key=lambda unit: rank(unit.value, unit.total)) if rank is not None else todo

    def _each(self, todo: Sequence[Unit], parts: Mapping[str, Sequence[Partition]]) -> None:
        """Each of `todo`, up to one that a pause broke off: whether that one comes next again is looked up then."""
        for unit in todo:
            done = self._one(unit, parts[unit.value])
            self.failed += [done] if done.state is UnitState.FAILED else []
            if done.state is UnitState.PENDING:
                return

    def _came(self) -> Came:
        """What came up meanwhile.

        Nothing where the source breaks off behind units that failed: which these are is what is to be told, and the
        next run of the same command looks again.
        """
        try:
            return self.care.grow(self.collection)
        except VecferryError as error:
            if not self.failed or self.crew.stop.requested or isinstance(error, LedgerError):
                raise
            return Came()

    # ----------------------------------------------------------------------- one unit

    def _one(self, unit: Unit, parts: Sequence[Partition]) -> Unit:
        self.wait()
        started = unit.started or time.time()
        begun = replace(unit, state=UnitState.IN_PROGRESS, started=started, finished=None, error="")
        if not self.run.begin_unit(begun):  # paused since it was listed, or told to stay
            return self._tell(next(one for one in self._units() if one.value == unit.value))
        self._tell(begun)
        try:
            if not copied(self.crew, Pause(lambda: self.run.paused(unit)), lambda crew: self.copy(parts, crew)):
                return self._told(replace(begun, state=UnitState.PENDING))
        except VecferryError as error:
            return self._told(_failed(begun, error))
        return self._proven(begun, parts)

    def _proven(self, unit: Unit, parts: Sequence[Partition]) -> Unit:
        """A unit that was copied, or was completed before, compared record by record."""
        try:
            moved = self.care.prove(self.collection, parts)
        except VecferryError as error:
            return self._told(_failed(unit, error))
        done = replace(unit, state=UnitState.COMPLETED, finished=time.time(), moved=moved, total=moved)
        return self._told(done)

    def _compare_again(self, larger: Iterable[str], parts: Mapping[str, Sequence[Partition]]) -> None:
        """Completed units that got rows since: what is missing of them is written, as whenever a unit is compared."""
        completed = {unit.value: unit for unit in self._units() if unit.state is UnitState.COMPLETED}
        for unit in [completed[value] for value in larger if value in completed]:
            done = self._proven(unit, parts[unit.value])
            self.failed += [done] if done.state is UnitState.FAILED else []

    def _told(self, unit: Unit) -> Unit:
        self.run.change_unit(unit)
        return self._tell(unit)

    def _tell(self, unit: Unit) -> Unit:
        self.crew.observer(
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


def _failed(unit: Unit, error: VecferryError) -> Unit:
    """The unit with its error, unless that is the run's own end."""
    if isinstance(error, Interrupted | LedgerError):
        raise error
    return replace(unit, state=UnitState.FAILED, finished=time.time(), error=error.message)


def _paused(collection: str, paused: Sequence[Unit]) -> UnitsPaused:
    named = ", ".join(shown(unit.value) for unit in paused[:_NAMED]) + (" …" if len(paused) > _NAMED else "")
    return UnitsPaused(
        f"{_count(paused)} of '{collection}' paused: {named}. All others are moved and proven.",
        hint="`vecferry resume --unit VALUE`, then run the same command again. What is never to be moved: "
        "`vecferry stay --unit VALUE`.",
        units=len(paused),
    )


def _count(units: Sequence[Unit]) -> str:
    return "1 unit" if len(units) == 1 else f"{len(units):,} units"


def _refusal(collection: str, failed: Sequence[Unit]) -> UnitsFailed:
    lines = "".join(f"\n  {shown(unit.value)}: {unit.error}" for unit in failed[:_NAMED])
    more = f"\n  and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return UnitsFailed(
        f"{_count(failed)} of '{collection}' failed; all others are moved and proven.{lines}{more}",
        hint="Mend what is said above and run the same command again: it tries these again, and nothing else.",
        units=len(failed),
    )
