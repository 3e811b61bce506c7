"""One run, held: what its process may write into the ledger, each in one transaction that proves it still holds it."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select, update

from vecferry.errors import LedgerError, RunLocked
from vecferry.events import Event
from vecferry.model import PartitionId, Rejection
from vecferry.state import marks, units
from vecferry.state import schema as t
from vecferry.state.database import LedgerDatabase
from vecferry.state.lease import Owner
from vecferry.state.model import Checkpoint, CollectionState, IdProof, Job, Outcome, Step, Unit
from vecferry.state.reading import collection_states
from vecferry.state.rows import partition_rows

HISTORY = 2_000
"""Events that the ledger keeps of one run."""


class Run:
    """A run that this process holds under a fencing epoch. Thread-safe.

    Whatever it writes, it renews its lease in the same transaction. A holder that was taken over (it hung, and its
    lease ran out) can write nothing any more: every method that writes then raises `RunLocked`.
    """

    def __init__(
        self, database: LedgerDatabase, ident: str, epoch: int, *, lease_seconds: float, resumed: bool
    ) -> None:
        self.id = ident
        self.epoch = epoch
        self.resumed = resumed
        self.lease_seconds = lease_seconds
        self._database = database
        self._expires = time.time() + lease_seconds
        self._events: deque[Event] = deque(maxlen=HISTORY)
        self._lock = threading.Lock()

    # ----------------------------------------------------------------------- reading

    def collections(self) -> dict[str, CollectionState]:
        """Every collection with its checkpoints, by source name, in the order of the plan."""
        with self._database.reading() as connection:
            return {state.source: state for state in collection_states(connection, self.id)}

    # ----------------------------------------------------------------------- the lease

    def heartbeat(self) -> None:
        """Renew the lease.

        Raises:
            RunLocked: the run was taken over.
        """
        with self._holding():
            pass

    def ensure_held(self) -> None:
        """Cheap check before every write to the target: a lease that ran out is renewed first, or given up.

        Raises:
            RunLocked: the run was taken over.
        """
        if time.time() >= self._expires:
            self.heartbeat()

    # ----------------------------------------------------------------------- progress

    def commit(
        self, collection: str, partition: PartitionId, checkpoint: Checkpoint, rejections: Sequence[Rejection] = ()
    ) -> None:
        """Move a partition's checkpoint, and put the records rejected on the way into quarantine: both, or neither.

        Raises:
            LedgerError: the partition is done already, is unknown, or the checkpoint would move backwards.
            RunLocked: the run was taken over.
        """
        p = t.partitions.c
        statement = (
            update(t.partitions)
            .where(p.run == self.id, p.collection == collection, p.id == partition)
            .where(p.done.is_(False), p.read <= checkpoint.read)
            .values(
                position=checkpoint.position,
                read=checkpoint.read,
                written=checkpoint.written,
                skipped=checkpoint.skipped,
                rejected=checkpoint.rejected,
                bytes=checkpoint.bytes,
                done=checkpoint.done,
                updated=time.time(),
            )
        )
        with self._holding() as connection:
            if connection.execute(statement).rowcount != 1:
                raise LedgerError(
                    f"Partition {partition} of '{collection}' cannot take this checkpoint: it is done, unknown, or "
                    "further already.",
                    hint="This is a fault of vecferry or of the source's positions; please report it with the ledger.",
                )
            if rejections:
                connection.execute(t.rejections.insert(), list(self._rejection_rows(collection, partition, rejections)))

    def set_aside(self, collection: str, rejections: Sequence[Rejection]) -> None:
        """Note the records of a collection that is synchronised, not copied, that the plan keeps out of the target."""
        rows = list(self._rejection_rows(collection, PartitionId(""), rejections))
        r = t.rejections
        with self._holding() as connection:
            connection.execute(delete(r).where(r.c.run == self.id, r.c.collection == collection))
            if rows:
                connection.execute(r.insert(), rows)

    def _rejection_rows(
        self, collection: str, partition: PartitionId, rejections: Iterable[Rejection]
    ) -> Iterator[dict[str, str]]:
        for rejection in rejections:
            yield {
                "run": self.id,
                "collection": collection,
                "partition": partition,
                "record": rejection.id,
                "reason": rejection.reason,
            }

    def mark(self, collection: str, step: Step, *, fresh: bool | None = None) -> None:
        """Note that a collection reached `step`. A step never goes back."""
        with self._holding() as connection:
            self._mark(connection, collection, step, {} if fresh is None else {"fresh": fresh})

    def copied(self, collection: str) -> bool:
        """Note that a collection is copied; False, and nothing noted, where a unit of it is to be moved still.

        Looked up and noted at once: from then on, `marks.go_on` refuses to have one moved that was to stay.
        """
        with self._holding() as connection:
            if units.left(connection, self.id, collection):
                return False
            self._mark(connection, collection, Step.COPIED, {})
            return True

    def _mark(self, connection: Connection, collection: str, step: Step, values: dict[str, Any]) -> None:
        behind = [other.value for other in Step if step.reached(other)]
        c = t.collections.c
        mine = (c.run == self.id) & (c.source == collection) & c.step.in_(behind)
        connection.execute(update(t.collections).where(mine).values(step=step.value, **values))

    def spend(self, collection: str, stage: str, seconds: float) -> None:
        """Add to the time that a collection took in one stage."""
        c = t.collections.c
        mine = (c.run == self.id) & (c.source == collection)
        with self._holding() as connection:
            spent = json.loads(connection.execute(select(c.seconds).where(mine)).scalar_one())
            spent[stage] = spent.get(stage, 0.0) + seconds
            connection.execute(update(t.collections).where(mine).values(seconds=json.dumps(spent)))

    def prove_ids(self, collection: str, proof: IdProof) -> None:
        """Remember that no two ids of a collection fall on one target id."""
        p = t.id_proofs
        with self._holding() as connection:
            connection.execute(delete(p).where(p.c.run == self.id, p.c.collection == collection))
            connection.execute(
                p.insert().values(
                    run=self.id,
                    collection=collection,
                    rule=proof.rule,
                    records=proof.records,
                    rewritten=proof.rewritten,
                    at=proof.at,
                )
            )

    def id_proofs(self) -> dict[str, IdProof]:
        """The proofs of this run, by collection."""
        p = t.id_proofs.c
        with self._database.reading() as connection:
            return {
                row.collection: IdProof(rule=row.rule, records=row.records, rewritten=row.rewritten, at=row.at)
                for row in connection.execute(select(t.id_proofs).where(p.run == self.id))
            }

    # ----------------------------------------------------------------------- units

    def units(self) -> list[Unit]:
        """The units of this run, in the order in which they are moved; none where it has none."""
        with self._database.reading() as connection:
            return list(units.read(connection, self.id))

    def begin_unit(self, unit: Unit) -> bool:
        """Note that a unit is begun, as `unit` says; False where it was paused meanwhile, or is to stay."""
        with self._holding() as connection:
            return units.begin(connection, self.id, unit)

    def change_unit(self, unit: Unit) -> None:
        """Note how a unit stands now; whether it is paused is for others to say.

        Raises:
            LedgerError: the run has no such unit.
        """
        with self._holding() as connection:
            units.change(connection, self.id, unit)

    def paused(self, unit: Unit | None = None) -> bool:
        """Whether somebody asked for a pause of this run, or of `unit`."""
        with self._database.reading() as connection:
            return marks.is_paused(connection, self.id, unit)

    def extend(self, job: Job) -> None:
        """Take over the plan of `job` with partitions and units behind those that are known, which stay as they are."""
        with self._holding() as connection:
            connection.execute(
                update(t.runs)
                .where(t.runs.c.id == self.id)
                .values(fingerprint=job.fingerprint, facts=json.dumps(dict(job.facts)), plan=job.plan)
            )
            p = t.partitions.c
            known = {
                (row.collection, row.id)
                for row in connection.execute(select(p.collection, p.id).where(p.run == self.id))
            }
            rows = [
                row for row in partition_rows(self.id, job, time.time()) if (row["collection"], row["id"]) not in known
            ]
            if rows:
                connection.execute(t.partitions.insert(), rows)
            units.insert(connection, self.id, [unit for target in job.collections for unit in target.units])

    def note(self, event: Event) -> None:
        """Keep an event for the history; it is written with the next thing that is."""
        self._events.append(event)

    def close(self, outcome: Outcome, *, error: str = "") -> None:
        """End this run, or let go of it where `outcome` is resumable. `error` is for `vecferry status`.

        Raises:
            RunLocked: the run was taken over; then there is nothing to end.
        """
        finished = None if outcome.resumable else time.time()
        with self._holding() as connection:
            connection.execute(
                update(t.runs)
                .where(t.runs.c.id == self.id)
                .values(outcome=outcome.value, error=error, finished=finished, owner="", lease_expires=0.0)
            )
        self._expires = 0.0

    # ----------------------------------------------------------------------- inside a transaction

    @contextmanager
    def _holding(self) -> Iterator[Connection]:
        """A transaction in which the run is ours: its first statement renews the lease, or finds it gone.

        That statement also locks the run's row, so no take-over can come between it and the commit.
        """
        expires = time.time() + self.lease_seconds
        with self._database.transaction() as connection:
            renewed = connection.execute(
                update(t.runs)
                .where(t.runs.c.id == self.id, t.runs.c.epoch == self.epoch, t.runs.c.owner != "")
                .values(lease_expires=expires)
            )
            if renewed.rowcount != 1:
                raise self._lost(connection)
            self._write_events(connection)
            yield connection
        self._expires = max(self._expires, expires)

    def _write_events(self, connection: Connection) -> None:
        with self._lock:
            events = [self._events.popleft() for _ in range(len(self._events))]
        if not events:
            return
        connection.execute(
            t.events.insert(),
            [
                {
                    "run": self.id,
                    "at": event.at,
                    "kind": type(event).__name__,
                    "body": msgspec.json.encode(event).decode(),
                }
                for event in events
            ],
        )
        mine = t.events.c.run == self.id
        oldest = select(t.events.c.seq).where(mine).order_by(t.events.c.seq.desc()).offset(HISTORY).limit(1)
        connection.execute(delete(t.events).where(mine, t.events.c.seq <= oldest.scalar_subquery()))

    def _lost(self, connection: Connection) -> RunLocked:
        row = connection.execute(select(t.runs).where(t.runs.c.id == self.id)).one_or_none()
        owner = Owner.parse(row.owner) if row is not None else None
        return RunLocked(
            f"This process no longer holds run {self.id}"
            + (f": {owner.shown} took it over." if owner else ": it was ended or given up elsewhere."),
            hint="Nothing is lost: whoever holds the run goes on from its last checkpoint. See `vecferry status`.",
            run=self.id,
        )
