"""Commands that only look: doctor, inspect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, defaults, options
from vecferry.cli.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from vecferry.doctor import Examination, Step
    from vecferry.planning.model import Inspection


@click.command()
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--write", is_flag=True, help="Also make a scratch collection, use it, measure it, and remove it.")
@options.as_json
def doctor(urls: tuple[str, ...], write: bool, as_json: bool) -> int:
    r"""Is everything installed, and does each store do what a migration needs?

    \b
    Examples:
      vecferry doctor
      vecferry doctor chroma:./chroma_db qdrant+http://localhost:6333
      vecferry doctor qdrant+https://qdrant.example.com --write
    """
    from vecferry.doctor import examine

    found = examine(urls, write=write)
    healthy = all(one.healthy for one in found)
    if as_json:
        common.print_json({"healthy": healthy, "examinations": [common.as_data(one) for one in found]})
    else:
        console = common.output(as_json=False)
        for one in found:
            _examination(console, one)
    return Exit.DONE if healthy else Exit.FAILED


_MARK = {
    "ok": "[green]ok[/]",
    "warning": "[yellow]warning[/]",
    "failed": "[red]failed[/]",
    "skipped": "[dim]skipped[/]",
}


def _examination(console: Console, one: Examination) -> None:
    from rich.text import Text

    from vecferry.cli import show

    rows = [(step.name, Text.from_markup(_MARK[step.state]), _time(step), step.detail) for step in one.steps]
    show.table(console, one.subject, ("", "", "ms", ""), rows, numbers=("ms",))
    for step in one.steps:
        if step.hint and step.state != "ok":
            console.print(f"  [cyan]->[/] {step.name}: ", end="")
            console.print(step.hint, markup=False)
    if any(step.hint and step.state != "ok" for step in one.steps):
        console.print()


def _time(step: Step) -> str:
    return "" if step.milliseconds is None else f"{step.milliseconds:.1f}"


@click.command()
@click.argument("url", required=False)
@options.collections("Only these; globs are understood.", metavar="NAME")
@click.option("--details", is_flag=True, help="Also every metadata key and everything remarkable, per collection.")
@options.by
@options.preset
@options.listening
@options.as_json
def inspect(url: str | None, *, details: bool, as_json: bool, **given: Any) -> int:
    r"""Look at every record of a store and say what is there. Writes nothing.

    \b
    Examples:
      vecferry inspect chroma:./chroma_db
      vecferry inspect chroma:./chroma_db --collection 'docs-*' --details
      vecferry inspect qdrant+http://localhost:6333 --json
      vecferry inspect json:./backup.json --by client --by year
    """
    from vecferry import migration
    from vecferry.cli import grouped, show
    from vecferry.progress import observer

    with observer(common.messages(), quiet=given["quiet"], log=given["log"]) as observe:
        found = migration.inspect(
            defaults.source_url(url),
            collections=given["collections"],
            by=given["by"],
            preset=common.preset(given["preset"]),
            observer=observe,
        )
    if as_json:
        common.print_json({**common.as_data(found), "records": found.records})
        return Exit.DONE
    console = common.output(as_json=False)
    show.inspection(console, found)
    for profile in found.profiles if details else ():
        show.details(console, profile)
    grouped.of_inspection(console, found)
    _presets(console, found, asked=given["preset"] is not None, details=details)
    return Exit.DONE


def _presets(console: Console, found: Inspection, *, asked: bool, details: bool) -> None:
    """Which presets the tables fit, and one to begin with where none does, or all is asked for."""
    if found.presets and not asked:
        names = " or ".join(f"--preset {name}" for name in found.presets)
        console.print(f"The tables fit a preset: add [bold]{names}[/].")
    if found.skeleton and (details or not found.presets) and not asked:
        console.print("A preset of your own to begin with (docs/how-to/write-a-preset.md):\n")
        console.print(found.skeleton, markup=False, highlight=False, soft_wrap=True)
