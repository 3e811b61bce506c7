"""Commands that prove: verify, compare, repair, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, defaults, options
from vecferry.cli.exits import Exit, exit_of

if TYPE_CHECKING:
    from vecferry.verification.model import Verification


@click.command()
@options.stores
@options.paired
@options.transform
@options.preset
@options.queries()
@options.neighbours
@click.option(
    "--no-parity", is_flag=True, help="Compare records only; searches and filters are reported as not checked."
)
@options.by
@options.strict
@options.ledger
@click.option(
    "--report",
    "reports",
    type=options.FOLDER,
    metavar="DIR",
    help="Also write report.html and report.json into this folder.",
)
@options.listening
@options.as_json
def verify(source: str | None, target: str | None, *, as_json: bool, **given: Any) -> int:
    r"""Compare every record of source and target, then searches and filters. Changes nothing.

    \b
    Examples:
      vecferry verify chroma:./chroma_db qdrant+http://localhost:6333
      vecferry verify chroma:./chroma_db qdrant+http://localhost:6333 -c faq=faq_v2 --queries 1000
    """
    from vecferry import migration
    from vecferry.verification.model import DATA_LEVELS, Level, VerifyOptions

    levels = DATA_LEVELS if given["no_parity"] else frozenset(Level)
    wished = VerifyOptions(queries=given["queries"], k=given["k"], levels=levels, by=given["by"])
    with common.watched(common.messages(), quiet=given["quiet"], log=given["log"]) as (observe, stop):
        done = migration.verify(
            defaults.source_url(source),
            defaults.target_url(target),
            collections=given["collections"],
            transforms=common.recipe(given["transform"]),
            preset=common.preset(given["preset"]),
            options=wished,
            ledger=given["ledger"],
            observer=observe,
            stop=stop,
        )
    written = migration.write_report(done.report, given["reports"]) if given["reports"] else None
    _say(done.verification, written, as_json=as_json)
    return exit_of(done.verification, strict=given["strict"])


def _say(proof: Verification, written: Path | None, *, as_json: bool) -> None:
    from vecferry.cli import grouped, proven

    if as_json:
        report = str(written) if written else None
        common.print_json({**common.as_data(proof), "ok": proof.ok, "differences": proof.differences, "report": report})
        return
    console = common.output(as_json=False)
    proven.verification(console, proof)
    grouped.of_verification(console, proof)
    proven.verdict(console, proof)
    if written:
        console.print(f"\nReport: [bold]{written}[/]")


@click.command()
@options.stores
@options.paired
@options.transform
@options.preset
@options.queries("Searches per collection and side.")
@options.neighbours
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Searches at a time, for queries per second.",
)
@options.listening
@options.as_json
def compare(source: str | None, target: str | None, *, as_json: bool, **given: Any) -> int:
    r"""Measure the same queries against source and target: latency and queries per second, side by side.

    \b
    Examples:
      vecferry compare chroma:./chroma_db qdrant+http://localhost:6333
      vecferry compare chroma:./chroma_db qdrant+http://localhost:6333 --queries 1000 --workers 8
    """
    from vecferry import migration
    from vecferry.cli import proven
    from vecferry.progress import observer
    from vecferry.verification.model import VerifyOptions

    with observer(common.messages(), quiet=given["quiet"], log=given["log"]) as observe:
        found = migration.compare(
            defaults.source_url(source),
            defaults.target_url(target),
            collections=given["collections"],
            transforms=common.recipe(given["transform"]),
            preset=common.preset(given["preset"]),
            workers=given["workers"],
            options=VerifyOptions(queries=given["queries"], k=given["k"]),
            observer=observe,
        )
    if as_json:
        common.print_json({"comparisons": [common.as_data(one) for one in found]})
    else:
        proven.comparisons(common.output(as_json=False), found)
    return Exit.DONE


@click.command()
@options.stores
@options.paired
@options.transform
@options.preset
@click.option("--delete-extra", is_flag=True, help="Also delete records that only the target has.")
@options.yes("Do not ask before writing.")
@options.strict
@options.ledger
@options.listening
@options.as_json
def repair(source: str | None, target: str | None, *, delete_extra: bool, as_json: bool, **given: Any) -> int:
    r"""Compare, write every missing or changed record of the target again from the source, and compare anew.

    \b
    Examples:
      vecferry repair chroma:./chroma_db qdrant+http://localhost:6333
      vecferry repair chroma:./chroma_db qdrant+http://localhost:6333 -c docs --delete-extra
    """
    from vecferry import migration
    from vecferry.cli import proven

    source, target = defaults.source_url(source), defaults.target_url(target)
    common.consent(
        f"Write what differs from {source} to {target} again{_extra(delete=delete_extra)}?", yes=given["yes"]
    )
    with common.watched(common.messages(), quiet=given["quiet"], log=given["log"]) as (observe, stop):
        done = migration.repair(
            source,
            target,
            collections=given["collections"],
            transforms=common.recipe(given["transform"]),
            preset=common.preset(given["preset"]),
            delete_extra=delete_extra,
            ledger=given["ledger"],
            observer=observe,
            stop=stop,
        )
    if as_json:
        common.print_json({**common.as_data(done), "ok": done.after.ok, "differences": done.after.differences})
    else:
        console = common.output(as_json=False)
        proven.repairs(console, done)
        proven.verification(console, done.after)
        proven.verdict(console, done.after)
    return exit_of(done.after, strict=given["strict"])


def _extra(*, delete: bool) -> str:
    return " and delete what only the target has" if delete else ""


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=options.FILE, help="Where to write. Default: beside it.")
@options.as_json
def report(path: Path, output: Path | None, as_json: bool) -> int:
    r"""Write the HTML page of a report.json again, or print the report with --json.

    \b
    Examples:
      vecferry report vecferry-reports/20260101-120000-a1b2c3
      vecferry report report.json --output for-the-board.html
    """
    from vecferry import migration

    path = path / "report.json" if path.is_dir() else path
    if as_json:
        common.print_json(migration.read_report(path))
        return Exit.DONE
    click.echo(f"Report: {migration.rewrite_report(path, output)}")
    return Exit.DONE
