"""The units of a run in the ledger: what stands in each row, read and written. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from vecferry.errors import LedgerError
from vecferry.state import schema as t
from vecferry.state.model import Unit, UnitState


def insert(connection: Connection, run: str, units: Sequence[Unit]) -> None:
    """Add those of `units` that are not known, behind those that are."""
    u = t.units.c
    known = {
        (row.collection, row.value) for row in connection.execute(select(u.collection, u.value).where(u.run == run))
    }
    new = [unit for unit in units if (unit.collection, unit.value) not in known]
    rows = [
        {"run": run, "collection": unit.collection, "value": unit.value, "ordinal": number, **_standing(unit)}
        for number, unit in enumerate(new, len(known))
    ]
    if rows:
        connection.execute(t.units.insert(), rows)


def begin(connection: Connection, run: str, unit: Unit) -> bool:
    """Write a unit that is begun; False, and nothing written, where it is paused or stays."""
    u = t.units.c
    free = u.paused.is_(None) & (u.state != UnitState.STAYS.value)
    return connection.execute(update(t.units).where(row_of(run, unit), free).values(**_standing(unit))).rowcount == 1


def change(connection: Connection, run: str, unit: Unit) -> None:
    """Write one unit as it is now.

    Raises:
        LedgerError: the run has no such unit.
    """
    if connection.execute(update(t.units).where(row_of(run, unit)).values(**_standing(unit))).rowcount != 1:
        raise LedgerError(
            f"Run {run} has no unit {unit.value} of '{unit.collection}'.",
            hint="This is a fault of vecferry; please report it with the ledger.",
        )


def left(connection: Connection, run: str, collection: str) -> int:
    """How many units of a collection are to be moved still."""
    u, settled = t.units.c, [UnitState.COMPLETED.value, UnitState.STAYS.value]
    mine = (u.run == run) & (u.collection == collection) & u.state.not_in(settled)
    return int(connection.execute(select(func.count()).where(mine)).scalar_one())


def row_of(run: str, unit: Unit) -> ColumnElement[bool]:
    """The condition of the row of a unit."""
    u = t.units.c
    return (u.run == run) & (u.collection == unit.collection) & (u.value == unit.value)


def _standing(unit: Unit) -> dict[str, Any]:
    return {
        "state": unit.state.value,
        "total": unit.total,
        "moved": unit.moved,
        "started": unit.started,
        "finished": unit.finished,
        "error": unit.error,
    }


def read(connection: Connection, run: str) -> Iterator[Unit]:
    """Every unit of a run, in the order in which they are moved."""
    query = select(t.units).where(t.units.c.run == run).order_by(t.units.c.ordinal)
    return (_unit(row) for row in connection.execute(query).all())


def _unit(row: Any) -> Unit:
    return Unit(
        collection=row.collection,
        value=row.value,
        state=UnitState(row.state),
        total=row.total,
        moved=row.moved,
        started=row.started,
        finished=row.finished,
        error=row.error,
        paused=row.paused is not None,
    )
