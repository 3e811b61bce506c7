"""What somebody asks of a run from outside: a pause of all of it or of units, and units that stay in the source.

Any process may; the one that holds the run finds it in the ledger. Inside the caller's transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from vecferry.errors import ConfigError
from vecferry.state import schema as t
from vecferry.state.model import Outcome, Step, Unit, UnitState
from vecferry.state.reading import held
from vecferry.state.units import row_of


def is_paused(connection: Connection, run: str, unit: Unit | None) -> bool:
    """Whether the run is paused, or `unit` of it is."""
    if connection.execute(select(t.runs.c.paused).where(t.runs.c.id == run)).scalar_one() is not None:
        return True
    if unit is None:
        return False
    return connection.execute(select(t.units.c.paused).where(row_of(run, unit))).scalar() is not None


def pause(connection: Connection, run: str, units: Sequence[Unit]) -> None:
    """Pause these units, or the run where none are named.

    Raises:
        ConfigError: the run is not to go on, or a unit of it is moved, or stays.
    """
    row = _run(connection, run)
    if row.finished is not None:
        raise ConfigError(f"Run {run} has ended.", hint="`vecferry status` shows which runs can be paused.")
    for unit in units:
        _set(connection, run, unit, {"paused": time.time()}, not_in={UnitState.COMPLETED, UnitState.STAYS})
    if not units:
        connection.execute(update(t.runs).where(t.runs.c.id == run).values(paused=time.time()))


def stay(connection: Connection, run: str, units: Sequence[Unit]) -> None:
    """Mark units that nothing is moved of as such that stay in the source.

    Raises:
        ConfigError: one is moved already, or is being moved.
    """
    moving = {UnitState.IN_PROGRESS} if held(_run(connection, run)) else set()
    values = {"state": UnitState.STAYS.value, "paused": None, "error": ""}
    for unit in units:
        _set(connection, run, unit, values, not_in={UnitState.COMPLETED, *moving})


def go_on(connection: Connection, run: str, units: Sequence[Unit]) -> None:
    """Take back a pause, or that units stay; of the whole run where none are named, those that stay excepted.

    A run that has ended is opened again for units that stayed: the same command moves them.

    Raises:
        ConfigError: it has ended, and cannot be opened again or no unit is named; or its process is past copying.
    """
    row = _run(connection, run)
    if not units and row.finished is not None:
        raise ConfigError(f"Run {run} has ended.", hint="A unit of it that stayed: `vecferry resume --unit VALUE`.")
    if not units:
        connection.execute(update(t.runs).where(t.runs.c.id == run).values(paused=None))
        return
    u = t.units.c
    for unit in units:
        mine = row_of(run, unit)
        connection.execute(update(t.units).where(mine).values(paused=None))
        freed = update(t.units).where(mine, u.state == UnitState.STAYS.value).values(state=UnitState.PENDING.value)
        if connection.execute(freed).rowcount:
            _open_again(connection, row, unit.collection)


def _open_again(connection: Connection, row: Row[Any], collection: str) -> None:
    """Let the run go on with this collection, whatever it had come to."""
    c, behind = t.collections.c, [step.value for step in Step if step.reached(Step.COPIED)]
    mine = (c.run == row.id) & (c.source == collection) & c.step.in_(behind)
    back = connection.execute(update(t.collections).where(mine).values(step=Step.PREPARED.value)).rowcount
    if back and row.finished is None and held(row):
        raise ConfigError(
            f"Run {row.id} is past copying '{collection}'.", hint="Wait until it has ended, then say it again."
        )
    if row.finished is not None:
        _check_not_followed(connection, row)
        again = {"finished": None, "outcome": Outcome.INTERRUPTED.value, "paused": None}
        connection.execute(update(t.runs).where(t.runs.c.id == row.id).values(**again))


def _check_not_followed(connection: Connection, row: Row[Any]) -> None:
    """A run that another one of the same job followed stays ended: what it left is the other's by now.

    One that copied nothing (`sync`, or a migration that found all of it there) leaves it as it was.
    """
    r, p = t.runs.c, t.partitions.c
    wrote = select(p.id).where(p.run == r.id, (p.read > 0) | p.done).exists()
    later = (r.job_key == row.job_key) & (r.created > row.created) & (r.finished.is_(None) | wrote)
    latest = connection.execute(select(r.id).where(later).order_by(r.created.desc()).limit(1)).scalar()
    if latest is not None:
        raise ConfigError(
            f"Run {row.id} cannot go on: run {latest} of the same stores followed it.",
            hint=f"Name the unit of that one, if it has it: --run {latest}.",
        )
    if row.outcome == Outcome.DROPPED.value:
        raise ConfigError(f"Run {row.id} was given up.", hint="Begin anew, with `vecferry migrate`.")


def _set(connection: Connection, run: str, unit: Unit, values: dict[str, Any], *, not_in: set[UnitState]) -> None:
    states = [state.value for state in not_in]
    changed = update(t.units).where(row_of(run, unit), t.units.c.state.not_in(states)).values(**values)
    if connection.execute(changed).rowcount != 1:
        state = connection.execute(select(t.units.c.state).where(row_of(run, unit))).scalar()
        told, hint = _REFUSED.get(state or "", _UNKNOWN)
        raise ConfigError(f"Unit {unit.value} of '{unit.collection}' {told}. Nothing was changed.", hint=hint)


_UNKNOWN = "is not there", "`vecferry status --units` lists the units and how each stands."
_REFUSED = {
    UnitState.COMPLETED.value: ("is completed", "What it gets from now on comes with `vecferry sync`."),
    UnitState.IN_PROGRESS.value: ("is in progress", "Pause it first: `vecferry pause --unit VALUE`."),
    UnitState.STAYS.value: ("stays in the source", "To have it moved: `vecferry resume --unit VALUE`."),
}


def _run(connection: Connection, run: str) -> Row[Any]:
    found = connection.execute(select(t.runs).where(t.runs.c.id == run)).one_or_none()
    if found is None:
        raise ConfigError(f"The ledger knows no run '{run}'.", hint="`vecferry status` lists those that it knows.")
    return found
