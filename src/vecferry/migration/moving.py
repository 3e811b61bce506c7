"""`migrate`: inspect, plan, ask, back up, copy, verify, report. Run it again after any interruption and it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from vecferry.engine.job import job, load_plan
from vecferry.engine.keeping import keeping
from vecferry.engine.model import RunResult
from vecferry.engine.run import migrate_collections
from vecferry.engine.stop import Stop
from vecferry.errors import VecferryError
from vecferry.events import Observer, Stage, silent
from vecferry.hooks import reach
from vecferry.migration import backup, journal
from vecferry.migration.preflight import Refused, decide
from vecferry.migration.reporting import write_report
from vecferry.migration.settings import Ask, Consent, Settings
from vecferry.migration.stores import forget, held_still, opened, pin, pin_again, shown
from vecferry.plan.inspect import inspect
from vecferry.plan.model import Plan, Profile
from vecferry.plan.plan import make_plan
from vecferry.protocols import Database
from vecferry.state.ledger import Ledger, new_run_id
from vecferry.state.model import Outcome, RunInfo, Step
from vecferry.state.run import Run
from vecferry.verify.model import Verification, VerifyOptions
from vecferry.verify.run import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """How a migration went.

    Attributes:
        run: None where it was a dry run.
        verification: None where it was left out.
        seconds: stage -> seconds: inspect, backup, copy, index, verify, parity.
        report: the folder's HTML report; `report.json` lies beside it.
    """

    plan: Plan
    run: RunResult | None = None
    verification: Verification | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    report: Path | None = None

    @property
    def records(self) -> int:
        """Records that are durable in the target."""
        return self.run.records if self.run else 0

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

    An unfinished run of the same job is resumed: from its plan, its snapshot and its checkpoints, without asking.
    Without `ask`, nothing of somebody else is overwritten, and nothing else is asked.

    Raises:
        ConfigError: a URL or option is wrong.
        AlreadyExists, Conflict, DataError: refused before anything was written.
        PlanChanged: the unfinished run of this job has another plan.
        RunLocked: another process runs it.
        Interrupted: stopped; the same call goes on.
        ConnectorError, LedgerError: a store or the ledger cannot be used; what was written stays and is resumed.
    """
    settings, ask, stop = settings or Settings(), ask or Consent(), stop or Stop()
    if settings.dry_run:
        return _dry_run(source, target, settings, ask, observer)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(settings.ledger))
        goal = stack.enter_context(opened(target))
        origin = stack.enter_context(opened(source))
        begun = _begin(ledger, origin, goal, source, target, settings, ask, observer)
        with keeping(begun.run, stop=stop, observer=observer):
            done = _carry_out(begun, ledger, origin, goal, settings, observer, stop)
        forget(ledger.snapshot_folder(begun.run.id))
    return done


@dataclass(frozen=True, slots=True)
class _Begun:
    """A held run, and what is known of its source beyond the plan (nothing, where it was resumed)."""

    run: Run
    plan: Plan
    profiles: tuple[Profile, ...] = ()


def _dry_run(source: str, target: str, settings: Settings, ask: Ask, observer: Observer) -> Migration:
    with held_still(source) as (origin, held), opened(target) as goal:
        found = inspect(
            origin,
            url=shown(source),
            patterns=settings.plan.collections,
            observer=observer,
            pin=held,
            rule=settings.plan.id_rule,
        )
        plan = make_plan(found, origin, goal, settings.plan, target_url=shown(target))
        plan = decide(plan, origin, goal, settings, ask)
    return Migration(plan=plan, seconds={Stage.INSPECT.value: found.seconds})


def _begin(
    ledger: Ledger,
    origin: Database,
    goal: Database,
    source: str,
    target: str,
    settings: Settings,
    ask: Ask,
    observer: Observer,
) -> _Begun:
    unfinished = journal.unfinished(ledger, origin.identity, goal.identity, settings)
    if unfinished is not None and not settings.restart:
        return _resume(unfinished, ledger, origin, settings)
    run_id = new_run_id()
    folder = ledger.snapshot_folder(run_id)
    try:
        begun = _begin_anew(run_id, folder, ledger, origin, goal, source, target, settings, ask, observer)
    except BaseException:
        forget(folder)
        raise
    if unfinished is not None:
        forget(ledger.snapshot_folder(unfinished.id))
    return begun


def _resume(unfinished: RunInfo, ledger: Ledger, origin: Database, settings: Settings) -> _Begun:
    plan = load_plan(unfinished.plan)
    run = ledger.open_run(job(plan, journal.request(settings)))
    try:
        pin_again(origin, ledger.snapshot_folder(run.id), plan.pin, run.id)
    except VecferryError as error:
        run.close(Outcome.INTERRUPTED, error=error.message)
        raise
    return _Begun(run, plan)


def _begin_anew(
    run_id: str,
    folder: Path,
    ledger: Ledger,
    origin: Database,
    goal: Database,
    source: str,
    target: str,
    settings: Settings,
    ask: Ask,
    observer: Observer,
) -> _Begun:
    held = pin(origin, folder)
    found = inspect(
        origin,
        url=shown(source),
        patterns=settings.plan.collections,
        observer=observer,
        pin=held,
        rule=settings.plan.id_rule,
    )
    plan = make_plan(found, origin, goal, settings.plan, target_url=shown(target))
    plan = decide(plan, origin, goal, settings, ask, unfinished=journal.unfinished_ids(ledger))
    if not ask.proceed(plan):
        raise Refused("Nothing was written: you did not agree.")
    run = ledger.open_run(job(plan, journal.request(settings)), run_id=run_id, restart=settings.restart)
    for profile in found.profiles:
        run.spend(profile.spec.qualified_name, Stage.INSPECT.value, profile.seconds)
    return _Begun(run, plan, found.profiles)


def _carry_out(
    begun: _Begun,
    ledger: Ledger,
    origin: Database,
    goal: Database,
    settings: Settings,
    observer: Observer,
    stop: Stop,
) -> Migration:
    """Everything after the first question, on a held run."""
    if settings.backup is not None:
        backup.write(begun.plan, begun.run, ledger, origin, goal, settings, observer, stop)
    result = migrate_collections(
        begun.plan, origin, goal, begun.run, options=settings.engine, observer=observer, stop=stop
    )
    proof = _verify(begun, ledger, origin, goal, settings.verify, observer, stop) if settings.verify else None
    seconds = {**result.seconds, **(proof.seconds if proof else {})}
    done = Migration(plan=begun.plan, run=result, verification=proof, seconds=seconds)
    report = write_report(done, begun.profiles, ledger, origin, goal, settings) if settings.reports else None
    begun.run.close(Outcome.DONE if proof is None or proof.ok else Outcome.DIFFERENT)
    return replace(done, report=report)


def _verify(
    begun: _Begun,
    ledger: Ledger,
    origin: Database,
    goal: Database,
    options: VerifyOptions,
    observer: Observer,
    stop: Stop,
) -> Verification:
    options = replace(
        options,
        profiles={profile.spec.qualified_name: profile for profile in begun.profiles},
        promised={collection.target.qualified_name: collection.target for collection in begun.plan.collections},
        set_aside=journal.set_aside(ledger, begun.run.id),
    )
    pairs = [(collection.source, collection.target.qualified_name) for collection in begun.plan.collections]
    proof = verify(origin, goal, pairs, options=options, observer=observer, stop=stop)
    for collection in begun.plan.collections:
        begun.run.mark(collection.source, Step.VERIFIED)
    reach("run.verified")
    return proof
