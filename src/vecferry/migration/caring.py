"""Units on their way: each proven when it is copied, and those that came up meanwhile taken into the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

from vecferry.engine.job import job
from vecferry.engine.units import Came, Care, by_unit, rows
from vecferry.migration import journal
from vecferry.migration.settings import Settings
from vecferry.model import Partition
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.protocols import Database
from vecferry.state.run import Run
from vecferry.verification.part import prove
from vecferry.verification.passes import Both
from vecferry.verification.tries import Tries


@dataclass(slots=True)
class Units:
    """The units of a run. `plan` grows with those that come up.

    Attributes:
        both: the two stores as they are to be compared now; what was set aside may have grown since.
    """

    plan: Plan
    run: Run
    origin: Database
    settings: Settings
    both: Callable[[], Both]
    _larger: set[tuple[str, str]] = field(default_factory=set)

    @property
    def care(self) -> Care:
        """What the engine is given."""
        return Care(self._prove, self._grow)

    def _prove(self, collection: str, partitions: Sequence[Partition]) -> int:
        target = self._of(collection).target.qualified_name
        return prove(self.both(), (collection, target), partitions)

    def _grow(self, collection: str) -> Came:
        both = self.both()
        tries = Tries(
            collection,
            stop=both.stop,
            deadline_seconds=self.settings.engine.deadline_seconds,
            observer=both.observer,
            work="The migration",
        )
        found = by_unit(tries.call("looking for new units", partial(self._partitions, collection)))
        plan = self._of(collection)
        known = by_unit(plan.partitions)
        if new := [part for unit, parts in found.items() if unit not in known for part in parts]:
            self._take_up(plan, new)
        larger = [unit for unit, parts in found.items() if unit in known and self._is_larger(collection, unit, parts)]
        self._larger |= {(collection, unit) for unit in larger}
        return Came(new, larger)

    def _partitions(self, collection: str) -> list[Partition]:
        with closing(self.origin.source(collection)) as source:
            return list(source.partitions())

    def _is_larger(self, collection: str, unit: str, now: Sequence[Partition]) -> bool:
        """Whether it holds more rows than were planned; said once, since a product writes on and this shall end."""
        before = rows(by_unit(self._of(collection).partitions)[unit])
        return rows(now) > before and (collection, unit) not in self._larger

    def _take_up(self, plan: CollectionPlan, new: Sequence[Partition]) -> None:
        records = plan.records + sum(part.estimated_rows or 0 for part in new)
        grown = replace(plan, partitions=(*plan.partitions, *new), records=records)
        self.plan = replace(self.plan, collections=tuple(grown if c is plan else c for c in self.plan.collections))
        self.run.extend(job(self.plan, journal.request(self.settings)))

    def _of(self, collection: str) -> CollectionPlan:
        return next(c for c in self.plan.collections if c.source == collection)
