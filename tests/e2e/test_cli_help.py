"""What the command says about itself, and what it says where the command line is wrong."""

from __future__ import annotations

import json

import pytest

from tests.e2e.command import Vecferry

COMMANDS = (
    "doctor", "inspect", "plan", "migrate", "sync", "status", "verify", "compare", "repair", "retire", "report", "demo",
)  # fmt: skip


def test_the_group_names_every_command_and_teaches_by_example(vecferry: Vecferry) -> None:
    shown = vecferry("--help").out
    assert all(f"\n  {command} " in shown for command in COMMANDS)
    assert "vecferry migrate chroma:./chroma_db qdrant+http://localhost:6333 --dry-run" in shown
    assert "Store URLs:" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_example(command: str, vecferry: Vecferry) -> None:
    """Help of a command: exit 0, and at least two command lines that a person can copy."""
    shown = vecferry(command, "--help").out
    examples = shown[shown.index("Examples:") :]
    assert examples.count(f"\n    vecferry {command}") >= 2 - (command == "demo"), examples


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("migrat",), "Did you mean 'migrate'?"),
        (("migrate", "--jobs", "0"), "0 is not in the range"),
        (("migrate",), "CHROMA_DB_PATH"),
        (("migrate", "chroma:./x"), "QDRANT_URL"),
        (("inspect", "chrma:./x"), "chrma"),
        (("inspect", "./chroma_db"), "is not a store URL"),
        (("inspect", "qdrant+http://h?api_key=swordfish"), "api_key=env:NAME"),
        (("migrate", "chroma:./x", "qdrant:./y", "--accept", "nonsense"), "SHAPE=POLICY"),
        (("migrate", "chroma:./x", "qdrant:./y", "--target-config", "m"), "NAME=VALUE"),
        (("migrate", "chroma:./x", "qdrant:./y", "--plan", "absent.yaml"), "absent.yaml"),
        (("report", "absent"), "absent"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments: tuple[str, ...], message: str, vecferry: Vecferry) -> None:
    """Exit 2, no traceback, the remedy in the message; with --json an object with the same."""
    done = vecferry(*arguments, "--json", expect=2)
    assert message in done.text
    assert "Traceback" not in done.err
    assert "swordfish" not in done.text
    said = json.loads(done.out)
    assert (said["exit_code"], bool(said["error"]["message"])) == (2, True)
