"""What already stands where the plan wants to write, and whether that may be: asked before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from vecferry.catalog import fit
from vecferry.errors import AlreadyExists
from vecferry.model import CollectionSpec
from vecferry.planning.collisions import batches
from vecferry.planning.model import CollectionPlan, IfExists, Plan
from vecferry.protocols import Countable, Database, Droppable, require


class Standing(StrEnum):
    """What stands under a target's name."""

    ABSENT = "absent"
    EMPTY = "empty"
    OURS = "ours"
    """written by an unfinished run that will be resumed"""
    OCCUPIED = "occupied"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """One target collection as it stands now. `found` is its spec there, None where it is absent."""

    target: str
    standing: Standing
    records: int = 0
    found: CollectionSpec | None = None


def look_at_targets(plan: Plan, database: Database, *, unfinished: Collection[str] = ()) -> tuple[TargetState, ...]:
    """What stands under each target name of the plan, each name once.

    Args:
        unfinished: ids of runs that may be resumed; a collection whose card names one is ours.
    """
    there = {spec.name: spec for spec in database.collections()}
    names = dict.fromkeys(collection.target.name for collection in plan.collections)
    return tuple(_look(name, there.get(name), database, unfinished) for name in names)


def _look(name: str, found: CollectionSpec | None, database: Database, unfinished: Collection[str]) -> TargetState:
    if found is None:
        return TargetState(target=name, standing=Standing.ABSENT)
    records = _count(found, database)
    if found.card is not None and found.card.run in unfinished:
        return TargetState(target=name, standing=Standing.OURS, records=records, found=found)
    standing = Standing.OCCUPIED if records else Standing.EMPTY
    return TargetState(target=name, standing=standing, records=records, found=found)


def _count(spec: CollectionSpec, database: Database) -> int:
    source = database.source(spec.qualified_name)
    try:
        if isinstance(source, Countable):
            return source.count()
        return spec.count if spec.count is not None else sum(batch.num_rows for batch, _ in batches(source))
    finally:
        source.close()


def check_targets(plan: Plan, states: Iterable[TargetState], database: Database) -> tuple[TargetState, ...]:
    """Refuse what may not be written to; returns the occupied targets about which a person must be asked.

    Raises:
        AlreadyExists: a collection that is not ours holds records, and the plan says `refuse`.
        Conflict: the collection there has another dimension, metric or vector name, and is not to be recreated.
        Unsupported: it is to be recreated, and the store cannot drop.
    """
    by_name = {collection.target.name: collection for collection in plan.collections}
    return tuple(state for state in states if _must_ask(by_name[state.target], state, database))


def _must_ask(plan: CollectionPlan, state: TargetState, database: Database) -> bool:
    if state.found is None:
        return False
    if plan.if_exists is IfExists.RECREATE:
        require(database, Droppable, operation="drop a collection", instead="Choose another target name.")
        return False
    fit(state.found, plan.target, store=database.identity.kind)
    if state.standing is Standing.OCCUPIED and plan.if_exists is IfExists.REFUSE:
        raise AlreadyExists(
            f"The target collection '{state.target}' exists and holds {state.records:,} records of somebody else.",
            hint="Choose --if-exists append or recreate, or another name: --collection OLD=NEW.",
        )
    return state.standing is Standing.OCCUPIED and plan.if_exists is IfExists.ASK
