"""A run that was agreed to, carried out: back up, copy, synchronise, verify, report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vecferry.engine.model import RunResult
from vecferry.engine.run import migrate_collections
from vecferry.events import Event, Notice, Observer, Stage, StageFinished, StageStarted
from vecferry.hooks import reach
from vecferry.migration import backup, journal
from vecferry.migration.caring import Units
from vecferry.migration.reporting import of_run, write_report
from vecferry.migration.result import Migration
from vecferry.migration.staying import Staying, told, without
from vecferry.migration.trip import Held, Trip
from vecferry.planning.model import CollectionPlan, IfExists
from vecferry.planning.tabled import keys_of
from vecferry.process import let_go
from vecferry.state.model import Outcome, Step
from vecferry.verification.elsewhere import LEAST_AHEAD, Helper
from vecferry.verification.model import CollectionRepair, Verification, VerifyOptions
from vecferry.verification.passes import Both
from vecferry.verification.repair import mend
from vecferry.verification.run import verify


def carry_out(trip: Trip, held: Held) -> Migration:
    """Back up, copy, verify, report; the run is closed when all of it is done."""
    if trip.watch is not None:
        trip.watch.noted_in(held.run)
    if held.backup is not None and not held.idle:
        backup.write(trip, held.plan, held.run, held.backup)
    units = Units(held.plan, held.run, trip.origin, trip.settings, lambda: _both(trip, held))
    with Helper(trip.goal) as helper:
        result = migrate_collections(
            held.plan,
            trip.origin,
            trip.goal,
            held.run,
            options=trip.settings.engine,
            observer=_ahead(trip, held, helper) if trip.settings.verify else trip.recorder,
            stop=trip.stop,
            care=units.care,
            rate=trip.watch.rate if trip.watch else None,
        )
        held = replace(held, plan=units.plan)
        repairs = _synchronise(trip, held, helper)
        proof = _verify(trip, held, trip.settings.verify, helper) if trip.settings.verify else None
    if trip.watch is not None:
        trip.watch.tell()
    result = _with_repairs(result, repairs)
    report = of_run(held.plan, result, proof, trip.recorder.facts(), trip.ledger)
    written = write_report(report, trip.settings.reports / held.run.id) if trip.settings.reports else None
    held.run.close(Outcome.DONE if proof is None or proof.sound else Outcome.DIFFERENT)
    return Migration(
        plan=held.plan,
        run=result,
        verification=proof,
        drifts=held.drifts,
        repairs=repairs,
        seconds=report.seconds,
        report=written,
        pace=report.run.pace if report.run else None,
    )


def _ahead(trip: Trip, held: Held, helper: Helper) -> Observer:
    """The recorder, that also starts the process which reads the target back while the last indexes are built."""
    last, records = held.plan.collections[-1].source, sum(c.records for c in held.plan.collections)

    def observe(event: Event) -> None:
        trip.recorder(event)
        if isinstance(event, StageStarted) and event.stage is Stage.INDEX and event.collection == last:
            helper.start(records, least=LEAST_AHEAD)

    return observe


def _synchronise(trip: Trip, held: Held, helper: Helper) -> tuple[CollectionRepair, ...]:
    """Write what differs of the collections that are synchronised; interrupted anywhere, it is done anew."""
    states = held.run.collections()
    todo = [c for c in held.plan.synced if not states[c.source].step.reached(Step.FINISHED)]
    return tuple(_mend(trip, held, collection, helper) for collection in todo)


def _mend(trip: Trip, held: Held, collection: CollectionPlan, helper: Helper) -> CollectionRepair:
    name, began = collection.source, time.monotonic()
    held.run.mark(name, Step.PREPARED)
    trip.recorder(StageStarted(stage=Stage.COPY, collection=name))
    stayed = trip.stayed(held.plan)
    options = _options(trip, held, trip.settings.verify or VerifyOptions(), stayed)
    origin = without(trip.origin, stayed)
    both = Both(origin, trip.goal, options, trip.recorder, trip.stop, helper)
    done = mend(both, (name, collection.target.qualified_name), delete_extra=trip.settings.delete_extra)
    seconds = time.monotonic() - began
    held.run.spend(name, Stage.COPY.value, seconds)
    held.run.mark(name, Step.FINISHED)
    trip.recorder(StageFinished(stage=Stage.COPY, collection=name, records=done.rewritten, seconds=seconds))
    return done


def _both(trip: Trip, held: Held) -> Both:
    """Both stores for the comparison of one unit, in this process alone. It never sees what only the target has."""
    options = _options(trip, held, trip.settings.verify or VerifyOptions(), {})
    return Both(trip.origin, trip.goal, options, trip.recorder, trip.stop, None)


def _verify(trip: Trip, held: Held, options: VerifyOptions, helper: Helper) -> Verification:
    let_go()  # what the copy needed; the process that reads the target back needs as much
    collections = held.plan.collections
    pairs = [(collection.source, collection.target.qualified_name) for collection in collections]
    stayed = trip.stayed(held.plan)
    for name, units in stayed.items():
        trip.recorder(Notice(collection=name, message=told(units)))
    proof = verify(
        without(trip.origin, stayed),
        trip.goal,
        pairs,
        options=_options(trip, held, options, stayed),
        observer=trip.recorder,
        stop=trip.stop,
        helper=helper,
    )
    for collection in collections:
        held.run.mark(collection.source, Step.VERIFIED)
    reach("run.verified")
    return proof


def _options(trip: Trip, held: Held, options: VerifyOptions, stayed: Staying) -> VerifyOptions:
    """`options` with what this run knows: profiles, what the target was promised, what was set aside."""
    return replace(
        options,
        by=keys_of(held.plan.tables, options.by),
        profiles={profile.spec.qualified_name: profile for profile in held.profiles},
        promised={c.target.qualified_name: c.signed(held.run.id) for c in held.plan.collections},
        set_aside=journal.left_out_of(trip.ledger, held.plan, held.run.id),
        shared=frozenset(_shared(trip, held, stayed)),
        reordered=frozenset(_synced(trip, held)),
    )


def _shared(trip: Trip, held: Held, stayed: Staying) -> Iterator[str]:
    """The target collections in which records that only the target has are to stay."""
    synced = set() if trip.settings.delete_extra else {drift.source for drift in held.drifts}
    # what comes to a user who stays may stand in either store
    yield from (c.target.qualified_name for c in held.plan.collections if c.source in stayed)
    for collection in held.plan.collections:
        stays = collection.if_exists is IfExists.SYNC and not trip.settings.delete_extra
        if stays or collection.if_exists is IfExists.APPEND or collection.source in synced:
            yield collection.target.qualified_name


def _synced(trip: Trip, held: Held) -> Iterator[str]:
    """The target collections that are synchronised, those in which nothing differed included."""
    compared = {drift.source for drift in held.drifts}
    for collection in held.plan.collections:
        kept = collection.if_exists is IfExists.KEEP and trip.settings.plan.if_exists is IfExists.SYNC
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
