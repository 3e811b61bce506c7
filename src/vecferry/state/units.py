"""The units of a run in the ledger: what stands in each row, read and written. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from vecferry.state import schema as t
from vecferry.state.model import Unit, UnitState


def insert(connection: Connection, run: str, units: Sequence[Unit]) -> None:
    """Add units behind those that are there."""
    u = t.units
    there = len(connection.execute(select(u.c.value).where(u.c.run == run)).all())
    rows = [
        {"run": run, "collection": unit.collection, "value": unit.value, "ordinal": there + number, **_standing(unit)}
        for number, unit in enumerate(units)
    ]
    if rows:
        connection.execute(u.insert(), rows)


def change(connection: Connection, run: str, unit: Unit) -> None:
    """Write one unit as it is now; one that is not known is added: its run may have died before it was noted."""
    u = t.units.c
    mine = (u.run == run) & (u.collection == unit.collection) & (u.value == unit.value)
    if connection.execute(update(t.units).where(mine).values(**_standing(unit))).rowcount == 0:
        insert(connection, run, [unit])


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
    )
