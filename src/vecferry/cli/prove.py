"""Commands that prove: verify, compare, repair, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vecferry.cli import common, defaults
from vecferry.cli.exits import Exit


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
@click.argument("source", required=False)
@click.argument("target", required=False)
@_collections
@click.option("--queries", type=click.IntRange(1), default=100, show_default=True, help="Searches to compare per collection.")
@click.option("-k", "k", type=click.IntRange(1), default=10, show_default=True, help="Neighbours per search.")
@click.option("--no-parity", is_flag=True, help="Compare records only; searches and filters are reported as not checked.")
@common.quiet_options
@common.json_option
def verify(
    source: str | None,
    target: str | None,
    collections: tuple[str, ...],
    queries: int,
    k: int,
    no_parity: bool,
    quiet: bool,
    log: Path | None,
    as_json: bool,
) -> int:
    """Compare every record of source and target, then searches and filters. Changes nothing.

    \b
    Examples:
      vecferry verify chroma:./chroma_db qdrant+http://localhost:6333
      vecferry verify chroma:./chroma_db qdrant+http://localhost:6333 -c faq=faq_v2 --queries 1000
    """
    from vecferry import migration
    from vecferry.cli import show
    from vecferry.engine.stop import Stop
    from vecferry.progress import observer
    from vecferry.verify.model import DATA_LEVELS, Level, VerifyOptions

    levels = DATA_LEVELS if no_parity else frozenset(Level)
    stop = Stop()
    with observer(common.messages(), quiet=quiet, log=log) as observe, common.stoppable(stop):
        proof = migration.verify(
            defaults.source_url(source),
            defaults.target_url(target),
            collections=collections,
            options=VerifyOptions(queries=queries, k=k, levels=levels),
            observer=observe,
            stop=stop,
        )
    if as_json:
        common.print_json({**common.as_data(proof), "ok": proof.ok, "differences": proof.differences})
    else:
        show.verification(common.output(as_json=False), proof)
    return Exit.DONE if not proof.differences and (proof.ok or no_parity) else Exit.DIFFERENCES
