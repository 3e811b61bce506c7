"""What earlier runs left out of a target on purpose, for a verification or a repair that belongs to no run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from vecferry.engine.job import load_plan
from vecferry.engine.stop import Stop
from vecferry.errors import LedgerError, NotFound, StoreFull
from vecferry.events import Notice, Observer
from vecferry.migration.journal import LOOKED_AT, set_aside
from vecferry.model import CollectionSpec
from vecferry.planning.model import IfExists
from vecferry.protocols import Database, Existing
from vecferry.state.ledger import Ledger
from vecferry.state.model import RunInfo, Step
from vecferry.state.paths import is_url, ledger_location
from vecferry.verification.lookup import AT_ONCE, batches_by_id
from vecferry.verification.run import Pair
from vecferry.verification.tries import Tries


def left_behind(
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
            known = dict(_known(opened, origin, goal, pairs))
    except (LedgerError, StoreFull) as error:
        observer(Notice(level="warning", message=_UNREADABLE.format(error.message)))
        return {}
    found = {}
    for (source, target), aside in known.items():
        tries = Tries(source, stop=stop, deadline_seconds=300.0, observer=observer)
        there = _there(goal, target, list(aside), tries)
        found[source] = {id_: reason for id_, reason in aside.items() if id_ not in there}
    return found


_UNREADABLE = "The ledger cannot be read: {} Records that a run set aside count as missing."


def _known(
    ledger: Ledger, origin: Database, goal: Database, pairs: Sequence[Pair]
) -> Iterator[tuple[Pair, Mapping[str, str]]]:
    runs = list(_between(ledger, origin, goal))
    specs = {spec.qualified_name: spec for spec in goal.collections()} if runs else {}
    specs |= {spec.name: spec for spec in specs.values()}
    for pair in pairs:
        if pair[1] in specs and (aside := _aside(ledger, runs, pair[0], specs[pair[1]])):
            yield pair, aside


def _between(ledger: Ledger, origin: Database, goal: Database) -> Iterator[RunInfo]:
    """The runs from this source into this target, latest first."""
    sides = tuple(f"{one.identity.kind} {one.identity.where}" for one in (origin, goal))
    return (info for info in ledger.history(limit=LOOKED_AT) if (info.source, info.target) == sides)


def _aside(ledger: Ledger, runs: Sequence[RunInfo], source: str, there: CollectionSpec) -> Mapping[str, str]:
    """What the latest run that looked at every record of `source` left out of `there`."""
    for info in runs if there.card is not None else ():
        plans = {c.source: c for c in load_plan(info.plan).collections if c.target.name == there.name}
        if source in plans and _began(info, source):
            aside = set_aside(ledger, info.id).get(source, {})
            if aside or plans[source].if_exists is not IfExists.KEEP:
                return aside
        if there.card is not None and info.id == there.card.run:
            return {}
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
