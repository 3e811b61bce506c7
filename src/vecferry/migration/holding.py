"""What an administrator asks of a run from another process: pause it or units of it, let units stay, take it back."""

from __future__ import annotations

from collections.abc import Sequence

from vecferry.errors import ConfigError
from vecferry.migration.history import RunStatus, run_status
from vecferry.migration.journal import LOOKED_AT
from vecferry.state.ledger import Ledger
from vecferry.state.model import RunInfo, Unit
from vecferry.tables.units import shown


def pause(ledger: str | None = None, *, run: str | None = None, units: Sequence[str] = ()) -> RunStatus:
    """Ask that a run begins nothing new, or that these units of it are left alone, until `resume`.

    The process that holds the run notices within seconds; without one, the next process of the run finds it so.

    Args:
        run: its id; by default the latest that is not finished, of those with units where units are named.
        units: values of the column that makes units, as `status` shows them.

    Raises:
        ConfigError: there is no such run or unit, or it is through.
    """
    with Ledger(ledger) as opened:
        info = _run(opened, run, units)
        opened.pause(info.id, _not_through(_units(opened, info, units)))
        return run_status(opened, info.id)


def resume(ledger: str | None = None, *, run: str | None = None, units: Sequence[str] = ()) -> RunStatus:
    """Take back what `pause` or `stay` asked. A run that has ended goes on with units that stayed: call it again.

    Raises:
        ConfigError: there is no such run or unit, or another run of the same stores followed it.
    """
    with Ledger(ledger) as opened:
        info = _run(opened, run, units)
        opened.go_on(info.id, _units(opened, info, units))
        return run_status(opened, info.id)


def stay(ledger: str | None = None, *, run: str | None = None, units: Sequence[str]) -> RunStatus:
    """Mark units that are not to be moved: they stay in the source, and nobody misses them in the target.

    Raises:
        ConfigError: there is no such run or unit, or it is moved already, or is being moved.
    """
    with Ledger(ledger) as opened:
        info = _run(opened, run, units)
        opened.stay(info.id, _units(opened, info, units))
        return run_status(opened, info.id)


def _run(ledger: Ledger, run: str | None, units: Sequence[str]) -> RunInfo:
    """The run of this id; by default the latest that is not finished, else the latest.

    Where units are named, of those that have units.
    """
    latest = [ledger.run(run)] if run else ledger.history(limit=LOOKED_AT)
    known = sorted((info for info in latest if info is not None), key=lambda info: info.finished is not None)
    found = next((info for info in known if run or not units or ledger.units(info.id)), None)
    if found is None:
        what = f"The ledger knows no run '{run}'." if run else "The ledger knows no such run yet."
        raise ConfigError(what, hint="`vecferry status` lists those that it knows.")
    return found


def _units(ledger: Ledger, info: RunInfo, names: Sequence[str]) -> list[Unit]:
    """The units of these names, in every collection that has them."""
    units = ledger.units(info.id) if names else []
    found = [unit for unit in units if shown(unit.value) in names]
    missing = [name for name in names if name not in {shown(unit.value) for unit in found}]
    if missing:
        hint = f"`vecferry status --run {info.id} --units` lists them." if units else "It moves no units (--by COLUMN)."
        raise ConfigError(f"Run {info.id} has no unit '{missing[0]}'.", hint=hint)
    return found


def _not_through(units: Sequence[Unit]) -> list[Unit]:
    """Without those that are through, where a unit of the same name is not: a user may have rows in several tables."""
    waiting = {shown(unit.value) for unit in units if not unit.settled}
    return [unit for unit in units if not unit.settled or shown(unit.value) not in waiting]
