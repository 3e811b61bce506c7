"""What the ledger knows, for a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from vecferry.engine.job import load_plan
from vecferry.planning.model import Plan
from vecferry.state.ledger import Ledger
from vecferry.state.model import RunInfo, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatus:
    """How far one collection of a run is."""

    source: str
    target: str
    step: str
    records: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run. `state` is running, interrupted, failed, done, different or dropped; times are UTC."""

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


def status(ledger: str | None = None, *, limit: int = 20) -> list[RunStatus]:
    """The latest runs, newest first.

    Raises:
        LedgerError, LedgerTooNew, StoreFull: the ledger cannot be opened.
    """
    with Ledger(ledger) as opened:
        return [_status(info) for info in opened.history(limit=limit)]


def _status(info: RunInfo) -> RunStatus:
    plan = load_plan(info.plan)
    records = {collection.source: collection.records for collection in plan.collections}
    kept = _there(plan, info)
    return RunStatus(
        id=info.id,
        created=datetime.fromtimestamp(info.created, UTC),
        source=plan.source_url,
        target=plan.target_url,
        records=plan.records,
        done=sum(kept.get(state.source, state.total.read) for state in info.collections),
        state="running" if info.running else str(info.outcome or "unknown"),
        error=info.error,
        holder=info.holder,
        collections=tuple(
            CollectionStatus(
                source=state.source,
                target=state.target,
                step=state.step,
                records=records.get(state.source, 0),
                done=kept.get(state.source, state.total.read),
            )
            for state in info.collections
        ),
    )


def _there(plan: Plan, info: RunInfo) -> dict[str, int]:
    """Source -> its records, for collections that were not copied: what is kept, and what is synchronised by now."""
    synced = {c.source for c in plan.synced}
    ready = {state.source for state in info.collections if state.step.reached(Step.FINISHED)}
    return {c.source: c.records for c in plan.collections if c in plan.kept or c.source in synced & ready}
