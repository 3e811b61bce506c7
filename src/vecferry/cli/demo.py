"""The command `demo`: a whole migration with nothing to set up, on real text, from Chroma to an embedded Qdrant."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, options
from vecferry.cli.ending import Again, outcome
from vecferry.cli.exits import Exit
from vecferry.protocols import Fetchable, Searchable, Source, require
from vecferry.state.paths import ledger_option

if TYPE_CHECKING:
    from rich.console import Console

    from vecferry.demo import Question
    from vecferry.migration import Migration

ANSWERS = 3
LEDGER = "ledger.db"
SHOWN = 44
"""Characters of an answer that are printed."""


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to work; must not exist yet. Default: a new temporary folder.",
)
@options.as_json
def demo(folder: Path | None, as_json: bool) -> int:
    r"""Run a whole migration on your own machine: Python's own documentation, from Chroma to an embedded Qdrant.

    Writes a Chroma directory with Chroma itself, moves it, compares every record, asks both stores the same questions,
    and says where the report lies. Needs the extras chroma-local and qdrant-local, and no server.

    \b
    Examples:
      vecferry demo
      vecferry demo --folder ./vecferry-demo
    """
    from vecferry.demo import QUESTIONS, write_chroma
    from vecferry.progress import observer

    console = common.output(as_json=as_json)
    place = _place(folder)
    source, target = f"chroma:{place / 'chroma'}", f"qdrant:{place / 'qdrant'}"
    console.print(f"Working in [bold]{place}[/]\n")
    console.print("1. Chroma writes a directory of real text: the topics of Python's own documentation.")
    written = write_chroma(place / "chroma")
    console.print(f"   {written}\n", markup=False)
    console.print(f"2. vecferry migrate {source} {target}\n", markup=False, soft_wrap=True)
    with observer(common.messages(), quiet=False, log=None) as observe:
        done = _migrate(source, target, place, observe)
    console.print("\n3. The same questions, both stores:\n")
    agreed = [_ask(console, source, target, question) for question in QUESTIONS]
    again = Again(stores=(source, target), ledger=ledger_option(place / LEDGER))
    return _finish(console, done, again, same=all(agreed), as_json=as_json)


def _place(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="vecferry-demo-"))
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise click.UsageError(f"{folder} exists already. Name a new folder, or remove it.") from None
    return folder.absolute()


def _migrate(source: str, target: str, place: Path, observe: Any) -> Migration:
    from vecferry.migration import Settings, migrate

    settings = Settings(ledger=str(place / LEDGER), reports=place / "reports")
    return migrate(source, target, settings=settings, observer=observe)


def _ask(console: Console, source: str, target: str, question: Question) -> bool:
    """Print both stores' first answers to one question, as they give them; do they agree?"""
    from vecferry.cli import show

    sides = [list(_answers(url, question)) for url in (source, target)]
    rows = [(place + 1, *pair) for place, pair in enumerate(zip(*sides, strict=True))]
    show.table(console, question.text, ("", "Chroma", "Qdrant"), rows)
    return sides[0] == sides[1]


def _answers(url: str, question: Question) -> Iterator[str]:
    from vecferry.registry import open_database

    with closing(open_database(url)) as database, closing(database.source(question.collection)) as opened:
        power = require(opened, Searchable, operation="search", instead="Install the extra chroma-local.")
        hits = power.search(question.vector[None, :], k=ANSWERS)[0]
        texts = _texts(opened, [hit.id for hit in hits])
        yield from (f"{hit.id}: {texts[hit.id]}" for hit in hits)


def _texts(opened: Source, ids: list[str]) -> dict[str, str]:
    """The beginning of each record's document, on one line."""
    power = require(opened, Fetchable, operation="fetch by ids", instead="Use a store that can.")
    batch = power.fetch(ids)
    pairs = zip(batch.column("id").to_pylist(), batch.column("document").to_pylist(), strict=True)
    return {ident: " ".join((text or "").split())[:SHOWN] for ident, text in pairs}


def _finish(console: Console, done: Migration, again: Again, *, same: bool, as_json: bool) -> int:
    from vecferry.cli.move import summary

    console.print("Both stores give the same answers.\n" if same else "[red]The answers differ.[/]\n")
    ok = same and done.verification is not None and done.verification.ok
    if as_json:
        common.print_json({**summary(done), "same_answers": same})
    else:
        outcome(console, done, again)
    return Exit.DONE if ok else Exit.DIFFERENCES
