"""Commands for a run that another process is at: pause, resume, stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vecferry.cli import common, options
from vecferry.cli.exits import Exit

if TYPE_CHECKING:
    from vecferry.migration import RunStatus

_run = click.option("--run", metavar="ID", help="Of which run. Default: the latest that is not finished.")


def _units(help_text: str, *, required: bool = False) -> options.Option:
    return click.option("--unit", "units", multiple=True, metavar="VALUE", required=required, help=help_text)


@click.command()
@_run
@_units("This unit alone (migrate --by), as status shows it; the others go on. May be given more than once.")
@options.ledger
@options.as_json
def pause(run: str | None, *, units: tuple[str, ...], ledger: str | None, as_json: bool) -> int:
    r"""Let a migration wait, or one unit of it.

    Its process notices within seconds: what is in flight lands, and it waits until `vecferry resume`; a comparison that
    has begun is finished. A pause outlives the process: killed and run again, the same command waits as well. A unit
    that is paused is left alone, the others go on; then the command ends with 4.

    \b
    Examples:
      vecferry pause
      vecferry pause --unit 7
      vecferry pause --run 20261121-190000-a1b2c3
    """
    from vecferry import migration

    said = "is paused; its process, if there is one, notices within seconds"
    return _told(migration.pause(ledger, run=run, units=units), units, said, as_json=as_json)


@click.command()
@_run
@_units("This unit alone, whether it was paused or is to stay. May be given more than once.")
@options.ledger
@options.as_json
def resume(run: str | None, *, units: tuple[str, ...], ledger: str | None, as_json: bool) -> int:
    r"""Let a migration that was paused go on, or one unit of it; or have a unit moved that was to stay.

    A process that waits goes on by itself. Where there is none, run the command that began the migration again.

    \b
    Examples:
      vecferry resume
      vecferry resume --unit 7 --unit 'ann lee'
    """
    from vecferry import migration

    done = migration.resume(ledger, run=run, units=units)
    then = "goes on" if done.holder else "may go on: run the command that began it again"
    return _told(done, units, then, as_json=as_json)


@click.command()
@_run
@_units("The unit, as status shows it. May be given more than once.", required=True)
@options.ledger
@options.as_json
def stay(run: str | None, *, units: tuple[str, ...], ledger: str | None, as_json: bool) -> int:
    r"""Leave a unit (migrate --by) where it is: it is not moved, and verify and sync do not miss it.

    What status and the status table say of it, `stays`, is for whoever serves both stores: such a unit is served from
    the old one. `vecferry resume --unit` takes it back. What is moved already cannot stay.

    \b
    Examples:
      vecferry stay --unit 7
      vecferry migrate … --by user_id --stay '*'     (everybody at first; then one by one: vecferry resume --unit 7)
    """
    from vecferry import migration

    done = migration.stay(ledger, run=run, units=units)
    return _told(done, units, "stays in the source", as_json=as_json)


def _told(run: RunStatus, units: Sequence[str], said: str, *, as_json: bool) -> int:
    what = f"Unit {', '.join(units)} of run {run.id}" if units else f"Run {run.id}"
    if as_json:
        common.print_json(
            {
                "run": run.id,
                "state": run.state,
                "units": [
                    {"collection": unit.collection, "value": unit.value, "state": unit.state}
                    for unit in run.units
                    if unit.value in units
                ],
            }
        )
    else:
        common.output(as_json=False).print(f"{what} {said}.", markup=False, soft_wrap=True)
    return Exit.DONE
