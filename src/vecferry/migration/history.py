"""What the ledger knows, for a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from vecferry.engine.job import load_plan
from vecferry.errors import ConfigError
from vecferry.events import Eased
from vecferry.planning.model import Plan
from vecferry.state.ledger import Ledger
from vecferry.state.model import CollectionState, RunInfo, Step, Unit, UnitState
from vecferry.tables.units import shown, unit_of

PAUSED = "paused"
LOOK_EVERY = 1.0
"""Seconds between two looks of `watch`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatus:
    """How far one collection of a run is."""

    source: str
    target: str
    step: str
    records: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """One unit of a run: the records of `collection` with one value of the column that makes units.

    Attributes:
        value: as the store prints it, `null` where the column is empty.
        state: pending, in_progress, completed, failed, stays or paused.
        moved: records that the target holds of `total`; of a unit that is not completed, those committed so far.
        started, finished: UTC.
    """

    collection: str
    value: str
    state: str
    total: int
    moved: int
    started: datetime | None = None
    finished: datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceStatus:
    """How fast a run may read its source now (`--pace`), as it was noted last.

    Attributes:
        at: when it was noted, UTC; per_second: records; cuts: how often it was made less.
        p95: of the source's latest searches; `idle` before anything was read, `bound` what it may become: in seconds.
    """

    at: datetime
    per_second: float
    p95: float
    idle: float
    bound: float
    cuts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run. `state` is running, paused, interrupted, failed, done, different or dropped; times are UTC.

    `holder` names the process that has it, waiting where it is paused; empty where there is none.
    """

    id: str
    created: datetime
    source: str
    target: str
    records: int
    done: int
    state: str
    error: str = ""
    holder: str = ""
    collections: tuple[CollectionStatus, ...] = ()
    units: tuple[UnitStatus, ...] = ()
    pace: PaceStatus | None = None

    @property
    def unit_counts(self) -> dict[str, int]:
        """State -> units that stand there; states without any are left out."""
        states = (*(state.value for state in UnitState), PAUSED)
        counts = {state: sum(unit.state == state for unit in self.units) for state in states}
        return {state: count for state, count in counts.items() if count}


def status(ledger: str | None = None, *, limit: int = 20, run: str | None = None) -> list[RunStatus]:
    """The latest runs, newest first, or the one with the id `run`.

    Raises:
        ConfigError: no run has that id.
        LedgerError, LedgerTooNew, StoreFull: the ledger cannot be opened.
    """
    with Ledger(ledger) as opened:
        found = opened.history(limit=limit) if run is None else [_run(opened, run)]
        return [_status(opened, info) for info in found]


def watch(
    ledger: str | None = None,
    *,
    run: str | None = None,
    every: float = LOOK_EVERY,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[RunStatus]:
    """How a run stands, again and again until no process holds it: `run`, else the latest. Nothing where there is none.

    Raises:
        ConfigError: no run has that id.
        LedgerError, LedgerTooNew, StoreFull: the ledger cannot be opened, or read any more.
    """
    with Ledger(ledger) as opened:
        if run is None:
            run = next((info.id for info in opened.history(limit=1)), None)
        while run is not None:
            found = _status(opened, _run(opened, run))
            yield found
            if not found.holder:
                return
            wait(every)


def run_status(ledger: Ledger, run: str) -> RunStatus:
    """One run of an open ledger.

    Raises:
        ConfigError: no run has that id.
    """
    return _status(ledger, _run(ledger, run))


def _run(ledger: Ledger, run: str) -> RunInfo:
    found = ledger.run(run)
    if found is None:
        raise ConfigError(f"The ledger knows no run '{run}'.", hint="`vecferry status` lists those that it knows.")
    return found


def _status(ledger: Ledger, info: RunInfo) -> RunStatus:
    plan = load_plan(info.plan)
    kept = _there(plan, info)
    done = {state.source: kept.get(state.source, state.total.read) for state in info.collections}
    records = {c.source: max(c.records, done.get(c.source, 0)) for c in plan.collections}  # it may have grown since
    return RunStatus(
        id=info.id,
        created=datetime.fromtimestamp(info.created, UTC),
        source=plan.source_url,
        target=plan.target_url,
        records=max(plan.records, sum(records.values())),
        done=sum(done.values()),
        state=_state(info),
        error=info.error,
        holder=info.holder,
        collections=tuple(
            CollectionStatus(
                source=state.source,
                target=state.target,
                step=state.step,
                records=records.get(state.source, 0),
                done=done[state.source],
            )
            for state in info.collections
        ),
        units=tuple(_units(ledger.units(info.id), info)),
        pace=_pace(ledger, info.id),
    )


def _pace(ledger: Ledger, run: str) -> PaceStatus | None:
    noted = ledger.latest(run, Eased.__name__)
    if noted is None:
        return None
    event = msgspec.json.decode(noted.body, type=Eased)
    return PaceStatus(
        at=datetime.fromtimestamp(event.at, UTC),
        per_second=event.per_second,
        p95=event.p95,
        idle=event.idle,
        bound=event.bound,
        cuts=event.cuts,
    )


def _state(info: RunInfo) -> str:
    if info.paused:
        return PAUSED
    return "running" if info.running else str(info.outcome or "unknown")


def _units(units: list[Unit], info: RunInfo) -> Iterator[UnitStatus]:
    """Units with what their partitions' checkpoints say of those that are not through."""
    records = committed(info.collections) if units else {}
    for unit in units:
        moved = unit.moved if unit.state is UnitState.COMPLETED else records.get((unit.collection, unit.value), 0)
        yield UnitStatus(
            collection=unit.collection,
            value=shown(unit.value),
            state=PAUSED if unit.paused and not unit.settled else unit.state.value,
            total=max(unit.total, moved),
            moved=moved,
            started=_utc(unit.started),
            finished=_utc(unit.finished),
            error=unit.error,
        )


def committed(collections: Iterable[CollectionState]) -> dict[tuple[str, str], int]:
    """(collection, unit as JSON text) -> records that the target holds, by the checkpoints of the unit's partitions."""
    found: dict[tuple[str, str], int] = {}
    for state in collections:
        for partition, checkpoint in state.checkpoints.items():
            unit = unit_of(partition)
            if unit is not None:
                key = state.source, unit
                found[key] = found.get(key, 0) + checkpoint.written + checkpoint.skipped
    return found


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _there(plan: Plan, info: RunInfo) -> dict[str, int]:
    """Source -> its records, for collections that were not copied: what is kept, and what is synchronised by now."""
    synced = {c.source for c in plan.synced}
    ready = {state.source for state in info.collections if state.step.reached(Step.FINISHED)}
    return {c.source: c.records for c in plan.collections if c in plan.kept or c.source in synced & ready}
