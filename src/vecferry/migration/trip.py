"""One call of `migrate` up to its first write: the run that it goes on with, or a new one that was agreed to."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vecferry.engine.job import job, load_plan
from vecferry.engine.stop import Stop
from vecferry.errors import LedgerError, StoreFull, VecferryError
from vecferry.events import Notice, Observer, Stage
from vecferry.migration import journal, views
from vecferry.migration.finished import finished
from vecferry.migration.gently import Watch
from vecferry.migration.patient import patiently
from vecferry.migration.preflight import Decision, Memory, Refused, decide, propose
from vecferry.migration.remembered import stayed_before
from vecferry.migration.settings import Ask, Settings
from vecferry.migration.staying import Staying, without
from vecferry.migration.stores import forget, pin, pin_again
from vecferry.migration.syncing import left_out
from vecferry.model import IdKind, Pin
from vecferry.planning.inspect import inspect
from vecferry.planning.model import Inspection, Plan, Profile
from vecferry.planning.priority import check_named
from vecferry.protocols import Database
from vecferry.report.recorder import Recorder
from vecferry.state.ledger import Ledger, new_run_id
from vecferry.state.model import IdProof, Outcome, RunInfo
from vecferry.state.run import Run
from vecferry.verification.drift import Drift


@dataclass(frozen=True, slots=True)
class Held:
    """A run that this process holds, and what was found out at its beginning (nothing, where it was resumed)."""

    run: Run
    plan: Plan
    origin: Database
    """the source, as the plan sees it"""
    backup: Path | None
    profiles: tuple[Profile, ...] = ()
    drifts: tuple[Drift, ...] = ()

    @property
    def idle(self) -> bool:
        """Is there nothing to write?"""
        return len(self.plan.kept) == len(self.plan.collections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One call of `migrate`: both stores open, the ledger, the wishes, and who listens."""

    ledger: Ledger
    origin: Database
    goal: Database
    source_url: str
    target_url: str
    settings: Settings
    ask: Ask
    recorder: Recorder
    stop: Stop
    watch: Watch | None = None
    """adapts the pace at which `origin` is read, where one is to be kept"""

    def begin(self) -> Held:
        """The unfinished run of this job, or a new one that was planned, shown and agreed to."""
        unfinished = journal.unfinished(self.ledger, self.origin.identity, self.goal.identity, self.settings)
        if unfinished is not None and not self.settings.restart:
            settings = journal.as_begun(self.settings, unfinished)
            if journal.goes_on(unfinished, settings):
                return self._resume(unfinished, settings)
        run_id = new_run_id()
        folder = self.ledger.snapshot_folder(run_id)
        try:
            held = self._begin_anew(run_id, folder, instead=unfinished)
        except BaseException:
            forget(folder)
            raise
        if unfinished is not None:
            forget(self.ledger.snapshot_folder(unfinished.id))
        return held

    def _resume(self, unfinished: RunInfo, settings: Settings) -> Held:
        plan = load_plan(unfinished.plan)
        check_named(plan.collections, settings.plan)
        run = self.ledger.open_run(job(plan, journal.resumed(settings)))
        try:
            pin_again(self.origin, self.ledger.snapshot_folder(run.id), plan.pin, run.id)
            origin = views.of_plan(self.origin, plan)
            for source, aside in left_out(plan, origin, self.goal).items():  # it may have died before it noted them
                run.set_aside(source, aside)
        except VecferryError as error:
            run.close(Outcome.INTERRUPTED, error=error.message)
            raise
        return Held(run, plan, origin, settings.backup)

    def _begin_anew(self, run_id: str, folder: Path, *, instead: RunInfo | None) -> Held:
        held = pin(self.origin, folder)
        seen, wishes = wished(self.origin, self.settings)
        found = look(seen, self.goal, self.source_url, wishes, self.recorder, held, self.stop)
        plan = propose(found, seen, self.goal, wishes, target_url=self.target_url)
        origin = views.of_plan(self.origin, plan)
        decision = self._decide(plan, found, origin)
        plan, drifts = decision.plan, decision.measured.drifts
        if len(plan.kept) < len(plan.collections) and not self.ask.proceed(plan, drifts):
            raise Refused("Nothing was written: you did not agree.", hint="Run it again when you do.")
        begun = job(plan, journal.request(replace(self.settings, backup=decision.backup)))
        run = self.ledger.open_run(begun, run_id=run_id, restart=self.settings.restart or instead is not None)
        try:
            _note(run, plan, found, decision)
            self._tell_kept(plan)
        except BaseException:
            with suppress(LedgerError, StoreFull):
                run.close(Outcome.FAILED, error="It could not be noted.")  # so it binds nobody: nothing is written yet
            raise
        return Held(run, plan, origin, decision.backup, found.profiles, drifts)

    def stayed(self, plan: Plan) -> Staying:
        """The units of the plan's collections that are to stay in the source, by the run that moved them in units."""
        if not any(form.by for form in plan.tables.values()):
            return {}
        pairs = [(c.source, c.target.qualified_name) for c in plan.collections]
        return stayed_before(self.ledger, self.origin, self.goal, pairs)

    def _decide(self, plan: Plan, found: Inspection, origin: Database) -> Decision:
        memory = Memory(
            unfinished=journal.unfinished_ids(self.ledger),
            known=finished(self.ledger, plan, self.settings),
            ended=lambda run: journal.ended(self.ledger, run),
        )
        return decide(
            plan,
            found,
            (without(origin, self.stayed(plan)), self.goal),
            self.settings,
            self.ask,
            memory=memory,
            observer=self.recorder,
            stop=self.stop,
        )

    def _tell_kept(self, plan: Plan) -> None:
        for collection in plan.kept:
            card = collection.target.card
            told = "The target holds all of it already: nothing is written."
            if card is not None and card.run:
                told = f"Run {card.run} moved it already: nothing is written."
            self.recorder(Notice(collection=collection.source, message=told))


def wished(origin: Database, settings: Settings) -> tuple[Database, Settings]:
    """The source as it is to be seen while it is planned, and settings that name what is seen."""
    seen, wishes = views.wished(origin, settings.plan, decided=settings.decisions)
    return seen, replace(settings, plan=wishes)


def look(
    origin: Database, goal: Database, url: str, settings: Settings, observer: Observer, held: Pin | None, stop: Stop
) -> Inspection:
    wished = settings.plan
    return inspect(
        origin,
        url=url,
        patterns=wished.collections,
        observer=observer,
        pin=held,
        rule=wished.id_rule,
        limits=goal.limits,
        chunks=patiently(observer, stop=stop, deadline_seconds=settings.engine.deadline_seconds),
    )


def _proof(profile: Profile) -> IdProof:
    """What the inspection proved of a collection's ids, for the ledger."""
    texts = profile.id_kinds.get(IdKind.TEXT, 0) + profile.id_kinds.get(IdKind.COMPOSITE, 0)
    rule = f"{profile.id_rule.namespace} {profile.id_rule.template!r}"
    return IdProof(rule=rule, records=profile.records, rewritten=texts, at=time.time())


def _note(run: Run, plan: Plan, found: Inspection, decision: Decision) -> None:
    """Into the ledger: what was found out before the first write."""
    for collection in plan.collections:
        profile = next(p for p in found.profiles if p.spec.qualified_name == collection.source)
        run.spend(collection.source, Stage.INSPECT.value, profile.seconds)
        run.prove_ids(collection.source, _proof(profile))
    for source, aside in decision.measured.set_aside.items():
        run.set_aside(source, aside)
