"""Commands for archives that are made again and again: backup, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, defaults, options
from vecferry.cli.ending import Again
from vecferry.cli.exits import Exit, exit_of
from vecferry.cli.move import say
from vecferry.cli.person import Person

if TYPE_CHECKING:
    from vecferry.migration import Settings
    from vecferry.migration.backups import BackupResult


@click.command()
@click.argument("source", required=False)
@click.argument("target")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Then remove the oldest, so that N are left.")
@options.collections("Only these. Default: all.", metavar="NAME|GLOB")
@options.accept
@click.option("--report", "reports", type=options.FOLDER, help="A folder for reports. Default: none.")
@options.ledger
@options.listening
@options.as_json
def backup(source: str | None, target: str, *, as_json: bool, **given: Any) -> int:
    r"""Write an archive of a store under a dated name in TARGET, a folder or a bucket, and compare every record.

    Asks nothing, so that it can be a line of cron. --keep removes the oldest verified backups of this source that this
    command made, and only once the new one is verified. Interrupted? The same command goes on, within a day.

    \b
    Examples:
      vecferry backup chroma:./chroma_db files:/mnt/backups --keep 4
      vecferry backup qdrant+http://localhost:6333 files+s3://my-bucket/vectors --keep 8 --json
    """
    from vecferry.migration import backups
    from vecferry.planning.options import parse_policies

    with common.watched(common.messages(), quiet=given["quiet"], log=given["log"]) as (observe, stop):
        done = backups.backup(
            defaults.source_url(source),
            target,
            keep=given["keep"],
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
@options.collections("Only these; OLD=NEW renames.")
@options.accept
@options.if_exists("What to do where the target holds records of somebody else under that name.")
@options.backup("what is overwritten")
@options.dry_run()
@options.yes()
@options.reports
@options.ledger
@options.listening
@options.as_json
def restore(archive: str, target: str | None, *, as_json: bool, **given: Any) -> int:
    r"""Bring a backup back into a store, and compare every record. The latest verified one, unless --at says otherwise.

    ARCHIVE is the folder or prefix that `vecferry backup` writes to, or a single archive.

    \b
    Examples:
      vecferry restore files:/mnt/backups qdrant+http://localhost:6333
      vecferry restore files+s3://my-bucket/vectors chroma:./chroma_back --at 20261114 --yes
    """
    from vecferry.migration import backups

    settings, console, goal = _settings(given), common.messages(), defaults.target_url(target)
    url = backups.chosen(archive, given["at"])
    console.print(f"Restoring {url}", markup=False, highlight=False, soft_wrap=True)
    with common.watched(console, quiet=given["quiet"], log=given["log"]) as (observe, stop):
        done = backups.restore(
            url, goal, settings=settings, ask=Person(console, yes=given["yes"]), observer=observe, stop=stop
        )
    say(done, Again.of(url, goal, given), as_json=as_json)
    return exit_of(done.verification)


def _settings(given: dict[str, Any]) -> Settings:
    """How a restoration is to be done."""
    from vecferry.migration import Settings
    from vecferry.planning.model import IfExists
    from vecferry.planning.options import PlanOptions, parse_policies

    return Settings(
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


def _say(done: BackupResult, *, as_json: bool) -> None:
    if as_json:
        common.print_json(summary(done))
        return
    from vecferry.cli import proven, show

    console = common.output(as_json=False)
    if done.migration.verification is not None and not done.verified:
        proven.verification(console, done.migration.verification)
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
