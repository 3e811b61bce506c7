"""What already stands where the plan wants to write, and whether that may be: asked before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from vecferry.errors import AlreadyExists, Conflict
from vecferry.model import CollectionSpec, VectorSpec
from vecferry.plan.collisions import batches
from vecferry.plan.model import CollectionPlan, IfExists, OnConflict, Plan
from vecferry.protocols import Countable, Database, Droppable, Existing, require


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
    if plan.if_exists is IfExists.RECREATE and state.standing is not Standing.OURS:
        require(database, Droppable, operation="drop a collection", instead="Choose another target name.")
        return False
    _check_form(plan.target, state.found)
    if state.standing is Standing.OCCUPIED and plan.if_exists is IfExists.REFUSE:
        raise AlreadyExists(
            f"The target collection '{state.target}' exists and holds {state.records:,} records of somebody else.",
            hint="Choose --if-exists append or recreate, or another name: --collection OLD=NEW.",
        )
    return state.standing is Standing.OCCUPIED and plan.if_exists is IfExists.ASK


def _check_form(wanted: CollectionSpec, found: CollectionSpec) -> None:
    """Whether records of `wanted` fit into `found`.

    Raises:
        Conflict: they do not; says what is there and what is wanted.
    """
    there = {vector.name: vector for vector in found.vectors}
    for vector in wanted.vectors:
        other = there.get(vector.name)
        if other is None or _form(other, vector) != _form(vector, vector):
            has = ", ".join(_said(v) for v in found.vectors) or "no vector"
            raise Conflict(
                f"The target collection '{found.name}' exists with {has}; the plan needs {_said(vector)}.",
                hint="Give the copy another name (--collection OLD=NEW), or replace it (--if-exists recreate).",
            )


def _form(vector: VectorSpec, wanted: VectorSpec) -> tuple[object, ...]:
    """What must agree; a dimension that one side does not know yet agrees with any."""
    dim = wanted.dim if vector.dim is None or wanted.dim is None else vector.dim
    return vector.kind, dim, vector.metric, vector.element


def _said(vector: VectorSpec) -> str:
    name = f"'{vector.name}' of " if vector.name else ""
    return f"{name}{vector.dim or 'unknown'} dimensions, {vector.metric}, {vector.element}"


def check_append(plan: CollectionPlan, source: Database, target: Database) -> None:
    """That no id of the source is in the target yet, where `append` is to refuse such.

    Reads the ids of the source once and asks the target for each batch of them.

    Raises:
        AlreadyExists: some are; names the first of them.
        Unsupported: the target cannot say which ids it has.
    """
    if plan.on_conflict is not OnConflict.REFUSE:
        return
    opened, there = source.source(plan.source), target.source(plan.target.name)
    try:
        asked = require(there, Existing, operation="say which ids it has", instead="Choose --on-conflict replace.")
        for batch, _ in batches(opened):
            if found := sorted(asked.existing(batch.column("id").to_pylist())):
                raise _taken(plan, found)
    finally:
        opened.close()
        there.close()


def _taken(plan: CollectionPlan, ids: list[str]) -> AlreadyExists:
    shown = ", ".join(repr(text) for text in ids[:5])
    return AlreadyExists(
        f"'{plan.target.name}' already holds ids that '{plan.source}' brings: {shown}{' …' if len(ids) > 5 else ''}",
        hint="Choose --on-conflict replace or skip.",
    )
