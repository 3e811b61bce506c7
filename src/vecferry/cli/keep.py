"""Commands for a target that lives on, and for a source that does not: sync, retire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vecferry.cli import common, defaults
from vecferry.cli.exits import exit_of
from vecferry.cli.move import say
from vecferry.cli.person import Person


@click.command()
@click.argument("source", required=False)
@click.argument("target", required=False)
@click.option(
    "--collection",
    "-c",
    "collections",
    multiple=True,
    metavar="NAME|GLOB|OLD=NEW",
    help="Only these; OLD=NEW where the target's name is another. Default: all.",
)
@common.transform_option
@click.option("--delete", is_flag=True, help="Also delete records that only the target has.")
@click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="SHAPE=POLICY",
    help="Accept a loss by name, as the plan lists it. May be given more than once.",
)
@click.option("--dry-run", is_flag=True, help="Stop after counting what differs. Writes nothing anywhere.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before the first write.")
@click.option(
    "--backup",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="First write a verified archive of the source, and of what is changed in the target.",
)
@common.by_option
@common.strict_option
@click.option(
    "--queries", type=click.IntRange(1), default=100, show_default=True, help="Searches to compare per collection."
)
@click.option(
    "--report",
    "reports",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("vecferry-reports"),
    show_default=True,
    help="The folder for reports.",
)
@click.option("--restart", is_flag=True, help="Give the unfinished run of this job up and begin anew.")
@common.ledger_option
@common.quiet_options
@common.json_option
def sync(
    source: str | None,
    target: str | None,
    collections: tuple[str, ...],
    transform: Path | None,
    yes: bool,
    quiet: bool,
    log: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
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
    from vecferry.engine.stop import Stop
    from vecferry.migration import Settings
    from vecferry.planning.options import PlanOptions, parse_policies
    from vecferry.progress import observer
    from vecferry.verification.model import VerifyOptions

    source, target = defaults.source_url(source), defaults.target_url(target)
    settings = Settings(
        plan=PlanOptions(policies=parse_policies(given["accepted"]), transforms=common.recipe(transform)),
        verify=VerifyOptions(queries=given["queries"], by=given["by"]),
        backup=given["backup"],
        delete_extra=given["delete"],
        ledger=given["ledger"],
        reports=given["reports"],
        restart=given["restart"],
        dry_run=given["dry_run"],
    )
    stop, console = Stop(), common.messages()
    with observer(console, quiet=quiet, log=log) as observe, common.stoppable(stop):
        done = migration.sync(
            source,
            target,
            collections=collections,
            settings=settings,
            ask=Person(console, yes=yes),
            observer=observe,
            stop=stop,
        )
    chosen = [part for pattern in collections for part in ("-c", pattern)]
    chosen += ["--transform", str(transform)] if transform is not None else []
    say(done, (source, target, *chosen), accepted=given["accepted"], as_json=as_json)
    return exit_of(done.verification, strict=given["strict"])
