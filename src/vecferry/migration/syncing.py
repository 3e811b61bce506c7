"""Synchronising a collection that is there already: its own form is kept, and what differs is counted beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from vecferry.engine.stop import Stop
from vecferry.errors import Conflict, Unsupported
from vecferry.events import Observer, silent
from vecferry.limits import Limits
from vecferry.migration.settings import Settings
from vecferry.model import Card, CollectionSpec, Rejection
from vecferry.planning.edits import settle
from vecferry.planning.flows import transforms_of
from vecferry.planning.model import CollectionPlan, IfExists, Plan, Policy, Profile
from vecferry.planning.options import AUTO
from vecferry.planning.sieve import Sieve
from vecferry.planning.targets import TargetState, joined
from vecferry.protocols import Database, Deletable, require
from vecferry.verification.drift import Drift, drift
from vecferry.verification.model import DATA_LEVELS, VerifyOptions

# --------------------------------------------------------------------------- the form


def adopt(
    plan: Plan,
    states: Sequence[TargetState],
    profiles: Sequence[Profile],
    origin: Database,
    goal: Database,
    settings: Settings,
) -> Plan:
    """`plan` in which what is to be synchronised has the form that it has in the target: layout, id rule, settings.

    A collection that holds nothing there is copied as any other.

    Raises:
        Conflict: a layout was asked for, or transforms, and the collection was written with others.
        Unsupported: several collections go to the one that is to be synchronised.
        IdCollision: two ids would become one under the rule that the collection was written with.
    """
    there = {state.target: state for state in states}
    adopted = tuple(_adopted(c, there[c.target.name], settings, goal.limits) for c in plan.collections)
    shared = Counter(collection.target.name for collection in adopted)
    for collection in adopted:
        if collection.if_exists is IfExists.SYNC and shared[collection.target.name] > 1:
            raise Unsupported(
                f"Several collections go to '{collection.target.name}'; they cannot be synchronised one by one.",
                hint="Write them again: --if-exists append --on-conflict replace.",
            )
    ruled = [_rules(old) != _rules(new) for old, new in zip(plan.collections, adopted, strict=True)]
    plan = replace(plan, collections=adopted)
    return settle(plan, profiles, origin, goal) if any(ruled) else plan


def _adopted(collection: CollectionPlan, state: TargetState, settings: Settings, limits: Limits) -> CollectionPlan:
    if collection.if_exists not in {IfExists.APPEND, IfExists.SYNC}:
        return collection
    if state.found is None or not state.records:
        return replace(collection, if_exists=IfExists.ASK) if collection.if_exists is IfExists.SYNC else collection
    # Called as it calls itself: what it was promised, its card among it, is looked up by that name.
    planned = replace(collection.target, namespace=state.found.namespace)
    collection = replace(collection, target=planned)
    if collection.if_exists is IfExists.APPEND:
        return joined(collection, state.found, limits, layout=settings.plan.layout)
    _same_layout(state.found, settings)
    _same_transforms(state.found, planned)
    if state.found.card is None:
        return joined(collection, state.found, limits, layout=settings.plan.layout)
    target = replace(state.found, name=planned.name, namespace=planned.namespace, count=planned.count)
    return replace(collection, target=target)


def _same_layout(found: CollectionSpec, settings: Settings) -> None:
    asked = settings.plan.layout
    if asked != AUTO and found.card is not None and found.card.layout != asked:
        raise Conflict(
            f"The collection '{found.name}' was written in the layout '{found.card.layout}'; asked for was '{asked}'.",
            hint="Leave --layout out: what is synchronised keeps its layout. Or have it made anew: "
            "--if-exists recreate.",
        )


def _same_transforms(found: CollectionSpec, planned: CollectionSpec) -> None:
    before, now = transforms_of(found), transforms_of(planned)
    if found.card is not None and before != now:
        raise Conflict(
            f"The collection '{found.name}' was written through transforms ({', '.join(before) or 'none'}); asked for "
            f"was {', '.join(now) or 'none'}.",
            hint="Give the same --transform FILE, so that both sides are compared in one form.",
        )


def _rules(collection: CollectionPlan) -> tuple[object, object]:
    """What of a card decides about ids and losses."""
    card = collection.target.card or Card()
    return card.id_rule, card.exact_vectors


# --------------------------------------------------------------------------- what differs


@dataclass(frozen=True, slots=True)
class Measured:
    """A plan of which every collection to be synchronised was compared.

    Attributes:
        plan: those in which nothing is to be written are kept as they are.
        set_aside: source collection -> the records that the plan's policies keep out of the target.
    """

    plan: Plan
    drifts: tuple[Drift, ...] = ()
    set_aside: Mapping[str, tuple[Rejection, ...]] = field(default_factory=dict)


def measure(
    plan: Plan,
    origin: Database,
    goal: Database,
    settings: Settings,
    *,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> Measured:
    """Compare what is to be synchronised. Changes nothing.

    Raises:
        Unsupported: records are to be deleted, and the target cannot delete.
        Interrupted, ConnectorError, DataError: a side cannot be read.
    """
    if not plan.synced:
        return Measured(plan)
    aside = left_out(plan, origin, goal)
    options = replace(
        settings.verify or VerifyOptions(),
        levels=DATA_LEVELS,
        promised={c.target.qualified_name: c.target for c in plan.synced},
        set_aside={source: {one.id: one.reason for one in found} for source, found in aside.items()},
    )
    pairs = [(c.source, c.target.qualified_name) for c in plan.synced]
    found = drift(origin, goal, pairs, options=options, observer=observer, stop=stop)
    by_source = {one.source: one for one in found}
    if settings.delete_extra:
        _refuse_deletion([c for c in plan.synced if by_source[c.source].extra], goal)
    collections = tuple(_settled(c, by_source.get(c.source), settings) for c in plan.collections)
    return Measured(replace(plan, collections=collections), found, aside)


def _settled(collection: CollectionPlan, found: Drift | None, settings: Settings) -> CollectionPlan:
    if found is None or not found.idle(delete=settings.delete_extra):
        return collection
    return replace(collection, if_exists=IfExists.KEEP, target=replace(collection.target, count=found.records))


def _refuse_deletion(collections: Sequence[CollectionPlan], goal: Database) -> None:
    for collection in collections:
        with closing(goal.sink(collection.target)) as sink:
            require(sink, Deletable, operation="remove records", instead="Leave --delete out.")


def left_out(plan: Plan, origin: Database, goal: Database) -> dict[str, tuple[Rejection, ...]]:
    """Source collection -> the records that the plan's policies leave out of what is synchronised."""
    return {c.source: _set_aside(c, origin, goal.limits) for c in plan.synced}


def _set_aside(collection: CollectionPlan, origin: Database, limits: Limits) -> tuple[Rejection, ...]:
    """The records that the policies of the plan leave out: one more pass over the source, where there may be any."""
    if not any(cell.policy is Policy.QUARANTINE for cell in collection.cells):
        return ()
    found: list[Rejection] = []
    with closing(origin.source(collection.source)) as source:
        sieve = Sieve(collection, source.describe(), limits)
        for partition in source.partitions():
            for chunk in source.read(partition):
                found += sieve.apply(chunk.batch)[1]
    return tuple(found)
