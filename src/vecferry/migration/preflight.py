"""Between the plan and the first write: take decisions over, look at what stands there, ask, refuse."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from vecferry.errors import ConfigError, DataError
from vecferry.migration.finished import Finished, keep, noted, refuse_changed, same_form
from vecferry.migration.settings import Ask, Settings
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


def decide(
    plan: Plan,
    goal: Database,
    settings: Settings,
    ask: Ask,
    *,
    unfinished: Collection[str] = (),
    known: Mapping[str, Finished] | None = None,
) -> Plan:
    """`plan` with every decision taken.

    Args:
        unfinished: ids of runs that may be resumed.
        known: target name -> the finished run of the same job that wrote it.

    Raises:
        LossRefused: a lossy cell has no accepted policy.
        AlreadyExists, Conflict: what stands in the target may not be touched, does not fit, or was moved already and
            is not what the source holds now.
    """
    known = known or {}
    plan = _never_kept(plan)
    states = noted(look_at_targets(plan, goal, unfinished=unfinished, finished=same_form(known)), known)
    ask.show(plan, states)
    plan = keep(plan, states, known)
    refuse_changed(plan, states, known, chosen=settings.plan.collections)
    check(plan)
    questions = check_targets(plan, states, goal)
    if settings.dry_run or not questions:
        return plan
    plan = _asked(plan, questions, ask)
    check_targets(plan, states, goal)  # an answer may be refused too: `append` where the dimension differs
    return plan


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
    open_cells = (cell.shape for cell in fresh.cells if cell.policy is Policy.REFUSE)
    answers = {shape: policies.get(shape, Policy.REFUSE) for shape in open_cells}
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
