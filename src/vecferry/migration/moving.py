"""`migrate`: inspect, plan, ask, back up, copy, verify, report. Run it again after any interruption and it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from vecferry.engine.job import job, load_plan
from vecferry.engine.keeping import keeping
from vecferry.engine.model import RunResult
from vecferry.engine.run import migrate_collections
from vecferry.engine.stop import Stop
from vecferry.errors import LedgerError, StoreFull, VecferryError
from vecferry.events import Event, Notice, Observer, Stage, StageFinished, StageStarted, silent
from vecferry.hooks import reach
from vecferry.migration import backup, journal, views
from vecferry.migration.finished import finished
from vecferry.migration.patient import patiently
from vecferry.migration.preflight import Decision, Memory, Refused, decide, propose
from vecferry.migration.reporting import of_run, write_report
from vecferry.migration.settings import Ask, Consent, Settings
from vecferry.migration.stores import check_folder, forget, held_still, opened, pin, pin_again, shown
from vecferry.migration.syncing import left_out
from vecferry.model import IdKind, Pin
from vecferry.planning.inspect import inspect
from vecferry.planning.model import CollectionPlan, IfExists, Inspection, Plan, Profile
from vecferry.process import let_go
from vecferry.protocols import Database
from vecferry.report.recorder import Recorder
from vecferry.state.ledger import Ledger, new_run_id
from vecferry.state.model import IdProof, Outcome, RunInfo, Step
from vecferry.state.run import Run
from vecferry.verification.drift import Drift
from vecferry.verification.elsewhere import LEAST_AHEAD, Helper
from vecferry.verification.model import CollectionRepair, Verification, VerifyOptions
from vecferry.verification.repair import mend
from vecferry.verification.run import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """How a migration went.

    Attributes:
        run: None where it was a dry run.
        verification: None where it was left out.
        drifts: what of the synchronised collections differed, counted before the first write; empty where the run was
            resumed. repairs: what was done about it, by this process.
        seconds: stage -> seconds: inspect, backup, copy, index, verify, parity.
        report: the folder's HTML report; `report.json` lies beside it.
    """

    plan: Plan
    run: RunResult | None = None
    verification: Verification | None = None
    drifts: tuple[Drift, ...] = ()
    repairs: tuple[CollectionRepair, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    report: Path | None = None

    @property
    def records(self) -> int:
        """Records that are durable in the target, those included that a finished run had moved."""
        return self.run.records + self.run.kept if self.run else 0

    @property
    def kept(self) -> int:
        """Those of them that a finished run had moved, so that this one wrote nothing of them."""
        return self.run.kept if self.run else 0

    @property
    def differences(self) -> int | None:
        """Differences found; None where nobody looked."""
        return self.verification.differences if self.verification else None


def migrate(
    source: str,
    target: str,
    *,
    settings: Settings | None = None,
    ask: Ask | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
) -> Migration:
    """Move every collection of `source` that the settings name into `target`, and verify every record.

    An unfinished run of the same job is resumed: from its plan, its snapshot and its checkpoints, without asking. What
    a finished run of it moved is not written again: it is verified, and refused where it is not what the source holds.
    Without `ask`, nothing of somebody else is overwritten, and nothing else is asked.

    Raises:
        ConfigError: a URL or option is wrong.
        AlreadyExists, Conflict, DataError: refused before anything was written.
        PlanChanged: the unfinished run of this job has another plan.
        RunLocked: another process runs it.
        Interrupted: stopped; the same call goes on.
        ConnectorError, LedgerError: a store or the ledger cannot be used; what was written stays and is resumed.
    """
    settings, ask = settings or Settings(), ask or Consent()
    if settings.dry_run:
        return _dry_run(source, target, settings, ask, observer, stop or Stop())
    check_folder(settings.reports, "--report")
    check_folder(settings.backup, "--backup")
    with ExitStack() as stack:
        trip = Trip(
            ledger=stack.enter_context(Ledger(settings.ledger)),
            goal=stack.enter_context(opened(target)),
            origin=stack.enter_context(opened(source)),
            source_url=shown(source),
            target_url=shown(target),
            settings=settings,
            ask=ask,
            recorder=Recorder(observer),
            stop=stop or Stop(),
        )
        held = trip.begin()
        with keeping(held.run, stop=trip.stop, observer=trip.recorder), _told_whether_resumable(held.run):
            done = replace(trip, origin=held.origin).carry_out(held)
        forget(trip.ledger.snapshot_folder(held.run.id))
    return done


@contextmanager
def _told_whether_resumable(run: Run) -> Iterator[None]:
    """An error that leaves the block has the fact `resumable`: was anything written that the next process builds on?"""
    try:
        yield
    except VecferryError as error:
        error.facts["resumable"] = True
        with suppress(LedgerError, StoreFull):  # a ledger that cannot be read is the error itself, in mid-run
            error.facts["resumable"] = any(s.step.reached(Step.PREPARED) for s in run.collections().values())
        raise


def _dry_run(source: str, target: str, settings: Settings, ask: Ask, observer: Observer, stop: Stop) -> Migration:
    with held_still(source) as (origin, held), opened(target) as goal:
        seen, wishes = _wished(origin, settings)
        found = _look(seen, goal, shown(source), wishes, observer, held, stop)
        plan = propose(found, seen, goal, wishes, target_url=shown(target))
        both = views.of_plan(origin, plan), goal
        decision = decide(plan, found, both, settings, ask, memory=Memory(), observer=observer, stop=stop)
    seconds = {Stage.INSPECT.value: found.seconds}
    return Migration(plan=decision.plan, drifts=decision.measured.drifts, seconds=seconds)


def _wished(origin: Database, settings: Settings) -> tuple[Database, Settings]:
    """The source as it is to be seen while it is planned, and settings that name what is seen."""
    seen, wishes = views.wished(origin, settings.plan, decided=settings.decisions)
    return seen, replace(settings, plan=wishes)


def _look(
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

    # ----------------------------------------------------------------------- up to the first write

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
        run = self.ledger.open_run(job(plan, journal.request(settings)))
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
        seen, wishes = _wished(self.origin, self.settings)
        found = _look(seen, self.goal, self.source_url, wishes, self.recorder, held, self.stop)
        plan = propose(found, seen, self.goal, wishes, target_url=self.target_url)
        origin = views.of_plan(self.origin, plan)
        decision = self._decide(plan, found, origin)
        plan, drifts = decision.plan, decision.measured.drifts
        if len(plan.kept) < len(plan.collections) and not self.ask.proceed(plan, drifts):
            raise Refused("Nothing was written: you did not agree.", hint="Run it again when you do.")
        wished = job(plan, journal.request(replace(self.settings, backup=decision.backup)))
        run = self.ledger.open_run(wished, run_id=run_id, restart=self.settings.restart or instead is not None)
        try:
            _note(run, plan, found, decision)
            self._tell_kept(plan)
        except BaseException:
            with suppress(LedgerError, StoreFull):
                run.close(Outcome.FAILED, error="It could not be noted.")  # so it binds nobody: nothing is written yet
            raise
        return Held(run, plan, origin, decision.backup, found.profiles, drifts)

    def _decide(self, plan: Plan, found: Inspection, origin: Database) -> Decision:
        memory = Memory(
            unfinished=journal.unfinished_ids(self.ledger),
            known=finished(self.ledger, plan, self.settings),
            ended=lambda run: journal.ended(self.ledger, run),
        )
        return decide(
            plan,
            found,
            (origin, self.goal),
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

    # ----------------------------------------------------------------------- on a held run

    def carry_out(self, held: Held) -> Migration:
        """Back up, copy, verify, report; the run is closed when all of it is done."""
        if held.backup is not None and not held.idle:
            backup.write(self, held.plan, held.run, held.backup)
        with Helper(self.goal) as helper:
            result = migrate_collections(
                held.plan,
                self.origin,
                self.goal,
                held.run,
                options=self.settings.engine,
                observer=self._ahead(held, helper) if self.settings.verify else self.recorder,
                stop=self.stop,
            )
            repairs = self._synchronise(held, helper)
            proof = self._verify(held, self.settings.verify, helper) if self.settings.verify else None
        result = _with_repairs(result, repairs)
        report = of_run(held.plan, result, proof, self.recorder.facts(), self.ledger)
        written = write_report(report, self.settings.reports / held.run.id) if self.settings.reports else None
        held.run.close(Outcome.DONE if proof is None or proof.sound else Outcome.DIFFERENT)
        return Migration(
            plan=held.plan,
            run=result,
            verification=proof,
            drifts=held.drifts,
            repairs=repairs,
            seconds=report.seconds,
            report=written,
        )

    def _ahead(self, held: Held, helper: Helper) -> Observer:
        """The recorder, that also starts the process which reads the target back while the last indexes are built."""
        last, records = held.plan.collections[-1].source, sum(c.records for c in held.plan.collections)

        def observe(event: Event) -> None:
            self.recorder(event)
            if isinstance(event, StageStarted) and event.stage is Stage.INDEX and event.collection == last:
                helper.start(records, least=LEAST_AHEAD)

        return observe

    def _synchronise(self, held: Held, helper: Helper) -> tuple[CollectionRepair, ...]:
        """Write what differs of the collections that are synchronised; interrupted anywhere, it is done anew."""
        states = held.run.collections()
        todo = [c for c in held.plan.synced if not states[c.source].step.reached(Step.FINISHED)]
        return tuple(self._mend(held, collection, helper) for collection in todo)

    def _mend(self, held: Held, collection: CollectionPlan, helper: Helper) -> CollectionRepair:
        name, began = collection.source, time.monotonic()
        held.run.mark(name, Step.PREPARED)
        self.recorder(StageStarted(stage=Stage.COPY, collection=name))
        done = mend(
            self.origin,
            self.goal,
            (name, collection.target.qualified_name),
            delete_extra=self.settings.delete_extra,
            options=self._options(held, self.settings.verify or VerifyOptions()),
            observer=self.recorder,
            stop=self.stop,
            helper=helper,
        )
        seconds = time.monotonic() - began
        held.run.spend(name, Stage.COPY.value, seconds)
        held.run.mark(name, Step.FINISHED)
        self.recorder(StageFinished(stage=Stage.COPY, collection=name, records=done.rewritten, seconds=seconds))
        return done

    def _verify(self, held: Held, options: VerifyOptions, helper: Helper) -> Verification:
        let_go()  # what the copy needed; the process that reads the target back needs as much
        collections = held.plan.collections
        pairs = [(collection.source, collection.target.qualified_name) for collection in collections]
        proof = verify(
            self.origin,
            self.goal,
            pairs,
            options=self._options(held, options),
            observer=self.recorder,
            stop=self.stop,
            helper=helper,
        )
        for collection in collections:
            held.run.mark(collection.source, Step.VERIFIED)
        reach("run.verified")
        return proof

    def _options(self, held: Held, options: VerifyOptions) -> VerifyOptions:
        """`options` with what this run knows: profiles, what the target was promised, what was set aside."""
        return replace(
            options,
            profiles={profile.spec.qualified_name: profile for profile in held.profiles},
            promised={collection.target.qualified_name: collection.target for collection in held.plan.collections},
            set_aside=journal.left_out_of(self.ledger, held.plan, held.run.id),
            shared=frozenset(self._shared(held)),
            reordered=frozenset(self._synced(held)),
        )

    def _shared(self, held: Held) -> Iterator[str]:
        """The target collections in which records that only the target has are to stay."""
        synced = set() if self.settings.delete_extra else {drift.source for drift in held.drifts}
        for collection in held.plan.collections:
            stays = collection.if_exists is IfExists.SYNC and not self.settings.delete_extra
            if stays or collection.if_exists is IfExists.APPEND or collection.source in synced:
                yield collection.target.qualified_name

    def _synced(self, held: Held) -> Iterator[str]:
        """The target collections that are synchronised, those in which nothing differed included."""
        compared = {drift.source for drift in held.drifts}
        for collection in held.plan.collections:
            kept = collection.if_exists is IfExists.KEEP and self.settings.plan.if_exists is IfExists.SYNC
            if kept or collection.if_exists is IfExists.SYNC or collection.source in compared:
                yield collection.target.qualified_name


def _with_repairs(result: RunResult, repairs: Sequence[CollectionRepair]) -> RunResult:
    """`result` with the records that were written by synchronising; the others were there already, so are kept."""
    written = {repair.source: repair.rewritten for repair in repairs}
    collections = (
        replace(c, records=written[c.source], kept=max(0, (c.target.count or 0) - written[c.source]))
        if c.source in written
        else c
        for c in result.collections
    )
    return replace(result, collections=tuple(collections))
