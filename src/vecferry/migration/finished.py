"""What finished runs of the ledger moved already: the same command, run again, writes none of it twice.

A collection is kept as it stands where the last run that wrote it is finished, moved it from the same source under the
same options, and is the one that the collection's card names. Then nothing is written, and it is verified anew. Where
the figures say already that source and target differ, the run is refused with the command that mends just that.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from vecferry.engine.job import load_plan
from vecferry.errors import AlreadyExists
from vecferry.migration.journal import LOOKED_AT, request
from vecferry.migration.settings import Settings
from vecferry.planning.model import CollectionPlan, IfExists, Plan
from vecferry.planning.targets import Standing, TargetState
from vecferry.state.ledger import Ledger
from vecferry.state.model import CollectionState, Outcome, RunInfo
from vecferry.state.paths import ledger_option

_NO_FORM = frozenset(
    {
        "--collection",
        "--accept",
        "--if-exists",
        "--on-conflict",
        "--backup",
        "--name",
        "--delete",
        "--unit",
        "--order",
        "--stay",
    }
)
"""Options that say nothing of the form in which records stand in the target; names are compared by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The finished run that wrote one target collection.

    Attributes:
        plans: source collection -> what that run did with it.
        absent: records of the source that it left out of the target, None where others' records stand there too.
        changes: options that would give the collection another form now, one line each.
    """

    run: str
    ended: datetime
    plans: Mapping[str, CollectionPlan]
    absent: int | None
    changes: tuple[str, ...] = ()


def finished(ledger: Ledger, plan: Plan, settings: Settings) -> dict[str, Finished]:
    """Target name -> the run that wrote it last, where that run is finished and moved the same collections."""
    names: dict[str, set[str]] = {}
    for collection in plan.collections:
        names.setdefault(collection.target.name, set()).add(collection.source)
    found: dict[str, Finished] = {}
    for info in _of_target(ledger, plan):
        for name, one in _written(info, settings).items():
            wanted = names.pop(name, None)
            if wanted is not None and wanted <= one.plans.keys() and info.source == _where(plan):
                found[name] = one
        if not names:
            break
    return found


def _of_target(ledger: Ledger, plan: Plan) -> Iterator[RunInfo]:
    """The finished runs into the plan's target, latest first."""
    where = f"{plan.target.kind} {plan.target.where}"
    ended = (Outcome.DONE, Outcome.DIFFERENT)
    return (i for i in ledger.history(limit=LOOKED_AT) if i.target == where and i.finished and i.outcome in ended)


def _where(plan: Plan) -> str:
    return f"{plan.source.kind} {plan.source.where}"


def _written(info: RunInfo, settings: Settings) -> dict[str, Finished]:
    """Target name -> what the run wrote there itself."""
    groups: dict[str, list[CollectionPlan]] = {}
    for collection in load_plan(info.plan).collections:
        if collection.if_exists not in {IfExists.KEEP, IfExists.SYNC}:  # the card goes on naming an earlier run
            groups.setdefault(collection.target.name, []).append(collection)
    states = {state.source: state for state in info.collections}
    changes = tuple(_changes(info.request, request(settings)))
    return {
        name: Finished(
            run=info.id,
            ended=datetime.fromtimestamp(info.finished or info.created, UTC),
            plans={collection.source: collection for collection in group},
            absent=_absent(group, states),
            changes=changes,
        )
        for name, group in groups.items()
    }


def _absent(group: Sequence[CollectionPlan], states: Mapping[str, CollectionState]) -> int | None:
    mine = [states[collection.source] for collection in group]
    if not all(state.fresh for state in mine):
        return None
    return sum(collection.records for collection in group) - sum(state.total.written for state in mine)


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name, value in now.items():
        if name not in _NO_FORM and before.get(name) != value:
            yield f"{name}: was {before.get(name, '(absent)')}, now {value}"


# --------------------------------------------------------------------------- what becomes of the new plan


def same_form(known: Mapping[str, Finished]) -> dict[str, str]:
    """Target name -> the run whose work may be kept, for `look_at_targets`."""
    return {name: one.run for name, one in known.items() if not one.changes}


def noted(
    states: Sequence[TargetState], known: Mapping[str, Finished], ended: Callable[[str], datetime | None] | None
) -> tuple[TargetState, ...]:
    """`states`, each with what a person should know before an answer; see `Memory` in `preflight`."""
    return tuple(_noted(state, known.get(state.target), ended) for state in states)


def _noted(state: TargetState, one: Finished | None, ended: Callable[[str], datetime | None] | None) -> TargetState:
    when = ended(state.writer) if state.writer and ended is not None else None
    written = max((date for date in (state.written, when) if date is not None), default=None)
    return replace(state, note=_note(state, one), ours=None if ended is None else when is not None, written=written)


def _note(state: TargetState, one: Finished | None) -> str:
    if one is None or state.writer != one.run or not one.changes:
        return ""
    return f"Run {one.run} moved it on {one.ended:%Y-%m-%d %H:%M} under other options ({'; '.join(one.changes)})."


def keep(plan: Plan, states: Sequence[TargetState], known: Mapping[str, Finished]) -> Plan:
    """`plan` in which what a finished run moved is kept as that run promised it, unless it is to be written again."""
    moved = {state.target: state.records for state in states if state.standing is Standing.MOVED}
    collections = (
        _kept(c, known[c.target.name], moved[c.target.name]) if c.target.name in moved else c for c in plan.collections
    )
    return replace(plan, collections=tuple(collections))


def _kept(collection: CollectionPlan, one: Finished, records: int) -> CollectionPlan:
    if collection.if_exists in {IfExists.APPEND, IfExists.RECREATE, IfExists.SYNC}:
        return collection
    before = one.plans[collection.source].target
    card = replace(before.card, run=one.run) if before.card is not None else None
    target = replace(before, card=card, count=min(records, collection.records))
    return replace(collection, if_exists=IfExists.KEEP, target=target)


def outdated(plan: Plan, states: Sequence[TargetState], known: Mapping[str, Finished]) -> tuple[TargetState, ...]:
    """The kept collections of which the figures alone say that they are not what the source holds now."""
    wanted = _wanted(plan)
    return tuple(
        state
        for state in states
        if state.target in wanted
        and (absent := known[state.target].absent) is not None
        and state.records != wanted[state.target] - absent
    )


def _wanted(plan: Plan) -> Counter[str]:
    """Target name -> records of the source, for the collections that are kept."""
    wanted: Counter[str] = Counter()
    for collection in plan.kept:
        wanted[collection.target.name] += collection.records
    return wanted


def refusal(
    plan: Plan, changed: Sequence[TargetState], known: Mapping[str, Finished], settings: Settings
) -> AlreadyExists:
    """That these collections were moved already and are not what the source holds now, and the command that helps."""
    wanted = _wanted(plan)
    lines = "".join(
        f"\n  '{state.target}': moved by run {known[state.target].run}; the source holds {wanted[state.target]:,} "
        f"records now, the target {state.records:,}"
        for state in changed
    )
    return AlreadyExists(
        f"What was moved already is not what the source holds now. Nothing was written.{lines}",
        hint=f"Bring the target up to date: {_sync(plan, changed, settings)}\n   It writes what is missing or changed "
        "and nothing else; records that only the target has stay, unless --delete says otherwise.",
    )


def _sync(plan: Plan, changed: Sequence[TargetState], settings: Settings) -> str:
    """The command that helps: with the person's own choice of collections, where all of it is there."""
    names, chosen = {state.target for state in changed}, settings.plan.collections
    if len(plan.kept) < len(plan.collections):
        chosen = tuple(f"{c.source}={c.target.name}" for c in plan.kept if c.target.name in names)
    parts = [part for pattern in chosen for part in ("-c", pattern)]
    parts += [part for shape, policy in settings.plan.policies.items() for part in ("--accept", f"{shape}={policy}")]
    return shlex.join(["vecferry", "sync", plan.source_url, plan.target_url, *parts, *ledger_option(settings.ledger)])
