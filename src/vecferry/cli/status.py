"""`vecferry status`: the runs of the ledger, and the units of one; `--watch` looks again until the run ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from vecferry.cli import common, options
from vecferry.cli.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console, Group

    from vecferry.migration import RunStatus, UnitStatus

SHOWN = 20
"""Units that are listed unless all are asked for."""
_FIRST = ("in_progress", "failed", "paused", "pending", "completed", "stays")
"""What a person looks for first."""
_HEADS = ("unit", "state", "moved", "started", "finished", "error")


@click.command()
@click.option("--run", metavar="ID", help="This run alone. Default: the latest.")
@click.option("--units", "every_unit", is_flag=True, help=f"List every unit of the run, not the first {SHOWN}.")
@click.option("--watch", is_flag=True, help="Look again every second until the run ends. One run, the latest or --run.")
@options.ledger
@options.as_json
def status(run: str | None, *, every_unit: bool, watch: bool, ledger: str | None, as_json: bool) -> int:
    r"""Show the runs that the ledger knows: what they move, how far they are, how they ended.

    Where a run moves a table unit by unit (`migrate --by COLUMN`), its units too: how many stand where, and the list.

    \b
    Examples:
      vecferry status
      vecferry status --watch
      vecferry status --run 20261121-190000-a1b2c3 --units
      vecferry status --ledger ./ledger.db --json
    """
    from vecferry import migration

    console = common.output(as_json=as_json)
    if watch:
        last = _watched(console, migration.watch(ledger, run=run), None if every_unit else SHOWN)
        runs = [] if last is None else [last]
    else:
        runs = migration.status(ledger, run=run)
    if as_json:
        common.print_json({"runs": [common.as_data(one) for one in runs]})
    elif not runs:
        console.print("No run yet.")
    elif not watch:
        _runs(console, runs)
        _latest_units(console, runs, None if every_unit else SHOWN)
    return Exit.DONE


def _runs(console: Console, runs: Sequence[RunStatus]) -> None:
    from vecferry.cli import show

    rows = [
        (run.id, f"{run.created:%Y-%m-%d %H:%M}", run.source, run.target, f"{run.done:,} of {run.records:,}", run.state)
        for run in runs
    ]
    show.table(console, "Runs", ("run", "begun", "source", "target", "records", "state"), rows)
    for run in runs:
        if run.pace is not None and not run.units:
            console.print(f"Run {run.id}: {totals(run)}", markup=False, highlight=False)


def _latest_units(console: Console, runs: Iterable[RunStatus], limit: int | None) -> None:
    run = next((run for run in runs if run.units), None)
    if run is not None:
        console.print(_screen(run, limit))
        if limit is not None and len(run.units) > limit:
            console.print(f"{len(run.units) - limit:,} more: vecferry status --run {run.id} --units")


# --------------------------------------------------------------------------- a run with units


def _screen(run: RunStatus, limit: int | None) -> Group:
    """One run: its totals, and the first units of its list."""
    from rich.console import Group
    from rich.table import Table

    from vecferry.cli.show import plain

    table = Table(header_style="dim", box=None, pad_edge=False)
    for head in _HEADS:
        table.add_column(head, justify="right" if head == "moved" else "left", overflow="fold")
    for unit in _in_order(run.units)[:limit]:
        table.add_row(*map(plain, _row(unit)))
    return Group(plain(f"Run {run.id}: {totals(run)}"), *([table] if run.units else []))


def _in_order(units: Sequence[UnitStatus]) -> list[UnitStatus]:
    """Those that move and those that failed before those that wait and those that are through."""
    return sorted(units, key=lambda unit: _FIRST.index(unit.state))


def _row(unit: UnitStatus) -> tuple[str, ...]:
    begun, ended = (f"{at:%Y-%m-%d %H:%M:%S}" if at else "" for at in (unit.started, unit.finished))
    return unit.value, unit.state, f"{unit.moved:,} of {unit.total:,}", begun, ended, unit.error


def totals(run: RunStatus) -> str:
    """A run in one line: its state, its records, and how many units stand where."""
    records = f"{run.state}, {run.done:,} of {run.records:,} records{pace(run)}"
    if not run.units:
        return records
    states = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in run.unit_counts.items())
    return f"{records}; {len(run.units):,} units: {states}"


def pace(run: RunStatus) -> str:
    """The pace at which a run reads its source, where one is kept."""
    if run.pace is None:
        return ""
    p95, bound = (f"{seconds * 1000:.1f}" for seconds in (run.pace.p95, run.pace.bound))
    cuts = f"{run.pace.cuts:,} time{'' if run.pace.cuts == 1 else 's'}"
    return f", pace {run.pace.per_second:,.0f}/s (cut {cuts}; source's p95 {p95} of {bound} ms)"


# --------------------------------------------------------------------------- watching


def _watched(console: Console, looks: Iterator[RunStatus], limit: int | None) -> RunStatus | None:
    """Show each look, in place on a terminal, as lines elsewhere. The last one; None where there is no run."""
    from rich.live import Live

    last = None
    if not console.is_terminal:
        for look in looks:
            for line in news(last, look):
                console.print(line, markup=False, soft_wrap=True)
            last = look
        return last
    with Live(console=console, auto_refresh=False) as live:
        for look in looks:
            live.update(_screen(look, min(limit or console.height, max(3, console.height - 4))), refresh=True)
            last = look
    return last


def news(before: RunStatus | None, now: RunStatus) -> list[str]:
    """What is to be said of `now` where `before` was said already: units in another state, and then the totals."""
    if before == now:
        return []
    known = {(unit.collection, unit.value): unit.state for unit in before.units} if before else {}
    changed = [unit for unit in now.units if unit.state != known.get((unit.collection, unit.value), "pending")]
    lines = [": ".join(part for part in (_said(unit), unit.error) if part) for unit in changed]
    return [*lines, totals(now)]


def _said(unit: UnitStatus) -> str:
    return f"{unit.collection} {unit.value}: {unit.state.replace('_', ' ')}, {unit.moved:,} of {unit.total:,}"
