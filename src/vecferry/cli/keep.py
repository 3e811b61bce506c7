"""Commands for a target that lives on, and for a source that does not: sync, retire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, defaults, options
from vecferry.cli.ending import Again
from vecferry.cli.exits import exit_of
from vecferry.cli.move import say
from vecferry.cli.person import Person

if TYPE_CHECKING:
    from vecferry.migration import Settings


@click.command()
@options.stores
@options.paired
@options.transform
@options.preset
@click.option("--delete", is_flag=True, help="Also delete records that only the target has.")
@options.accept
@options.dry_run("after counting what differs")
@options.yes()
@options.backup("the source, and of what is changed in the target")
@options.by
@options.strict
@options.queries()
@options.reports
@options.restart
@options.pace
@options.ledger
@options.listening
@options.as_json
def sync(source: str | None, target: str | None, *, as_json: bool, **given: Any) -> int:
    r"""Bring a target up to date with a source that has changed since: count, ask, write what differs, verify.

    Collections that vecferry moved under another name are found by themselves, and keep their layout. Those that the
    target does not have are copied. Nothing is deleted unless --delete says so. Interrupted? Run it again.

    \b
    Examples:
      vecferry sync chroma:./chroma_db qdrant+http://localhost:6333
      vecferry sync chroma:./chroma_db qdrant+http://localhost:6333 --dry-run
      vecferry sync chroma:./chroma_db qdrant+http://localhost:6333 -c docs --delete --yes
    """
    from vecferry import migration

    source, target = defaults.source_url(source), defaults.target_url(target)
    settings, console = _settings(given), common.messages()
    with common.watched(console, quiet=given["quiet"], log=given["log"]) as (observe, stop):
        done = migration.sync(
            source,
            target,
            collections=given["collections"],
            settings=settings,
            ask=Person(console, yes=given["yes"]),
            observer=observe,
            stop=stop,
        )
    say(done, Again.of(source, target, given), as_json=as_json)
    return exit_of(done.verification, strict=given["strict"])


def _settings(given: dict[str, Any]) -> Settings:
    from vecferry.migration import Bound, Settings
    from vecferry.planning.options import PlanOptions, parse_policies
    from vecferry.verification.model import VerifyOptions

    return Settings(
        plan=PlanOptions(
            policies=parse_policies(given["accepted"]),
            transforms=common.recipe(given["transform"]),
            preset=common.preset(given["preset"]),
        ),
        verify=VerifyOptions(queries=given["queries"], by=given["by"]),
        backup=given["backup"],
        delete_extra=given["delete"],
        ledger=given["ledger"],
        reports=given["reports"],
        pace=Bound.parse(given["pace"]) if given["pace"] else None,
        restart=given["restart"],
        dry_run=given["dry_run"],
    )
