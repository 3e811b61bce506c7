"""Rows of the ledger's tables as values. Reads only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from vecferry.model import PartitionId, Position
from vecferry.state import schema as t
from vecferry.state.lease import Owner
from vecferry.state.model import Checkpoint, CollectionState, Outcome, RunInfo, Step


def held(row: Row[Any]) -> bool:
    """True while the run's holder may be alive and its lease runs."""
    owner = Owner.parse(row.owner)
    return owner is not None and not owner.certainly_dead and time.time() < row.lease_expires


def run_info(connection: Connection, row: Row[Any]) -> RunInfo:
    owner = Owner.parse(row.owner)
    running = row.finished is None and held(row)
    return RunInfo(
        id=row.id,
        key=row.job_key,
        source=row.source,
        target=row.target,
        fingerprint=row.fingerprint,
        plan=row.plan,
        request=json.loads(row.request),
        created=row.created,
        finished=row.finished,
        outcome=_outcome(row, running=running),
        error=row.error,
        running=running,
        holder=owner.shown if owner and running else "",
        collections=tuple(collection_states(connection, row.id)),
        paused=row.paused is not None and row.finished is None,
    )


def _outcome(row: Row[Any], *, running: bool) -> Outcome | None:
    """None while it runs; a holder that died without a word counts as interrupted."""
    if running:
        return None
    return Outcome(row.outcome) if row.outcome and not row.owner else Outcome.INTERRUPTED


def collection_states(connection: Connection, run: str) -> Iterable[CollectionState]:
    """Every collection of a run with its checkpoints, in the order of the plan."""
    query = select(t.collections).where(t.collections.c.run == run).order_by(t.collections.c.ordinal)
    for row in connection.execute(query).all():
        yield CollectionState(
            source=row.source,
            target=row.target,
            step=Step(row.step),
            fresh=row.fresh,
            seconds=json.loads(row.seconds),
            checkpoints=_checkpoints(connection, run, row.source),
        )


def _checkpoints(connection: Connection, run: str, collection: str) -> dict[PartitionId, Checkpoint]:
    query = (
        select(t.partitions)
        .where(t.partitions.c.run == run, t.partitions.c.collection == collection)
        .order_by(t.partitions.c.ordinal)
    )
    return {
        PartitionId(row.id): Checkpoint(
            position=None if row.position is None else Position(row.position),
            read=row.read,
            written=row.written,
            skipped=row.skipped,
            rejected=row.rejected,
            bytes=row.bytes,
            done=row.done,
        )
        for row in connection.execute(query)
    }
