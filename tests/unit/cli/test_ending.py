"""The next commands that the end of a run prints: they work as they stand, and mean the same."""

from __future__ import annotations

import io
import shlex

import click
import pytest
from rich.console import Console

from vecferry.cli import ending, keep
from vecferry.cli.app import cli


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
    assert found.command("compare") == compare, "it writes nothing and remembers nothing"
    assert found.command("verify") == "vecferry verify memory:a memory:b -c docs --ledger 'my ledger.db'"
    losses = "--accept a=convert --accept b=convert --delete"
    sync = f"vecferry sync memory:a memory:b -c docs {losses} --ledger 'my ledger.db'"
    assert found.command("sync") == sync
    assert found.command("sync", "--delete") == sync, "said once"
    for line in (sync, found.command("verify"), compare):
        _, name, *arguments = shlex.split(line)
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        command.make_context(name, arguments)  # raises where the command has no such option


def test_what_nobody_gave_is_not_in_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that the environment names is found there again."""
    monkeypatch.setenv("VECFERRY_LEDGER", "elsewhere.db")
    assert again().command("sync") == "vecferry sync memory:a memory:b"
    assert again().command("sync", "--delete") == "vecferry sync memory:a memory:b --delete"


@pytest.mark.parametrize(
    "ledger",
    ["postgresql+psycopg://me:swordfish@h/d", "postgresql+psycopg://me@h/d?sslmode=require&password=swordfish"],
)
def test_the_next_command_keeps_the_password_of_a_ledger(ledger: str) -> None:
    told = again("--ledger", ledger).command("sync")
    assert ledger.replace("swordfish", "***") in told
