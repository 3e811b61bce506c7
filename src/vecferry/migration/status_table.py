"""The units of a run in a table of a SQL database, so that a product's own admin page can read how far each is.

    vector_migration_status(user_id PRIMARY KEY, total_chunks, migrated_chunks, status, started_at, completed_at, error)

is what teams draw for themselves; `status` is pending, in_progress, completed, failed or stays, times are UTC. A table
that is there is used as it is, and one whose ENUM has no `stays` gets `pending`; rows of other values stay. A thread of
its own writes, so that a slow database slows nothing, and one that fails is told of once and tried again with the next
change.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy.exc import SQLAlchemyError

from vecferry.errors import LedgerError, StoreFull, VecferryError
from vecferry.events import Event, Notice, Observer, Progress, Stage, UnitChanged, tell
from vecferry.migration.history import committed
from vecferry.migration.settings import Settings
from vecferry.migration.status_sql import VALUE_CHARS, Place, Writer
from vecferry.state.model import Unit, UnitState
from vecferry.state.run import Run

_EVERY_S = 1.0
"""Seconds between two writings of progress."""
_PATIENCE_S = 15.0
"""Seconds for the last writing, when the run ends."""
_ERROR_CHARS = 2000
_UNFIT = (
    f"Rows without a value, or with one of over {VALUE_CHARS} characters or past BIGINT, "
    "have no line in the status table."
)


def status_table(settings: Settings, then: Observer) -> StatusTable | None:
    """The table that the settings name, None where they name none.

    Raises:
        ConfigError: no database that we know, or a password stands in its URL.
    """
    if settings.status_table is None:
        return None
    return StatusTable(Place.parse(settings.status_table, settings.status_column), then)


class StatusTable:
    """An observer that keeps the table in step with the run of `writing`, and hands every event on to `then`."""

    def __init__(self, place: Place, then: Observer) -> None:
        self._place = place
        self._then = then
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self._units: dict[str, dict[str, Unit]] = {}
        self._current: dict[str, str] = {}
        self._stale: set[str] = set()
        self._told: set[str] = set()
        self._run: Run | None = None

    def __call__(self, event: Event) -> None:
        self._then(event)
        if isinstance(event, UnitChanged):
            with self._lock:
                self._changed(event)
            self._wake.set()
        elif isinstance(event, Progress) and event.stage is Stage.COPY:
            with self._lock:
                self._progressed(event)

    @contextmanager
    def writing(self, run: Run) -> Iterator[None]:
        """Write the units of `run` as they stand, and every change until the block ends; the last before it does."""
        self._run = run
        moved = committed(run.collections().values())
        with self._lock:
            for unit in run.units():
                done = unit.state is UnitState.COMPLETED
                self._put(unit if done else replace(unit, moved=moved.get((unit.collection, unit.value), 0)))
        thread = threading.Thread(target=self._write_on, name="status table", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with suppress(LedgerError, StoreFull):
                self._marked(run)
            self._ended = True
            self._wake.set()
            thread.join(_PATIENCE_S)

    # ----------------------------------------------------------------------- what is known

    def _changed(self, event: UnitChanged) -> None:
        unit = self._of(event.collection, event.unit)
        if unit is None and self._run is not None:  # it came up since, and others with it
            for new in self._run.units():
                if self._of(new.collection, new.value) is None:
                    self._put(new)
        unit = unit or Unit(collection=event.collection, value=event.unit)
        state = UnitState(event.state)
        done, begun = state is UnitState.COMPLETED, state is UnitState.IN_PROGRESS
        self._current[event.collection] = event.unit
        self._put(
            replace(
                unit,
                state=state,
                total=event.total,
                moved=event.moved if done else unit.moved,
                started=unit.started or (event.at if begun else None),
                finished=event.at if done else None,
                error=event.error,
            )
        )

    def _marked(self, run: Run) -> None:
        """What somebody asked of units that the run did not come to any more: one that is to stay, or no longer."""
        units = run.units()
        with self._lock:
            for unit in units:
                known = self._of(unit.collection, unit.value)
                if known is not None and known.state is not unit.state:
                    self._put(replace(unit, moved=known.moved))

    def _progressed(self, event: Progress) -> None:
        """More records of the unit that its collection is at."""
        unit = self._of(event.collection, self._current.get(event.collection, ""))
        if unit is not None and unit.state is UnitState.IN_PROGRESS:
            self._put(replace(unit, moved=unit.moved + event.records))

    def _of(self, collection: str, value: str) -> Unit | None:
        return self._units.get(value, {}).get(collection)

    def _put(self, unit: Unit) -> None:
        self._units.setdefault(unit.value, {})[unit.collection] = unit
        self._stale.add(unit.value)

    # ----------------------------------------------------------------------- the thread

    def _write_on(self) -> None:
        with closing(Writer(self._place)) as writer:
            while True:
                last = self._ended
                self._wake.clear()
                self._write(writer)
                if last:
                    return
                self._wake.wait(_EVERY_S)

    def _write(self, writer: Writer) -> None:
        with self._lock:
            stale, self._stale = self._stale, set()
            rows = {value: _row(self._units[value].values()) for value in stale}
            whole = not any(value.startswith('"') for value in self._units)
        fit = {value: row for value, row in rows.items() if _fits(value)}
        if len(fit) < len(rows):
            self._tell_once("unfit", _UNFIT)
        try:
            if fit:
                writer.write({orjson.loads(value): row for value, row in fit.items()}, whole=whole)
        except (SQLAlchemyError, VecferryError) as error:
            told = f"The status table cannot be written: {_why(error)}. The migration goes on, and tries again."
            self._tell_once("failed", told)
            with self._lock:
                self._stale = set(self._units)  # the table may be another one when it is there again

    def _tell_once(self, what: str, message: str) -> None:
        if what not in self._told:
            self._told.add(what)
            tell(Notice(message=message, level="warning"))


# --------------------------------------------------------------------------- rows


def _row(of_value: Iterable[Unit]) -> dict[str, Any]:
    """One line for all units of one value: a user may have rows in several tables."""
    units = list(of_value)
    states = {unit.state for unit in units}
    started = [unit.started for unit in units if unit.started is not None]
    finished = [unit.finished for unit in units if unit.finished is not None]
    done = states == {UnitState.COMPLETED}
    return {
        "total_chunks": sum(unit.total for unit in units),
        "migrated_chunks": sum(unit.moved for unit in units),
        "status": _state(states),
        "started_at": _utc(min(started, default=None)),
        "completed_at": _utc(max(finished, default=None)) if done else None,
        "error": "; ".join(unit.error for unit in units if unit.error)[:_ERROR_CHARS] or None,
    }


def _state(states: set[UnitState]) -> str:
    """Of several, the one that says most."""
    if len(states) == 1:
        (state,) = states
        return state.value
    return (UnitState.FAILED if UnitState.FAILED in states else UnitState.IN_PROGRESS).value


def _utc(seconds: float | None) -> datetime | None:
    """As DATETIME holds it: UTC without saying so, whole seconds."""
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)


def _fits(unit: str) -> bool:
    value = orjson.loads(unit)
    if isinstance(value, int):
        return abs(value) < 1 << 63  # BIGINT
    return value is not None and len(value) <= VALUE_CHARS and "\x00" not in value


def _why(error: Exception) -> str:
    """What the database said, in one line, without the statement."""
    text = error.message if isinstance(error, VecferryError) else str(getattr(error, "orig", None) or error)
    return " ".join(text.split()).rstrip(".")
