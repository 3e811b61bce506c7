"""Between the plan and the first write: take decisions over, look at what stands there, ask, refuse."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from vecferry.engine.stop import Stop
from vecferry.errors import ConfigError, DataError
from vecferry.events import Observer, silent
from vecferry.migration.finished import Finished, keep, noted, outdated, refusal, same_form
from vecferry.migration.settings import Ask, Settings
from vecferry.migration.syncing import Measured, adopt, measure
from vecferry.model import Card
from vecferry.planning.edits import settle, wishes_of
from vecferry.planning.losses import check
from vecferry.planning.model import CollectionPlan, IfExists, Inspection, OnConflict, Plan, Policy
from vecferry.planning.plan import make_plan
from vecferry.planning.targets import TargetState, check_targets, look_at_targets
from vecferry.protocols import Database


class Refused(DataError):
    """A person did not agree. Nothing was written."""


def propose(found: Inspection, origin: Database, goal: Database, settings: Settings, *, target_url: str) -> Plan:
    """The plan of what was found, with the choices of an edited plan where there is one.

    Raises:
        ConfigError, IdCollision, NotFound: see `make_plan` and `settle`; or the edited plan is for other stores.
    """
    decided = settings.decisions
    if decided is None:
        return make_plan(found, origin, goal, settings.plan, target_url=target_url)
    plan = make_plan(found, origin, goal, wishes_of(decided, settings.plan), target_url=target_url)
    return settle(with_decisions(plan, decided), found.profiles, origin, goal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided before the first write.

    Attributes:
        backup: where the archive of the source, and of what is overwritten, goes; None for none.
        measured: the plan with every decision taken, and what of the synchronised collections differs.
    """

    measured: Measured
    backup: Path | None = None

    @property
    def plan(self) -> Plan:
        return self.measured.plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the ledger knows about the target; nothing, where there is no ledger (a dry run).

    Attributes:
        unfinished: ids of runs that may be resumed.
        known: target name -> the finished run of the same job that wrote it.
        ended: when a run ended, None where the ledger does not know it; no function where there is no ledger.
    """

    unfinished: Collection[str] = ()
    known: Mapping[str, Finished] = field(default_factory=dict)
    ended: Callable[[str], datetime | None] | None = None


def decide(
    plan: Plan,
    found: Inspection,
    stores: tuple[Database, Database],
    settings: Settings,
    ask: Ask,
    *,
    memory: Memory,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> Decision:
    """`plan` with every decision taken. Args: `stores` is source and target.

    Raises:
        LossRefused: a lossy cell has no accepted policy.
        AlreadyExists, Conflict: what stands in the target may not be touched, does not fit, or was moved already and
            is not what the source holds now.
        ConnectorError, DataError, Interrupted: what is to be synchronised cannot be compared.
    """
    origin, goal = stores
    plan = _never_kept(plan)
    states = look_at_targets(plan, goal, unfinished=memory.unfinished, finished=same_form(memory.known))
    states = noted(states, memory.known, memory.ended)
    ask.show(plan, states)
    plan = _renewed(keep(plan, states, memory.known), states, memory.known, settings, ask)
    plan = adopt(plan, states, found.profiles, origin, goal, settings)
    check(plan)
    questions = check_targets(plan, states, goal)
    if questions and not settings.dry_run:
        plan = adopt(_asked(plan, questions, ask), states, found.profiles, origin, goal, settings)
        check(plan)
        check_targets(plan, states, goal)  # an answer may be refused too: `append` where the dimension differs
    backup = settings.backup if settings.dry_run else _backup(plan, states, questions, settings, ask)
    measured = measure(plan, origin, goal, settings, observer=observer, stop=stop)
    ask.differs(measured.drifts, delete=settings.delete_extra)
    return Decision(measured=measured, backup=backup)


def _renewed(
    plan: Plan, states: Sequence[TargetState], known: Mapping[str, Finished], settings: Settings, ask: Ask
) -> Plan:
    """`plan` in which what was moved already, and has changed since, is synchronised, if a person says so."""
    changed = outdated(plan, states, known)
    if not changed:
        return plan
    ask.outdated(refusal(plan, changed, known, settings))
    names = {state.target for state in changed}
    renewed = (replace(c, if_exists=IfExists.SYNC) if c.target.name in names else c for c in plan.collections)
    return replace(plan, collections=tuple(renewed))


def _backup(
    plan: Plan, states: Sequence[TargetState], asked: Sequence[TargetState], settings: Settings, ask: Ask
) -> Path | None:
    """Where the archive goes; asked for where a person chose to recreate, and where records are somebody else's."""
    if settings.backup is not None or settings.no_backup:
        return settings.backup
    doomed = {c.target.name for c in plan.collections if c.if_exists is IfExists.RECREATE}
    chosen = doomed & {state.target for state in asked}
    foreign = (s for s in states if s.target in doomed and s.records and (s.target in chosen or not s.ours))
    lost = tuple(foreign)
    return ask.backup(lost, chosen=bool(chosen)) if lost else None


def _never_kept(plan: Plan) -> Plan:
    """`plan` without `keep`, which the ledger alone can say."""
    asked = (replace(c, if_exists=IfExists.ASK) if c.if_exists is IfExists.KEEP else c for c in plan.collections)
    return replace(plan, collections=tuple(asked))


def _asked(plan: Plan, questions: tuple[TargetState, ...], ask: Ask) -> Plan:
    """`plan` with an answer for each occupied target."""
    answers = {state.target: ask.existing(state) for state in questions}
    collections = (
        replace(c, if_exists=answers[c.target.name]) if c.target.name in answers else c for c in plan.collections
    )
    return replace(plan, collections=tuple(collections))


def with_decisions(plan: Plan, decided: Plan) -> Plan:
    """`plan`, made anew from the stores, with the choices of an edited plan: targets, policies, what may be touched.

    A loss that the edited plan did not know keeps its `refuse`.

    Raises:
        ConfigError: the edited plan is for other stores, or names a collection that is not in the source.
    """
    for side in ("source", "target"):
        now, then = getattr(plan, side), getattr(decided, side)
        if (now.kind, now.where) != (then.kind, then.where):
            raise ConfigError(
                f"The plan file is for the {side} {then.kind} {then.where}, not for {now.kind} {now.where}.",
                hint="Give the stores of the plan file, or write a new plan.",
            )
    fresh = {collection.source: collection for collection in plan.collections}
    for collection in decided.collections:
        if collection.source not in fresh:
            raise ConfigError(
                f"The plan file names the collection '{collection.source}', which the source does not have.",
                hint="Take it out of the plan file, or write a new plan.",
            )
    return replace(plan, collections=tuple(_decided(fresh[c.source], c) for c in decided.collections))


def _decided(fresh: CollectionPlan, decided: CollectionPlan) -> CollectionPlan:
    """The choices of the edited plan, save those that the options of this call answer otherwise."""
    policies = {cell.shape: cell.policy for cell in decided.cells}
    open_cells = [
        cell for cell in fresh.cells if cell.policy is Policy.REFUSE or (cell.policy is None and cell.choices)
    ]
    answers = {cell.shape: policies.get(cell.shape, cell.policy) for cell in open_cells}
    cells = tuple(replace(cell, policy=answers.get(cell.shape, cell.policy)) for cell in fresh.cells)
    return replace(
        fresh,
        target=replace(decided.target, count=fresh.target.count, card=_card(fresh, decided)),
        cells=cells,
        if_exists=decided.if_exists if fresh.if_exists is IfExists.ASK else fresh.if_exists,
        on_conflict=decided.on_conflict if fresh.on_conflict is OnConflict.REFUSE else fresh.on_conflict,
    )


def _card(fresh: CollectionPlan, decided: CollectionPlan) -> Card | None:
    """The edited card, with what only the source can say taken from the source."""
    if fresh.target.card is None or decided.target.card is None:
        return fresh.target.card
    return replace(decided.target.card, origin=fresh.target.card.origin, key_types=fresh.target.card.key_types)
