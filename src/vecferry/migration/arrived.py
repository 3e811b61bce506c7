"""Does the target of a verified run still hold what the source holds now? Counts alone do not tell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from vecferry.engine.job import load_plan
from vecferry.engine.stop import Stop
from vecferry.errors import Conflict, DataError, VecferryError
from vecferry.events import Observer
from vecferry.migration.journal import left_out_of
from vecferry.migration.staying import Staying, named, staying
from vecferry.migration.stores import opened
from vecferry.migration.views import of_plan
from vecferry.planning.flows import flows_of
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.protocols import Database
from vecferry.state.ledger import Ledger
from vecferry.state.model import RunInfo
from vecferry.verification.model import DATA_LEVELS, VerifyOptions
from vecferry.verification.run import verify


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one verified run moved of the collections that are asked about, and what it left out on purpose.

    Units that stay (`stays`) are in the source alone.
    """

    plan: Plan
    set_aside: Mapping[str, Mapping[str, str]]
    stays: Staying = field(default_factory=dict)


def arrivals(moved: Mapping[str, RunInfo], ledger: str | None) -> list[Arrival]:
    """The runs of `moved` (source collection -> the run that moved it), each once."""
    runs = {info.id: info for info in moved.values()}
    found = []
    with Ledger(ledger) as opened_ledger:
        for run, info in runs.items():
            plan = load_plan(info.plan)
            names = {name for name, mover in moved.items() if mover.id == run}
            stays = staying(opened_ledger.units(run))
            found.append(Arrival(_narrowed(plan, names), left_out_of(opened_ledger, plan, run), stays))
    return found


def _narrowed(plan: Plan, names: set[str]) -> Plan:
    """`plan` without what is not made of `names`; of a merge, their share: the others may be gone from the source."""
    return replace(plan, collections=tuple(_shares(plan, names)))


def _shares(plan: Plan, names: set[str]) -> Iterator[CollectionPlan]:
    for collection, flow in zip(plan.collections, flows_of(plan.collections), strict=True):
        reads = tuple(read for read in flow.reads if read.collection in names)
        if reads:
            yield replace(collection, reads=reads) if collection.reads else collection


def check_arrived(arrival: Arrival, origin: Database, source: str, *, observer: Observer, stop: Stop | None) -> None:
    """Compare every record of the source with the target. What only the target has may be there.

    Raises:
        Conflict: the target cannot be opened, or it is another store by now.
        DataError: a record is missing in the target, or changed; or users stay in the source.
    """
    plan = arrival.plan
    for name, units in arrival.stays.items():
        if name in {collection.source for collection in plan.collections}:
            raise _served_here(name, units)
    with _target(plan) as goal:
        options = VerifyOptions(
            levels=DATA_LEVELS,
            promised={c.target.qualified_name: c.target for c in plan.collections},
            set_aside=arrival.set_aside,
            shared=frozenset(spec.qualified_name for spec in goal.collections()),
        )
        pairs = [(c.source, c.target.qualified_name) for c in plan.collections]
        proof = verify(of_plan(origin, plan), goal, pairs, options=options, observer=observer, stop=stop)
    if not proof.identical:
        raise _behind(plan, source, proof.differences)


@contextmanager
def _target(plan: Plan) -> Iterator[Database]:
    """The target of `plan`, where it can be reached and is the very store that was written to."""
    with ExitStack() as stack:
        try:
            goal = stack.enter_context(opened(plan.target_url))
            next(iter(goal.collections()), None)
        except VecferryError as error:
            raise _out_of_reach(plan, error.message) from error
        found, known = goal.identity, plan.target
        if (found.kind, found.where) != (known.kind, known.where):
            raise _out_of_reach(plan, f"It is {found.kind} {found.where} by now, and was {known.kind} {known.where}.")
        yield goal


def _out_of_reach(plan: Plan, why: str) -> Conflict:
    return Conflict(
        f"The target {plan.target_url} cannot be compared with what the source holds now: {why} Nothing was removed.",
        hint="Run it again where the target can be reached, from the directory where it was migrated. If the target is "
        "not needed: --unverified.",
    )


def _served_here(name: str, units: frozenset[str]) -> DataError:
    return DataError(
        f"{named(units)} in '{name}' alone. Nothing was removed.",
        hint="Have them moved: `vecferry resume --unit VALUE`, then the command that moved the others. If nobody needs "
        "them: --unverified.",
    )


def _behind(plan: Plan, source: str, differences: int) -> DataError:
    what = f"differs in {differences:,} places" if differences else "could not be compared to the end"
    return DataError(
        f"The target {plan.target_url} {what} from what {source} holds now. Nothing was removed.",
        hint=f"Bring it up to date: {_sync(plan, source)}. If it need not be: --unverified.",
    )


def _sync(plan: Plan, source: str) -> str:
    """The command that does; what was changed on the way has its names from its transform file."""
    plain = all(flow.plain for flow in flows_of(plan.collections))
    named = [part for c in plan.collections if plain for part in ("-c", f"{c.source}={c.target.name}")]
    command = shlex.join(["vecferry", "sync", source, plan.target_url, *named])
    return command if plain else f"{command}, with the --transform FILE of before"
