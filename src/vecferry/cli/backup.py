"""Commands for archives that are made again and again: backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, defaults
from vecferry.cli.exits import Exit, exit_of
from vecferry.cli.move import say
from vecferry.cli.person import Person

if TYPE_CHECKING:
    from vecferry.migration.backups import BackupResult

_ACCEPT = click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="SHAPE=POLICY",
    help="Accept a loss by name, as the plan lists it. May be given more than once.",
)


@click.command()
@click.argument("source", required=False)
@click.argument("target")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Then remove the oldest, so that N are left.")
@click.option("--collection", "-c", "collections", multiple=True, metavar="NAME|GLOB", help="Only these. Default: all.")
@_ACCEPT
@click.option(
    "--report", "reports", type=click.Path(file_okay=False, path_type=Path), help="A folder for reports. Default: none."
)
@common.ledger_option
@common.quiet_options
@common.json_option
def backup(
    source: str | None, target: str, keep: int | None, quiet: bool, log: Path | None, as_json: bool, **given: Any
) -> int:
    r"""Write an archive of a store under a dated name in TARGET, a folder or a bucket, and compare every record.

    Asks nothing, so that it can be a line of cron. --keep removes the oldest verified backups of this source that this
    command made, and only once the new one is verified. Interrupted? The same command goes on, within a day.

    \b
    Examples:
      vecferry backup chroma:./chroma_db files:/mnt/backups --keep 4
      vecferry backup qdrant+http://localhost:6333 files+s3://my-bucket/vectors --keep 8 --json
    """
    from vecferry.engine.stop import Stop
    from vecferry.migration import backups
    from vecferry.planning.options import parse_policies
    from vecferry.progress import observer

    stop = Stop()
    with observer(common.messages(), quiet=quiet, log=log) as observe, common.stoppable(stop):
        done = backups.backup(
            defaults.source_url(source),
            target,
            keep=keep,
            collections=given["collections"],
            policies=parse_policies(given["accepted"]),
            ledger=given["ledger"],
            reports=given["reports"],
            observer=observe,
            stop=stop,
        )
    _say(done, as_json=as_json)
    return Exit.DONE if done.verified else Exit.DIFFERENCES


@click.command()
@click.argument("archive")
@click.argument("target", required=False)
@click.option("--at", metavar="NAME", help="Not the latest backup but this one; the beginning of its name will do.")
@click.option(
    "--collection", "-c", "collections", multiple=True, metavar="NAME|GLOB|OLD=NEW", help="Only these; OLD=NEW renames."
)
@_ACCEPT
@click.option(
    "--if-exists",
    type=click.Choice(["ask", "append", "recreate", "sync", "refuse"]),
    default="ask",
    show_default=True,
    help="What to do where the target holds records of somebody else under that name.",
)
@click.option(
    "--backup",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="First write a verified archive of what is overwritten.",
)
@click.option("--dry-run", is_flag=True, help="Stop after the plan. Writes nothing anywhere.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before the first write.")
@click.option(
    "--report",
    "reports",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("vecferry-reports"),
    show_default=True,
    help="The folder for reports.",
)
@common.ledger_option
@common.quiet_options
@common.json_option
def restore(
    archive: str, target: str | None, at: str | None, quiet: bool, log: Path | None, as_json: bool, **given: Any
) -> int:
    r"""Bring a backup back into a store, and compare every record. The latest verified one, unless --at says otherwise.

    ARCHIVE is the folder or prefix that `vecferry backup` writes to, or a single archive.

    \b
    Examples:
      vecferry restore files:/mnt/backups qdrant+http://localhost:6333
      vecferry restore files+s3://my-bucket/vectors chroma:./chroma_back --at 20261114 --yes
    """
    from vecferry import migration
    from vecferry.engine.stop import Stop
    from vecferry.migration import backups
    from vecferry.planning.model import IfExists
    from vecferry.planning.options import PlanOptions, parse_policies
    from vecferry.progress import observer

    settings = migration.Settings(
        plan=PlanOptions(
            collections=given["collections"],
            policies=parse_policies(given["accepted"]),
            if_exists=IfExists(given["if_exists"]),
        ),
        backup=given["backup"],
        ledger=given["ledger"],
        reports=given["reports"],
        dry_run=given["dry_run"],
    )
    stop, console, goal = Stop(), common.messages(), defaults.target_url(target)
    url = backups.chosen(archive, at)
    console.print(f"Restoring {url}", markup=False, highlight=False, soft_wrap=True)
    with observer(console, quiet=quiet, log=log) as observe, common.stoppable(stop):
        done = backups.restore(
            url, goal, settings=settings, ask=Person(console, yes=given["yes"]), observer=observe, stop=stop
        )
    chosen = [part for pattern in given["collections"] for part in ("-c", pattern)]
    say(done, (url, goal, *chosen), accepted=given["accepted"], as_json=as_json)
    return exit_of(done.verification)


def _say(done: BackupResult, *, as_json: bool) -> None:
    if as_json:
        common.print_json(summary(done))
        return
    from vecferry.cli import show

    console = common.output(as_json=False)
    if done.migration.verification is not None and not done.verified:
        show.verification(console, done.migration.verification)
    rows = [(one.name, one.mark.records, "this one" if one.name == done.made.name else "") for one in done.kept]
    show.table(console, "Verified backups", ("backup", "records", ""), rows, numbers=("records",))
    if done.removed:
        console.print(show.plain(f"Removed: {', '.join(done.removed)}."))
    if done.verified:
        console.print(f"[green]{done.migration.records:,} records archived, and every one compared.[/]")
    else:
        console.print(
            "[red]The new archive differs from the source: it is not kept as a backup.[/] Nothing was removed."
        )
    console.print(f"\nArchive: [bold]{done.made.url}[/]", highlight=False, soft_wrap=True)


def summary(done: BackupResult) -> dict[str, Any]:
    """What `backup --json` prints; documented in docs/reference/json.md."""
    pin = done.migration.plan.pin
    return {
        "backup": done.made.name,
        "archive": done.made.url,
        "source": done.made.mark.source,
        "records": done.migration.records,
        "as_of": (pin.at if pin else done.made.mark.begun).isoformat(),
        "verified": done.verified,
        "differences": done.migration.differences,
        "kept": [one.name for one in done.kept],
        "removed": list(done.removed),
        "run": done.migration.run.run if done.migration.run else None,
    }
