"""What earlier runs left out of a target on purpose, for a verification or a repair that belongs to no run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from vecferry.engine.job import load_plan
from vecferry.engine.stop import Stop
from vecferry.errors import LedgerError, NotFound, StoreFull
from vecferry.events import Notice, Observer
from vecferry.migration.journal import LOOKED_AT, set_aside
from vecferry.migration.staying import staying
from vecferry.planning.model import CollectionPlan, IfExists
from vecferry.protocols import Database, Existing
from vecferry.state.ledger import Ledger
from vecferry.state.model import RunInfo, Step
from vecferry.state.paths import is_url, ledger_location
from vecferry.verification.lookup import AT_ONCE, batches_by_id
from vecferry.verification.run import Pair
from vecferry.verification.tries import Tries


def set_aside_before(
    origin: Database, goal: Database, pairs: Sequence[Pair], *, ledger: str | None, observer: Observer, stop: Stop
) -> dict[str, dict[str, str]]:
    """Source collection -> {record id: reason} of what the run that wrote the target left out, and is not there now.

    The run is the one that the target collection's card names, or a later one of the same two stores. A ledger that is
    not there knows of none; one that cannot be read is told of, and does not keep the stores from being compared.

    Raises:
        Interrupted, ConnectorError: the target cannot be asked for these records.
    """
    location = ledger_location(ledger)
    if not is_url(location) and not Path(location).exists():
        return {}
    try:
        with Ledger(location) as opened:
            known = {pair: _aside(opened, _runs_of(opened, origin, goal, pair)) for pair in pairs}
    except (LedgerError, StoreFull) as error:
        observer(Notice(level="warning", message=_UNREADABLE.format(error.message)))
        return {}
    found = {}
    for (source, target), left in known.items():
        tries = Tries(source, stop=stop, deadline_seconds=300.0, observer=observer)
        there = _there(goal, target, list(left), tries) if left else frozenset()
        found[source] = {id_: reason for id_, reason in left.items() if id_ not in there}
    return found


def stays_there(
    origin: Database, goal: Database, pairs: Sequence[Pair], *, ledger: str | None
) -> dict[str, frozenset[str]]:
    """The same as `stayed_before`, for whom no ledger is open; one that is not there, or cannot be read, knows none."""
    location = ledger_location(ledger)
    if not is_url(location) and not Path(location).exists():
        return {}
    with suppress(LedgerError, StoreFull), Ledger(location) as opened:
        return stayed_before(opened, origin, goal, pairs)
    return {}


def stayed_before(opened: Ledger, origin: Database, goal: Database, pairs: Sequence[Pair]) -> dict[str, frozenset[str]]:
    """Source collection -> the units that the last run which moved it in units let stay in the source."""
    found = {pair[0]: _stayed(opened, _runs_of(opened, origin, goal, pair), pair[0]) for pair in pairs}
    return {collection: units for collection, units in found.items() if units}


def _stayed(ledger: Ledger, runs: Iterable[tuple[RunInfo, CollectionPlan]], collection: str) -> frozenset[str]:
    for info, _ in runs:
        units = [unit for unit in ledger.units(info.id) if unit.collection == collection]
        if units:
            return staying(units).get(collection, frozenset())
    return frozenset()


_UNREADABLE = "The ledger cannot be read: {} Records that a run set aside count as missing."


def _runs_of(ledger: Ledger, origin: Database, goal: Database, pair: Pair) -> Iterator[tuple[RunInfo, CollectionPlan]]:
    """The runs that wrote `pair`, latest first, back to the one that the target collection's card names."""
    card = next((s.card for s in goal.collections() if pair[1] in {s.name, s.qualified_name}), None)
    sides = tuple(f"{one.identity.kind} {one.identity.where}" for one in (origin, goal))
    for info in ledger.history(limit=LOOKED_AT) if card is not None else ():
        if (info.source, info.target) != sides:
            continue
        for plan in load_plan(info.plan).collections:
            names = {(plan.source, plan.target.name), (plan.source, plan.target.qualified_name)}
            if pair in names and _began(info, plan.source):
                yield info, plan
        if card is not None and info.id == card.run:
            return


def _aside(ledger: Ledger, runs: Iterable[tuple[RunInfo, CollectionPlan]]) -> Mapping[str, str]:
    """What the latest run that looked at every record left out."""
    for info, plan in runs:
        aside = set_aside(ledger, info.id).get(plan.source, {})
        if aside or plan.if_exists is not IfExists.KEEP:
            return aside
    return {}


def _began(info: RunInfo, source: str) -> bool:
    """Whether a run came so far as to write: one that was refused before left nothing out."""
    return any(state.source == source and state.step.reached(Step.PREPARED) for state in info.collections)


def _there(goal: Database, target: str, ids: Sequence[str], tries: Tries) -> frozenset[str]:
    """Those of `ids` that the target has all the same: they are compared like any other."""
    try:
        opened = goal.source(target)
    except NotFound:
        return frozenset()
    with closing(opened) as source:
        if not isinstance(source, Existing):
            found = batches_by_id(source, ids, tries)
            return frozenset(id_ for batch in found for id_ in batch.column("id").to_pylist())
        parts = (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
        return frozenset().union(*(tries.call("looking", partial(source.existing, part)) for part in parts))
