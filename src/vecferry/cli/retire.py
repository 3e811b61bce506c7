"""`vecferry retire`: shows what would be removed, and wants its name typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, defaults, options
from vecferry.cli.exits import Exit
from vecferry.errors import DataError

if TYPE_CHECKING:
    from vecferry.migration import Retirement
    from vecferry.model import CollectionSpec


@click.command()
@click.argument("source", required=False)
@options.collections("Drop only these. Default: the store as a whole, or all its collections.", metavar="NAME|GLOB")
@click.option("--archive", metavar="URL|DIR", help="An archive that is there already; it is compared once more.")
@click.option("--into", metavar="URL|DIR", help="Where a new archive is made. Default: a folder in vecferry-archives.")
@click.option("--confirm", metavar="NAME", help="The name that would be typed, for scripts.")
@click.option("--unverified", is_flag=True, help="Go on although the ledger knows no verified migration of it.")
@click.option("--drop", is_flag=True, help="Drop a table of a SQL store, which else is only renamed.")
@click.option("--undo", is_flag=True, help="Give tables that were renamed their names back: -c NAME_archived_YYYYMMDD.")
@options.ledger
@options.listening
@options.as_json
def retire(
    source: str | None, *, archive: str | None, into: str | None, confirm: str | None, as_json: bool, **given: Any
) -> int:
    r"""Remove a source that was moved: a directory, or collections. An archive is made first, and compared with it.

    Stop the app that writes to it before. Nothing is removed unless its name is typed, every record of it is in the
    archive, and the ledger knows a verified migration of it. A table of PostgreSQL or MariaDB is renamed to
    NAME_archived_YYYYMMDD; --drop drops it, then or later.

    \b
    Examples:
      vecferry retire chroma:./chroma_db
      vecferry retire chroma:./chroma_db -c 'old-*' --into files:/mnt/archives/old
      vecferry retire chroma:./chroma_db --archive files:./backup --confirm chroma_db
      vecferry retire mariadb://app@localhost:3306/shop -c BRAG
      vecferry retire mariadb://app@localhost:3306/shop -c BRAG_archived_20261121 --undo
    """
    from vecferry import migration

    if given["undo"]:
        return _undo(defaults.source_url(source), given["collections"], as_json=as_json)

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
            drop=given["drop"],
            ledger=given["ledger"],
            observer=observe,
            stop=stop,
        )
    if done is None:
        raise DataError("Nothing was removed: the name was not typed.", hint="Run it again when you are sure.")
    _say(done, given["ledger"], as_json=as_json)
    return Exit.DONE


def _undo(source: str, collections: Sequence[str], *, as_json: bool) -> int:
    from vecferry import migration

    if not collections:
        raise click.UsageError("--undo needs the tables named: -c NAME_archived_YYYYMMDD.")
    done = migration.bring_back(source, collections)
    if as_json:
        common.print_json({"brought_back": done})
        return Exit.DONE
    for name, old in done.items():
        common.output(as_json=False).print(f"'{name}' is called '{old}' again.", markup=False, soft_wrap=True)
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
        console.print(show.plain(f"'{name}' is not dropped but renamed to '{new}'."))
    console.print(show.plain(f"The archive is {found.archive}; every record is compared before anything goes."))
    if confirm is not None and confirm != found.name:
        raise DataError(
            f"Nothing was removed: --confirm says '{confirm}', and its name is '{found.name}'.",
            hint="Check that it is the right one, then give its name.",
        )
    if confirm is not None:
        return True
    return bool(click.prompt(f"Type {found.name} to remove it", default="", show_default=False, err=True) == found.name)


def _back(done: Retirement, ledger: str | None) -> str:
    """The command that brings all of it back."""
    import shlex

    from vecferry.state.paths import ledger_option

    if done.aside:
        named = [part for spec in done.collections for part in ("-c", _renamed(spec, done.aside))]
        return shlex.join(["vecferry", "retire", done.source, *named, "--undo"])
    return shlex.join(["vecferry", "migrate", done.archive, done.source, *ledger_option(ledger)])


def _renamed(spec: CollectionSpec, aside: Mapping[str, str]) -> str:
    """What `--undo` is to be told: the name now, and the old one where that does not stand in it."""
    new = aside[spec.qualified_name]
    now = replace(spec, name=new).qualified_name
    return now if new.startswith(f"{spec.name}_archived_") else f"{now}={spec.name}"


def _say(done: Retirement, ledger: str | None, *, as_json: bool) -> None:
    back = _back(done, ledger)
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
