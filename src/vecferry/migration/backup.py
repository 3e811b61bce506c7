"""`--backup DIR`: a verified archive of the source, and of what is overwritten, before the first write."""

from __future__ import annotations

import time
from pathlib import Path

from vecferry.engine.job import job
from vecferry.engine.keeping import keeping
from vecferry.engine.run import migrate_collections
from vecferry.errors import DataError
from vecferry.events import Notice, Stage, silent
from vecferry.migration.stores import opened
from vecferry.migration.trip import Trip
from vecferry.migration.views import as_it_is, read_by
from vecferry.planning.inspect import inspect
from vecferry.planning.losses import check
from vecferry.planning.model import IfExists, Plan
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.protocols import Database
from vecferry.state.model import Outcome, Step
from vecferry.state.run import Run
from vecferry.verification.model import DATA_LEVELS, VerifyOptions
from vecferry.verification.run import verify

_OVERWRITING = frozenset({IfExists.RECREATE, IfExists.APPEND, IfExists.SYNC})


def write(trip: Trip, plan: Plan, run: Run, folder: Path) -> None:
    """Archive what the run reads and what it overwrites, each under the run's own folder of `folder`.

    A backup is a run of its own, so it is resumed as any other; one that is done is not made twice.

    Raises:
        DataError: the archive differs from what it was made of; nothing was written to the target.
    """
    if any(state.step is not Step.PLANNED for state in run.collections().values()):
        return
    began = time.monotonic()
    base = folder / run.id
    _archive(trip, as_it_is(trip.origin), plan.source_url, read_by(plan), base / "source", f"{run.id}-source")
    if doomed := _overwritten(plan, trip.goal):
        _archive(trip, trip.goal, plan.target_url, doomed, base / "target", f"{run.id}-target")
    trip.recorder(Notice(message=f"The backup lies in {base}, verified."))
    run.spend(plan.collections[0].source, Stage.BACKUP.value, time.monotonic() - began)


def _overwritten(plan: Plan, goal: Database) -> list[str]:
    """The target's collections that the run will recreate, append to or synchronise."""
    touched = {c.target.qualified_name for c in plan.collections if c.if_exists in _OVERWRITING}
    return sorted(s.qualified_name for s in goal.collections() if touched & {s.name, s.qualified_name})


def _archive(trip: Trip, database: Database, url: str, names: list[str], folder: Path, run_id: str) -> None:
    known = trip.ledger.run(run_id)
    if known is not None and known.outcome is Outcome.DONE:
        return
    target_url = f"files:{folder}"
    with opened(target_url) as archive:
        found = inspect(database, url=url, patterns=names, limits=archive.limits)
        plan = make_plan(found, database, archive, PlanOptions(collections=tuple(names)), target_url=target_url)
        check(plan)
        run = trip.ledger.open_run(job(plan), run_id=run_id)
        with keeping(run, stop=trip.stop, observer=silent):
            migrate_collections(plan, database, archive, run, options=trip.settings.engine, stop=trip.stop)
            pairs = [(collection.source, collection.target.qualified_name) for collection in plan.collections]
            promised = {collection.target.qualified_name: collection.target for collection in plan.collections}
            options = VerifyOptions(levels=DATA_LEVELS, promised=promised)
            proof = verify(database, archive, pairs, options=options, stop=trip.stop)
            if proof.differences:
                raise DataError(
                    f"The backup in {folder} differs from what it was made of in {proof.differences} places.",
                    hint="Nothing was written to the target. Check the disk, remove the folder and run again.",
                )
            run.close(Outcome.DONE)
