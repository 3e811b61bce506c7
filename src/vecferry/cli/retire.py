"""`vecferry retire`: shows what would be removed, and wants its name typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, defaults, options
from vecferry.cli.exits import Exit
from vecferry.errors import DataError

if TYPE_CHECKING:
    from vecferry.migration import Retirement


@click.command()
@click.argument("source", required=False)
@options.collections("Drop only these. Default: the store as a whole, or all its collections.", metavar="NAME|GLOB")
@click.option("--archive", metavar="URL|DIR", help="An archive that is there already; it is compared once more.")
@click.option("--into", metavar="URL|DIR", help="Where a new archive is made. Default: a folder in vecferry-archives.")
@click.option("--confirm", metavar="NAME", help="The name that would be typed, for scripts.")
@click.option("--unverified", is_flag=True, help="Go on although the ledger knows no verified migration of it.")
@options.ledger
@options.listening
@options.as_json
def retire(
    source: str | None, *, archive: str | None, into: str | None, confirm: str | None, as_json: bool, **given: Any
) -> int:
    r"""Remove a source that was moved: a directory, or collections. An archive is made first, and compared with it.

    Stop the app that writes to it before. Nothing is removed unless its name is typed, every record of it is in the
    archive, and the ledger knows a verified migration of it.

    \b
    Examples:
      vecferry retire chroma:./chroma_db
      vecferry retire chroma:./chroma_db -c 'old-*' --into files:/mnt/archives/old
      vecferry retire chroma:./chroma_db --archive files:./backup --confirm chroma_db
    """
    from vecferry import migration

    if archive and into:
        raise click.UsageError("--archive names an archive that is there, --into the place for a new one: give one.")
    if confirm is None and not common.is_interactive():
        raise DataError(
            "Nothing was removed: there is no terminal to type the name on.",
            hint="Say it with --confirm NAME: the name of the directory, or of the one collection.",
        )
    with common.watched(common.messages(), quiet=given["quiet"], log=given["log"]) as (observe, stop):
        done = migration.retire(
            defaults.source_url(source),
            agree=lambda found: _agreed(found, confirm),
            collections=given["collections"],
            archive=_url(archive),
            into=_url(into),
            unverified=given["unverified"],
            ledger=given["ledger"],
            observer=observe,
            stop=stop,
        )
    if done is None:
        raise DataError("Nothing was removed: the name was not typed.", hint="Run it again when you are sure.")
    _say(done, given["ledger"], as_json=as_json)
    return Exit.DONE


def _url(text: str | None) -> str | None:
    """A store URL; a bare path is an archive's folder."""
    return text if text is None or text.partition(":")[2] else f"files:{text}"


def _agreed(found: Retirement, confirm: str | None) -> bool:
    from vecferry.cli import show

    console = common.messages()
    rows = [(spec.qualified_name, spec.count or 0, dict(found.moved).get(spec.qualified_name, "not known to be"))
            for spec in found.collections]  # fmt: skip
    show.table(console, "To be removed", ("collection", "records", "moved"), rows, numbers=("records",))
    console.print(show.plain(f"This removes {found.what}: {found.records:,} records."))
    for name, new in found.aside.items():
        console.print(show.plain(f"'{name}' is not dropped but renamed to '{new}'; retire that to have it dropped."))
    console.print(show.plain(f"The archive is {found.archive}; every record is compared before anything goes."))
    if confirm is not None and confirm != found.name:
        raise DataError(
            f"Nothing was removed: --confirm says '{confirm}', and its name is '{found.name}'.",
            hint="Check that it is the right one, then give its name.",
        )
    if confirm is not None:
        return True
    return bool(click.prompt(f"Type {found.name} to remove it", default="", show_default=False, err=True) == found.name)


def _say(done: Retirement, ledger: str | None, *, as_json: bool) -> None:
    import shlex

    from vecferry.state.paths import ledger_option

    back = shlex.join(["vecferry", "migrate", done.archive, done.source, *ledger_option(ledger)])
    if as_json:
        common.print_json(
            {
                "removed": done.what,
                "records": done.records,
                "collections": [{"name": s.qualified_name, "records": s.count or 0} for s in done.collections],
                "archive": done.archive,
                "renamed": dict(done.aside),
                "restore": back,
            }
        )
        return
    console = common.output(as_json=False)
    told = (
        f"{'Set aside' if done.aside else 'Removed'} {done.what}: {done.records:,} records, all of them in the archive."
    )
    for line in (told, "", f"Archive: {done.archive}", "", "To bring it back:", f"  {back}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
