"""What already stands where the plan wants to write, and whether that may be: asked before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from vecferry.catalog import fit
from vecferry.errors import AlreadyExists, Conflict
from vecferry.ids import common_kind
from vecferry.layouts import id_rule
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, IdKind
from vecferry.planning.collisions import batches
from vecferry.planning.made import refuse_shared
from vecferry.planning.model import CollectionPlan, IfExists, Plan
from vecferry.planning.options import AUTO
from vecferry.protocols import Countable, Database, Droppable, Homed, Source, require


class Standing(StrEnum):
    """What stands under a target's name."""

    ABSENT = "absent"
    EMPTY = "empty"
    OURS = "ours"
    """written by an unfinished run that will be resumed"""
    MOVED = "moved already"
    """written by a finished run of the same job"""
    OCCUPIED = "occupied"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """One target collection as it stands now.

    Attributes:
        found: its spec there, None where it is absent.
        written: when it was written last, as far as anybody can say.
        ours: does the ledger know the run that its card names? None where no ledger was asked, as in a dry run.
        conflict: why no record of the source fits into it, where that is so.
        note: what else a person should know who decides about it, as a sentence.
    """

    target: str
    standing: Standing
    records: int = 0
    found: CollectionSpec | None = None
    written: datetime | None = None
    ours: bool | None = None
    conflict: Conflict | None = None
    note: str = ""

    @property
    def writer(self) -> str:
        """The run of vecferry that wrote it, as its card says; empty where somebody else did."""
        return self.found.card.run if self.found is not None and self.found.card is not None else ""

    @property
    def whose(self) -> str:
        """Who wrote it, in words."""
        if not self.writer:
            return "somebody else"
        return f"run {self.writer} of vecferry" + (", which this ledger does not know" if self.ours is False else "")


def look_at_targets(
    plan: Plan,
    database: Database,
    *,
    unfinished: Collection[str] = (),
    finished: Mapping[str, str] | None = None,
) -> tuple[TargetState, ...]:
    """What stands under each target name of the plan, each name once.

    Args:
        unfinished: ids of runs that may be resumed; a collection whose card names one is ours.
        finished: target name -> id of the finished run that wrote it for the same job.
    """
    there = {(spec.namespace, spec.name): spec for spec in database.collections()}
    places = {c.target.name: place(c.target, database) for c in plan.collections}
    wanted: Counter[str] = Counter()
    for collection in plan.collections:
        wanted[collection.target.name] += collection.records
    states = (_look(name, there.get(places[name]), database) for name in wanted)
    return tuple(
        _judged(state, unfinished, (finished or {}).get(state.target), wanted[state.target]) for state in states
    )


def place(target: CollectionSpec, database: Database) -> tuple[tuple[str, ...], str]:
    """(namespace, name) where a sink writes `target`; one of its name in another namespace is somebody else's."""
    home = database.home if isinstance(database, Homed) else ()
    return target.namespace or home, target.name


def _look(name: str, found: CollectionSpec | None, database: Database) -> TargetState:
    if found is None:
        return TargetState(target=name, standing=Standing.ABSENT)
    with closing(database.source(found.qualified_name)) as source:
        records = _count(found, source)
    standing = Standing.OCCUPIED if records else Standing.EMPTY
    return TargetState(target=name, standing=standing, records=records, found=found)


def _judged(state: TargetState, unfinished: Collection[str], finished: str | None, wanted: int) -> TargetState:
    """`state`, where it is the work of a run that we know. What was emptied since is filled anew."""
    if state.writer and state.writer in unfinished:
        return replace(state, standing=Standing.OURS)
    if state.writer and state.writer == finished and (state.records or not wanted):
        return replace(state, standing=Standing.MOVED)
    return state


def _count(spec: CollectionSpec, source: Source) -> int:
    if isinstance(source, Countable):
        return source.count()
    return spec.count if spec.count is not None else sum(batch.num_rows for batch, _ in batches(source))


def check_targets(plan: Plan, states: Iterable[TargetState], database: Database) -> tuple[TargetState, ...]:
    """Refuse what may not be written to; returns the occupied targets about which a person must be asked.

    Raises:
        AlreadyExists: a collection that is not ours holds records, and the plan says `refuse`.
        Conflict: the collection there has another dimension, metric or vector name, and is not to be recreated. Where
            a person is asked, the state says so instead. Or it is to be recreated, and holds others beside it.
        Unsupported: it is to be recreated, and the store cannot drop.
    """
    by_name = {collection.target.name: collection for collection in plan.collections}
    questions = (_question(by_name[state.target], state, database) for state in states)
    return tuple(state for state in questions if state is not None)


def _question(plan: CollectionPlan, state: TargetState, database: Database) -> TargetState | None:
    """`state`, where a person must be asked about it."""
    if state.found is None:
        return None
    if plan.if_exists is IfExists.RECREATE:
        require(database, Droppable, operation="drop a collection", instead="Choose another target name.")
        if state.records:
            refuse_shared(plan.target, state.found)
        return None
    ask = state.standing is Standing.OCCUPIED and plan.if_exists is IfExists.ASK
    try:
        fit(_joinable(state.found, plan.target, database.limits), plan.target, store=database.identity.kind)
    except Conflict as conflict:
        if not ask:
            raise
        return replace(state, conflict=conflict)
    if state.standing is Standing.OCCUPIED and plan.if_exists is IfExists.REFUSE:
        raise occupied(state)
    return state if ask else None


def _joinable(found: CollectionSpec, wanted: CollectionSpec, limits: Limits) -> CollectionSpec:
    """`found`; its kind of ids does not matter where it is somebody else's and the store takes ids by a rule."""
    kind = common_kind(found.id_kind, wanted.id_kind)
    takes_any = IdKind.TEXT not in limits.id_kinds and (found.card is None or kind is found.id_kind)
    return replace(found, id_kind=wanted.id_kind) if takes_any else found


def joined(collection: CollectionPlan, found: CollectionSpec, limits: Limits, *, layout: str) -> CollectionPlan:
    """`collection` as it is appended to `found`: by the kind of ids of both, in the layout of its owner.

    Args:
        layout: the one that was asked for, or `auto`.
    """
    target, card = collection.target, collection.target.card
    if card is None or IdKind.TEXT in limits.id_kinds:
        return collection
    kind = common_kind(found.id_kind, target.id_kind)
    card = replace(card, id_kind=kind)
    if found.card is None and found.layout and layout == AUTO:
        card = replace(card, layout=found.layout, id_rule=id_rule(found.layout, card.id_rule))
    return replace(collection, target=replace(target, id_kind=kind, card=card))


def occupied(state: TargetState) -> AlreadyExists:
    """That a target holds records which this run did not write, and what can be done."""
    whose = f"run {state.writer} of vecferry wrote" if state.writer else "this run did not write"
    hint = "Say what to do: --if-exists append, recreate or sync, or another name: --collection OLD=NEW."
    if state.writer:
        hint += " Where they came from this source, --if-exists sync writes only what differs."
    told = f"The target collection '{state.target}' holds {state.records:,} records that {whose}. {state.note}"
    return AlreadyExists(told.rstrip(), hint=hint)


def unsaved(doomed: Sequence[TargetState]) -> AlreadyExists:
    """That somebody else's records would be removed, and nobody said what becomes of them."""
    what = "; ".join(f"'{state.target}' holds {state.records:,} records of {state.whose}" for state in doomed)
    return AlreadyExists(
        f"Nothing was written: what would be deleted and made anew is not ours. {what}.",
        hint="Add --backup DIR for a verified archive of it first, or --no-backup where it may be lost.",
    )
