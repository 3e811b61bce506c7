"""`--json`: one object on standard output, with the keys that docs/reference/json.md names, no more and no fewer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.e2e.command import Done, Vecferry

pytestmark = pytest.mark.qdrant
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
DOCUMENT = (REFERENCE / "json.md").read_text(encoding="utf-8")


def documented(command: str) -> set[str]:
    """The keys in the first column of a section's table."""
    section = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{command}\n")]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def paths(value: Any, at: str = "") -> Iterator[str]:
    """The path of every leaf, and of every empty object or list."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from paths(inner, f"{at}.{key}" if at else key)
    elif isinstance(value, list) and value:
        for inner in value:
            yield from paths(inner, f"{at}[]")
    else:
        yield at


def is_named(path: str, keys: set[str]) -> bool:
    """A leaf is named itself, or lies under an object of free keys; an empty list is named by its elements' keys."""
    free = [key.removesuffix("*") for key in keys if key.endswith(".*")]
    return (
        path in keys
        or any(path.startswith(prefix) or f"{path}." == prefix for prefix in free)
        or any(key.startswith(f"{path}[]") for key in keys)
    )


def check(command: str, done: Done) -> Any:
    """Every key that was printed is documented, and every documented key of the first level was printed."""
    keys = documented(command)
    assert keys, command
    printed = set(paths(done.json))
    assert not [path for path in sorted(printed) if not is_named(path, keys)]
    top = {re.split(r"[.\[]", key)[0] for key in keys}
    assert top == set(done.json), command
    return done.json


def test_every_command_prints_what_is_documented(
    small: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """All commands over one small migration, with a difference in it so that findings are printed too."""
    stores = (f"chroma:{small}", qdrant_server.url, "-c", f"docs={name}")
    check("doctor", vecferry("doctor", qdrant_server.url, "--json"))
    inspected = check("inspect", vecferry("inspect", f"chroma:{small}", "--json"))
    assert inspected["records"] == 40
    check("plan", vecferry("plan", *stores, "--json"))
    dry = check("migrate", vecferry("migrate", *stores, "--dry-run", "--json"))
    assert (dry["dry_run"], dry["records"], dry["run"]) == (True, 40, None)
    moved = check("migrate", vecferry("migrate", *stores, "--yes", "--queries", "3", "--json"))
    assert (moved["dry_run"], moved["records"], moved["ok"], moved["differences"]) == (False, 40, True, 0)
    assert moved["seconds"].keys() == {"inspect", "copy", "index", "verify", "parity"}

    points, _ = qdrant.scroll(name, limit=1)
    qdrant.delete(name, [points[0].id], wait=True)
    check("verify", vecferry("verify", *stores, "--queries", "3", "--json", expect=1))
    check("repair", vecferry("repair", *stores, "--yes", "--json"))
    check("compare", vecferry("compare", *stores, "--queries", "3", "--json"))
    synced = check("migrate", vecferry("sync", *stores, "--queries", "3", "--json"))
    assert [(one["target"], one["written"]) for one in synced["synced"]] == [(name, 0)]
    archives = f"files:{small.parent}/backups"
    check("backup", vecferry("backup", f"chroma:{small}", archives, "--keep", "1", "--json"))
    check("migrate", vecferry("restore", archives, f"files:{small.parent}/restored", "--yes", "--json"))
    check("status", vecferry("status", "--json"))
    report = vecferry("report", Path(moved["report"]).parent, "--json").json
    jsonschema.validate(report, json.loads((REFERENCE / "report.schema.json").read_text()))


def test_errors_are_objects_too(vecferry: Vecferry) -> None:
    """The same shape for a command line that is wrong and for a store that cannot be read; people read stderr."""
    for arguments, code in ((("inspect", "nothing"), 2), (("inspect", "chroma:absent"), 5)):
        done = vecferry(*arguments, "--json", expect=code)
        said = check("Errors", done)
        assert said["exit_code"] == code
        assert said["error"]["hint"]
        assert said["error"]["message"].split()[0] in done.err


def test_every_exit_code_is_documented() -> None:
    from vecferry.cli.exits import Exit

    text = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)} == {int(one) for one in Exit}
