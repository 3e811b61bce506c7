"""Commands that prove: verify, compare, repair, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vecferry.cli import common, defaults, options
from vecferry.cli.exits import Exit, exit_of


def _collections(command: Any) -> Any:
    return click.option(
        "--collection",
        "-c",
        "collections",
        multiple=True,
        metavar="NAME|GLOB|OLD=NEW",
        help="Only these; OLD=NEW where the target's name is another. Default: all.",
    )(command)


@click.command()
@options.stores
@_collections
@options.transform
@click.option(
    "--queries", type=click.IntRange(1), default=100, show_default=True, help="Searches to compare per collection."
)
@click.option("-k", "k", type=click.IntRange(1), default=10, show_default=True, help="Neighbours per search.")
@click.option(
    "--no-parity", is_flag=True, help="Compare records only; searches and filters are reported as not checked."
)
@options.by
@options.strict
@options.ledger
@click.option(
    "--report",
    "reports",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write report.html and report.json into this folder.",
)
@options.listening
@options.as_json
def verify(
    source: str | None,
    target: str | None,
    collections: tuple[str, ...],
    transform: Path | None,
    queries: int,
    k: int,
    no_parity: bool,
    by: tuple[str, ...],
    strict: bool,
    ledger: str | None,
    reports: Path | None,
    quiet: bool,
    log: Path | None,
    as_json: bool,
) -> int:
    r"""Compare every record of source and target, then searches and filters. Changes nothing.

    \b
    Examples:
      vecferry verify chroma:./chroma_db qdrant+http://localhost:6333
      vecferry verify chroma:./chroma_db qdrant+http://localhost:6333 -c faq=faq_v2 --queries 1000
    """
    from vecferry import migration
    from vecferry.cli import grouped, show
    from vecferry.engine.stop import Stop
    from vecferry.progress import observer
    from vecferry.verification.model import DATA_LEVELS, Level, VerifyOptions

    levels = DATA_LEVELS if no_parity else frozenset(Level)
    stop = Stop()
    with observer(common.messages(), quiet=quiet, log=log) as observe, common.stoppable(stop):
        done = migration.verify(
            defaults.source_url(source),
            defaults.target_url(target),
            collections=collections,
            transforms=common.recipe(transform),
            options=VerifyOptions(queries=queries, k=k, levels=levels, by=by),
            ledger=ledger,
            observer=observe,
            stop=stop,
        )
    written = migration.write_report(done.report, reports) if reports else None
    proof = done.verification
    if as_json:
        report = str(written) if written else None
        common.print_json({**common.as_data(proof), "ok": proof.ok, "differences": proof.differences, "report": report})
    else:
        console = common.output(as_json=False)
        show.verification(console, proof)
        grouped.of_verification(console, proof)
        show.verdict(console, proof)
        if written:
            console.print(f"\nReport: [bold]{written}[/]")
    return exit_of(proof, strict=strict)


@click.command()
@options.stores
@_collections
@options.transform
@click.option(
    "--queries", type=click.IntRange(1), default=100, show_default=True, help="Searches per collection and side."
)
@click.option("-k", "k", type=click.IntRange(1), default=10, show_default=True, help="Neighbours per search.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Searches at a time, for queries per second.",
)
@options.listening
@options.as_json
def compare(
    source: str | None,
    target: str | None,
    collections: tuple[str, ...],
    transform: Path | None,
    queries: int,
    k: int,
    workers: int,
    quiet: bool,
    log: Path | None,
    as_json: bool,
) -> int:
    r"""Measure the same queries against source and target: latency and queries per second, side by side.

    \b
    Examples:
      vecferry compare chroma:./chroma_db qdrant+http://localhost:6333
      vecferry compare chroma:./chroma_db qdrant+http://localhost:6333 --queries 1000 --workers 8
    """
    from vecferry import migration
    from vecferry.cli import show
    from vecferry.progress import observer
    from vecferry.verification.model import VerifyOptions

    with observer(common.messages(), quiet=quiet, log=log) as observe:
        found = migration.compare(
            defaults.source_url(source),
            defaults.target_url(target),
            collections=collections,
            transforms=common.recipe(transform),
            workers=workers,
            options=VerifyOptions(queries=queries, k=k),
            observer=observe,
        )
    if as_json:
        common.print_json({"comparisons": [common.as_data(one) for one in found]})
    else:
        show.comparisons(common.output(as_json=False), found)
    return Exit.DONE


@click.command()
@options.stores
@_collections
@options.transform
@click.option("--delete-extra", is_flag=True, help="Also delete records that only the target has.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before writing.")
@options.strict
@options.ledger
@options.listening
@options.as_json
def repair(
    source: str | None,
    target: str | None,
    collections: tuple[str, ...],
    transform: Path | None,
    delete_extra: bool,
    yes: bool,
    strict: bool,
    ledger: str | None,
    quiet: bool,
    log: Path | None,
    as_json: bool,
) -> int:
    r"""Compare, write every missing or changed record of the target again from the source, and compare anew.

    \b
    Examples:
      vecferry repair chroma:./chroma_db qdrant+http://localhost:6333
      vecferry repair chroma:./chroma_db qdrant+http://localhost:6333 -c docs --delete-extra
    """
    from vecferry import migration
    from vecferry.cli import show
    from vecferry.engine.stop import Stop
    from vecferry.progress import observer

    source, target = defaults.source_url(source), defaults.target_url(target)
    common.consent(f"Write what differs from {source} to {target} again{_extra(delete=delete_extra)}?", yes=yes)
    stop = Stop()
    with observer(common.messages(), quiet=quiet, log=log) as observe, common.stoppable(stop):
        done = migration.repair(
            source,
            target,
            collections=collections,
            transforms=common.recipe(transform),
            delete_extra=delete_extra,
            ledger=ledger,
            observer=observe,
            stop=stop,
        )
    if as_json:
        common.print_json({**common.as_data(done), "ok": done.after.ok, "differences": done.after.differences})
    else:
        console = common.output(as_json=False)
        show.repairs(console, done)
        show.verification(console, done.after)
        show.verdict(console, done.after)
    return exit_of(done.after, strict=strict)


def _extra(*, delete: bool) -> str:
    return " and delete what only the target has" if delete else ""


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Where to write. Default: beside it."
)
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
