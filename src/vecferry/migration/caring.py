"""Units on their way: each proven when it is copied, and those that came up meanwhile taken into the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from vecferry.engine.job import job
from vecferry.engine.units import Care, by_unit, planned
from vecferry.migration import journal
from vecferry.migration.settings import Settings
from vecferry.model import Partition
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.protocols import Database
from vecferry.state.run import Run
from vecferry.verification.part import prove
from vecferry.verification.passes import Both


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

    @property
    def care(self) -> Care:
        """What the engine is given."""
        return Care(self._prove, self._grow)

    def _prove(self, collection: str, partitions: Sequence[Partition]) -> int:
        target = self._of(collection).target.qualified_name
        return prove(self.both(), (collection, target), partitions)

    def _grow(self, collection: str) -> list[Partition]:
        with closing(self.origin.source(collection)) as source:
            found = by_unit(list(source.partitions()))
        known = by_unit(self._of(collection).partitions)
        new = [part for unit, parts in found.items() if unit not in known for part in parts]
        if new:
            self._take_up(self._of(collection), new)
        return new

    def _take_up(self, plan: CollectionPlan, new: Sequence[Partition]) -> None:
        records = plan.records + sum(part.estimated_rows or 0 for part in new)
        grown = replace(plan, partitions=(*plan.partitions, *new), records=records)
        self.plan = replace(self.plan, collections=tuple(grown if c is plan else c for c in self.plan.collections))
        self.run.extend(job(self.plan, journal.request(self.settings)))
        self.run.add_units(planned(plan.source, new))

    def _of(self, collection: str) -> CollectionPlan:
        return next(c for c in self.plan.collections if c.source == collection)
