"""The next commands that the end of a run prints: they work as they stand, and mean the same."""

from __future__ import annotations

import io
import shlex

import click
import pytest
from rich.console import Console

from vecferry.cli import ending, keep, move
from vecferry.cli.app import cli
from vecferry.verification.model import Check, CollectionVerification, Difference, Finding, Level, State, Verification


def test_the_next_command_can_be_pasted_into_a_shell() -> None:
    stores = ("chroma:./my data", "qdrant+http://h:1?grpc_port=2")
    console = Console(file=io.StringIO(), width=40, force_terminal=False, color_system=None)
    ending._next(console, None, ending.Again(stores=stores, chosen=("-c", "docs*=x-*")))
    line = "    vecferry verify 'chroma:./my data' 'qdrant+http://h:1?grpc_port=2' -c 'docs*=x-*'\n"
    assert line in console.file.getvalue(), "one line, quoted"


def again(*arguments: str) -> ending.Again:
    """What the next commands of `sync SOURCE TARGET …` are made of."""
    context = keep.sync.make_context("sync", ["memory:a", "memory:b", *arguments])
    with context:
        return ending.Again.of("memory:a", "memory:b", context.params)


def test_the_next_command_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice goes into every command; losses, deletion and the ledger into those that have such an option."""
    monkeypatch.delenv("VECFERRY_LEDGER", raising=False)
    found = again(
        "-c", "docs", "--accept", "a=convert", "--accept", "b=convert", "--delete", "--ledger", "my ledger.db"
    )
    compare = "vecferry compare memory:a memory:b -c docs"
    assert found.compare() == compare, "it writes nothing and remembers nothing"
    assert found.verify() == "vecferry verify memory:a memory:b -c docs --ledger 'my ledger.db'"
    losses = "--accept a=convert --accept b=convert --delete"
    sync = f"vecferry sync memory:a memory:b -c docs {losses} --ledger 'my ledger.db'"
    assert found.sync() == sync
    assert found.sync(delete=True) == sync, "said once"
    for line in (sync, found.verify(), compare):
        _, name, *arguments = shlex.split(line)
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        command.make_context(name, arguments)  # raises where the command has no such option


def test_a_preset_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows are records by it; once, also where a collection is made anew."""
    monkeypatch.delenv("VECFERRY_LEDGER", raising=False)
    found = again("--preset", "langchain-pgvector")
    for line in (found.sync(), found.verify(), found.compare()):
        _, name, *arguments = shlex.split(line)
        assert arguments == ["memory:a", "memory:b", "--preset", "langchain-pgvector"]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        command.make_context(name, arguments)  # raises where the command has no such option
    context = move.migrate.make_context("migrate", ["memory:a", "memory:b", "--preset", "mine.yaml"])
    with context:
        anew = ending.Again.of("memory:a", "memory:b", context.params).recreate([("a", "b")])
    assert anew.count("--preset mine.yaml") == 1


def test_what_nobody_gave_is_not_in_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that the environment names is found there again."""
    monkeypatch.setenv("VECFERRY_LEDGER", "elsewhere.db")
    assert again().sync() == "vecferry sync memory:a memory:b"
    assert again().sync(delete=True) == "vecferry sync memory:a memory:b --delete"


@pytest.mark.parametrize(
    "ledger",
    ["postgresql+psycopg://me:swordfish@h/d", "postgresql+psycopg://me@h/d?sslmode=require&password=swordfish"],
)
def test_the_next_command_keeps_the_password_of_a_ledger(ledger: str) -> None:
    told = again("--ledger", ledger).sync()
    assert ledger.replace("swordfish", "***") in told


def test_an_order_that_differs_alone_is_mended_by_writing_anew() -> None:
    """With the form that was asked for then; a synchronisation would find nothing to do."""
    form = ("--layout", "flat", "--index", "a", "--index", "b", "--target-config", "m=32")
    context = move.migrate.make_context("migrate", ["memory:a", "memory:b", "-c", "docs", "-c", "faq", *form])
    with context:
        found = ending.Again.of("memory:a", "memory:b", context.params)
    order = Check(level=Level.ORDER, state=State.DIFFERENT, differences=2)
    same = Check(level=Level.CONTENT, state=State.OK)
    docs = CollectionVerification(source="docs", target="ns/docs_v2", records=3, checks=(same, order))
    faq = CollectionVerification(source="faq", target="faq", records=3, checks=(same,))
    why, command = ending._mending(Verification(collections=(docs, faq)), found)
    assert "order" in why
    assert command == f"vecferry migrate memory:a memory:b -c docs=docs_v2 {' '.join(form)} --if-exists recreate"


@pytest.mark.parametrize(
    "difference, step, command",
    [
        (Difference.EXTRA, "delete what only the target has", "vecferry sync memory:a memory:b --delete"),
        (Difference.MISSING, "write what is missing", "vecferry sync memory:a memory:b"),
    ],
)
def test_what_differs_decides_what_comes_next(difference: Difference, step: str, command: str) -> None:
    """Also where the order differs besides, as it does when records are missing."""
    order = Check(level=Level.ORDER, state=State.DIFFERENT, differences=1)
    ids = Check(
        level=Level.IDS, state=State.DIFFERENT, differences=1, findings=(Finding(difference=difference, id="a"),)
    )
    docs = CollectionVerification(source="docs", target="docs", records=3, checks=(ids, order))
    why, told = ending._mending(Verification(collections=(docs,)), again())
    assert (why.startswith(step), told) == (True, command)
