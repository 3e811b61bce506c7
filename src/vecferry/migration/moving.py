"""`migrate`: inspect, plan, ask, back up, copy, verify, report. Run it again after any interruption and it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace

from vecferry.engine.keeping import keeping
from vecferry.engine.stop import Stop
from vecferry.errors import LedgerError, StoreFull, VecferryError
from vecferry.events import Observer, Stage, listening, silent
from vecferry.migration import journal, views
from vecferry.migration.carrying import carry_out
from vecferry.migration.gently import gently
from vecferry.migration.preflight import Memory, decide, propose
from vecferry.migration.result import Migration
from vecferry.migration.settings import Ask, Consent, Settings
from vecferry.migration.status_table import status_table
from vecferry.migration.stores import check_folder, forget, held_still, opened, shown
from vecferry.migration.throttled import Again
from vecferry.migration.trip import Trip, look, wished
from vecferry.report.recorder import Recorder
from vecferry.state.ledger import Ledger
from vecferry.state.model import Step
from vecferry.state.run import Run


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
    table = status_table(settings, observer)
    if settings.dry_run:
        return _dry_run(source, target, settings, ask, observer, stop or Stop())
    check_folder(settings.reports, "--report")
    check_folder(settings.backup, "--backup")
    recorder, stop = Recorder(table or observer), stop or Stop()
    again = Again(observer=recorder, stop=stop, deadline_seconds=settings.engine.deadline_seconds)
    with ExitStack() as stack:
        stack.enter_context(listening(recorder))  # what a connector tells a person stands in the report too
        ledger = stack.enter_context(Ledger(settings.ledger))
        goal = stack.enter_context(opened(target, again))
        origin = stack.enter_context(opened(source, again))
        settings = journal.at_its_pace(ledger, origin.identity, goal.identity, settings)
        origin, watch = stack.enter_context(gently(origin, source, settings, observer=recorder, stop=stop))
        trip = Trip(
            ledger=ledger,
            goal=goal,
            origin=origin,
            source_url=shown(source),
            target_url=shown(target),
            settings=settings,
            ask=ask,
            recorder=recorder,
            stop=stop,
            watch=watch,
        )
        held = trip.begin()
        units = table.writing(held.run) if table else nullcontext()
        with keeping(held.run, stop=trip.stop, observer=trip.recorder), _told_whether_resumable(held.run), units:
            done = carry_out(replace(trip, origin=held.origin), held)
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
    again = Again(observer=observer, stop=stop)
    with ExitStack() as stack:
        origin, held = stack.enter_context(held_still(source, again))
        goal = stack.enter_context(opened(target, again))
        origin, _ = stack.enter_context(gently(origin, source, settings, observer=observer, stop=stop))
        seen, wishes = wished(origin, settings)
        found = look(seen, goal, shown(source), wishes, observer, held, stop)
        plan = propose(found, seen, goal, wishes, target_url=shown(target))
        both = views.of_plan(origin, plan), goal
        decision = decide(plan, found, both, settings, ask, memory=Memory(), observer=observer, stop=stop)
    seconds = {Stage.INSPECT.value: found.seconds}
    return Migration(plan=decision.plan, drifts=decision.measured.drifts, seconds=seconds)
