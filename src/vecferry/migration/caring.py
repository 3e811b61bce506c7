"""Units on their way: each proven when it is copied, and those that came up meanwhile taken into the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

from vecferry.engine.job import job
from vecferry.engine.units import Came, Care
from vecferry.migration import journal
from vecferry.migration.settings import Settings
from vecferry.model import Partition
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.planning.priority import rank
from vecferry.protocols import Database
from vecferry.state.run import Run
from vecferry.tables.units import rows_by_unit, unit_of
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
    _larger: dict[str, set[str]] = field(default_factory=dict)

    @property
    def care(self) -> Care:
        """What the engine is given."""
        return Care(self._prove, self._grow, rank(self.settings.plan))

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
        found = tries.call("looking for new units", partial(self._partitions, collection))
        plan = self._of(collection)
        known = rows_by_unit(plan.partitions)
        if new := [part for part in found if (unit := unit_of(part.id)) is not None and unit not in known]:
            self._take_up(plan, new)
        larger = {unit for unit, rows in rows_by_unit(found).items() if rows > known.get(unit, rows)}
        fresh = larger - self._larger.get(collection, set())  # once: a product writes on, and this shall end
        self._larger.setdefault(collection, set()).update(larger)
        return Came(new, sorted(fresh))

    def _partitions(self, collection: str) -> list[Partition]:
        with closing(self.origin.source(collection)) as source:
            return list(source.partitions())

    def _take_up(self, plan: CollectionPlan, new: Sequence[Partition]) -> None:
        records = plan.records + sum(part.estimated_rows or 0 for part in new)
        grown = replace(plan, partitions=(*plan.partitions, *new), records=records)
        self.plan = replace(self.plan, collections=tuple(grown if c is plan else c for c in self.plan.collections))
        self.run.extend(job(self.plan, journal.request(self.settings)))

    def _of(self, collection: str) -> CollectionPlan:
        return next(c for c in self.plan.collections if c.source == collection)
