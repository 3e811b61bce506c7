"""The ledger: every run that was ever begun, and the door to go on with one."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Row, select, update

from vecferry.errors import PlanChanged, RunLocked
from vecferry.hooks import reach
from vecferry.model import Rejection
from vecferry.state import marks, units
from vecferry.state import schema as t
from vecferry.state.database import LedgerDatabase
from vecferry.state.lease import Owner
from vecferry.state.model import Job, Outcome, PastEvent, Quarantined, RunInfo, Step, Unit
from vecferry.state.paths import ledger_location, snapshot_folder
from vecferry.state.reading import held, run_info
from vecferry.state.rows import partition_rows
from vecferry.state.run import Run

LEASE_SECONDS = 30.0
"""A run whose holder was not heard of for so long may be taken over, unless it is known to be dead before."""


class Ledger:
    """The open ledger. Thread-safe. Who opens it closes it.

    `location` is a path or a database URL; None takes $VECFERRY_LEDGER, else the user's own ledger.

    Raises:
        StoreFull: its file cannot be written.
        LedgerTooNew: a later vecferry wrote it.
        LedgerError: it is not a ledger.
        ConfigError: not a location.
    """

    def __init__(self, location: str | Path | None = None, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = LedgerDatabase(ledger_location(location))
        self._lease_seconds = lease_seconds

    @property
    def location(self) -> str:
        """Where it lies; may hold a password where it is a URL: never print it."""
        return self._database.location

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def snapshot_folder(self, run: str) -> Path:
        """Where run `run` keeps the snapshot that it reads until it ends."""
        return snapshot_folder(self.location, run)

    # ----------------------------------------------------------------------- runs

    def open_run(self, job: Job, *, run_id: str | None = None, restart: bool = False) -> Run:
        """Begin a run of `job`, or go on with its unfinished one; this process holds it until `Run.close`.

        `run_id` names a new run (see `new_run_id`); `restart` gives the unfinished one up first.

        Raises:
            RunLocked: another live process holds it, or a run that writes into one of the same collections.
            PlanChanged: the unfinished run has another plan; lists what changed and both ways to go on.
        """
        owner = Owner.me()
        with self._database.reading() as connection:  # a holder that is frozen while it writes is named all the same
            self._refuse_rivals(connection, job)
        with self._database.transaction() as connection:
            found = _unfinished(connection, job.key)
            self._refuse_rivals(connection, job)
            if found is not None and restart:
                _drop(connection, found)
                found = None
            if found is None:
                ident, epoch = run_id or new_run_id(), 1
                self._insert(connection, job, ident, owner)
            else:
                _refuse_changes(found, job)
                ident, epoch = found.id, found.epoch + 1
                self._take(connection, ident, epoch, owner)
            units.insert(connection, ident, [unit for target in job.collections for unit in target.units])
        reach("plan.saved")
        return Run(self._database, ident, epoch, lease_seconds=self._lease_seconds, resumed=found is not None)

    def attach(self, run: str, epoch: int) -> Run:
        """The run `run` for a worker process of the one that holds it under `epoch`: it may commit, and no more.

        Raises:
            RunLocked: the run has passed to another holder.
        """
        handle = Run(self._database, run, epoch, lease_seconds=self._lease_seconds, resumed=True)
        handle.heartbeat()
        return handle

    def unfinished(self, job_key: str) -> RunInfo | None:
        """The unfinished run of a job, or None."""
        with self._database.reading() as connection:
            row = _unfinished(connection, job_key)
            return None if row is None else run_info(connection, row)

    def run(self, run: str) -> RunInfo | None:
        """The run with this id, or None."""
        with self._database.reading() as connection:
            row = connection.execute(select(t.runs).where(t.runs.c.id == run)).one_or_none()
            return None if row is None else run_info(connection, row)

    def history(self, *, limit: int = 20) -> list[RunInfo]:
        """The latest runs, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(t.runs).order_by(t.runs.c.created.desc(), t.runs.c.id).limit(limit))
            return [run_info(connection, row) for row in rows.all()]

    def rejections(self, run: str, *, limit: int | None = None) -> list[Quarantined]:
        """The records of a run that did not reach its target, in the order they were met."""
        query = select(t.rejections).where(t.rejections.c.run == run).order_by(t.rejections.c.seq).limit(limit)
        with self._database.reading() as connection:
            return [
                Quarantined(row.collection, row.partition, Rejection(row.record, row.reason))
                for row in connection.execute(query)
            ]

    def units(self, run: str) -> list[Unit]:
        """The units of a run, in the order in which they are moved; none where it has none."""
        with self._database.reading() as connection:
            return list(units.read(connection, run))

    # ----------------------------------------------------------------------- asked from outside

    def pause(self, run: str, units: Sequence[Unit] = ()) -> None:
        """Ask that a run waits, or that these units of it are left alone for now; see `vecferry.state.marks`."""
        with self._database.transaction() as connection:
            marks.pause(connection, run, units)

    def stay(self, run: str, units: Sequence[Unit]) -> None:
        """Mark units of a run that are never to be moved."""
        with self._database.transaction() as connection:
            marks.stay(connection, run, units)

    def go_on(self, run: str, units: Sequence[Unit] = ()) -> None:
        """Take either back."""
        with self._database.transaction() as connection:
            marks.go_on(connection, run, units)

    def latest(self, run: str, kind: str) -> PastEvent | None:
        """The latest event of this class in the history of a run."""
        e = t.events.c
        query = select(t.events).where(e.run == run, e.kind == kind).order_by(e.seq.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else PastEvent(row.at, row.kind, row.body)

    def events(self, run: str) -> list[PastEvent]:
        """The bounded history of a run, oldest first."""
        query = select(t.events).where(t.events.c.run == run).order_by(t.events.c.seq)
        with self._database.reading() as connection:
            return [PastEvent(row.at, row.kind, row.body) for row in connection.execute(query)]

    # ----------------------------------------------------------------------- inside a transaction

    def _insert(self, connection: Connection, job: Job, ident: str, owner: Owner) -> None:
        now = time.time()
        connection.execute(
            t.runs.insert().values(
                id=ident,
                job_key=job.key,
                source=job.source,
                target=job.target,
                fingerprint=job.fingerprint,
                facts=json.dumps(dict(job.facts)),
                request=json.dumps(dict(job.request)),
                plan=job.plan,
                created=now,
                epoch=1,
                owner=str(owner),
                lease_expires=now + self._lease_seconds,
            )
        )
        for ordinal, target in enumerate(job.collections):
            connection.execute(
                t.collections.insert().values(
                    run=ident, source=target.source, target=target.target, ordinal=ordinal, step=Step.PLANNED.value
                )
            )
        if rows := list(partition_rows(ident, job, now)):
            connection.execute(t.partitions.insert(), rows)

    def _take(self, connection: Connection, ident: str, epoch: int, owner: Owner) -> None:
        connection.execute(
            update(t.runs)
            .where(t.runs.c.id == ident)
            .values(epoch=epoch, owner=str(owner), lease_expires=time.time() + self._lease_seconds)
        )

    def _refuse_rivals(self, connection: Connection, job: Job) -> None:
        """Refuse where a live process holds this job, or another that writes into one of its collections."""
        rivals = (
            select(t.runs, t.collections.c.target.label("rival"))
            .join(t.collections, t.collections.c.run == t.runs.c.id)
            .where(t.runs.c.target == job.target, t.runs.c.finished.is_(None), t.runs.c.owner != "")
        )
        names = {target.target for target in job.collections}
        for row in connection.execute(rivals):
            if (row.job_key == job.key or row.rival in names) and held(row):
                raise _locked(row, None if row.job_key == job.key else row.rival)


def new_run_id() -> str:
    """A new run's id: the time, for people, and a random part."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _unfinished(connection: Connection, job_key: str) -> Row[Any] | None:
    query = select(t.runs).where(t.runs.c.job_key == job_key, t.runs.c.finished.is_(None))
    return connection.execute(query).one_or_none()


def _locked(row: Row[Any], rival: str | None) -> RunLocked:
    owner = Owner.parse(row.owner)
    who = owner.shown if owner else "another process"
    left = max(1, round(row.lease_expires - time.time()))
    what = f"Run {row.id}" if rival is None else f"Run {row.id}, which writes into the same collection '{rival}',"
    return RunLocked(
        f"{what} is held by {who}.",
        hint=f"Wait for it, or stop it there with Ctrl-C. If it hangs, it may be taken over once it was silent for "
        f"{left} s more. `vecferry status` shows how far it is.",
        run=str(row.id),
        holder=who,
    )


def _drop(connection: Connection, row: Row[Any]) -> None:
    connection.execute(
        update(t.runs)
        .where(t.runs.c.id == row.id)
        .values(
            finished=time.time(), outcome=Outcome.DROPPED.value, owner="", lease_expires=0.0, epoch=t.runs.c.epoch + 1
        )
    )


def _refuse_changes(row: Row[Any], job: Job) -> None:
    """Refuse a plan whose facts differ, or a request that differs where both say something.

    An option that only one version of vecferry knows must not make an older run unresumable; whatever it changes in
    the target changes the facts too.
    """
    before = json.loads(row.request)
    both = before.keys() & job.request.keys()
    changes = _changes({n: before[n] for n in both}, {n: job.request[n] for n in job.request if n in both})
    if row.fingerprint != job.fingerprint:
        changes += _changes(json.loads(row.facts), dict(job.facts))
    if not changes:
        return
    shown = "".join(f"\n     {line}" for line in changes[:20])
    more = f"\n     and {len(changes) - 20} more" if len(changes) > 20 else ""
    raise PlanChanged(
        f"Run {row.id} of the same job is not finished, and its plan differs from the one asked for:{shown}{more}",
        hint="Give the options of the unfinished run to go on with it, or --restart to give it up and begin anew.",
        run=str(row.id),
        changes=len(changes),
    )


def _changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """One line for each name whose value differs."""
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name}: was {old.get(name, '(absent)')}, now {new.get(name, '(absent)')}"
        for name in names
        if old.get(name) != new.get(name)
    ]
