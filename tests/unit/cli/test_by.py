"""`--by`: a table, the same in `--json`, and both sides in the report; what stands in a value plays no tricks."""

import json
from pathlib import Path
from typing import Any

import pytest

from vecferry.cli import app
from vecferry.cli.exits import Exit

HOSTILE = "[bold red]x[/]\x1b[2J<script>"


@pytest.fixture
def backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """60 records of three clients, two without one, one with null; the working directory is the test's own."""
    monkeypatch.chdir(tmp_path)
    clients: list[Any] = [..., ..., None, *("north", "south", HOSTILE) * 19]
    rows = [
        {"id": f"r{n}", "embedding": [n, 1], "metadata": {} if one is ... else {"client": one, "[red]k\x1b": 1}}
        for n, one in enumerate(clients)
    ]
    Path("backup.json").write_text(json.dumps({"collection": "audits", "count": len(rows), "records": rows}))
    return "json:backup.json"


def test_inspect_counts(backup: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["inspect", backup, "--by", "client", "--by", "[red]k\x1b", "--quiet"]) == Exit.DONE
    out = capsys.readouterr().out
    assert "form records" in out
    assert "audits by client: 3 values" in out
    assert [line.split() for line in out.splitlines() if "north" in line] == [["north", "19", "31.7%"]]
    assert next(line.split()[-2:] for line in out.splitlines() if "without the key" in line) == ["2", "3.3%"]
    assert next(line.split() for line in out.splitlines() if "total" in line) == ["total", "60", "100.0%"]
    assert "\x1b" not in out
    assert "[bold red]x[/]" in out
    assert "by [red]k\ufffd: 1 values" in out


def test_inspect_as_json(backup: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["inspect", backup, "--by", "client", "--quiet", "--json"]) == Exit.DONE
    (one,) = json.loads(capsys.readouterr().out)["profiles"][0]["breakdowns"]
    assert (one["key"], one["records"], one["values"], one["cut"]) == ("client", 60, 3, False)
    found = {(group["row"], group["value"]): group["records"] for group in one["groups"]}
    assert found[("value", "north")] == 19
    assert found[("missing", "")] == 2
    assert found[("null", "")] == 1


def test_migrate_and_verify_show_both_sides(backup: str, capsys: pytest.CaptureFixture[str]) -> None:
    target, ledger = "jsonl:copy.jsonl", ["--ledger", "l.db", "--quiet"]
    assert app.run(["migrate", backup, target, "--yes", "--by", "client", "--json", *ledger]) == Exit.DONE
    done = json.loads(capsys.readouterr().out)
    (one,) = done["breakdowns"]
    assert (one["collection"], one["records"], one["in_target"]) == ("audits", 60, 60)
    assert {group["records"] - group["in_target"] for group in one["groups"]} == {0}
    page = Path(done["report"]).read_text()
    assert "The records by key" in page
    assert "north" in page
    assert "<script>" not in page.partition("The records by key")[2]

    rows = json.loads(Path("backup.json").read_text())["records"]
    Path("less.json").write_text(json.dumps([row for row in rows if row["metadata"].get("client") != "north"][:50]))
    command = ["verify", backup, "json:less.json", "-c", "audits=less", "--by", "client", "--quiet"]
    assert app.run(command) == Exit.DIFFERENCES
    out = capsys.readouterr().out
    (north,) = [line.split() for line in out.splitlines() if line.startswith("north")]
    assert north == ["north", "19", "31.7%", "0", "-19"]
    values = out.partition("audits by")[2] or out.partition("less by")[2]
    assert values.index("north") < values.index("south")


def test_counting_needs_verification(backup: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["migrate", backup, "jsonl:x.jsonl", "--by", "client", "--no-verify"]) == Exit.USAGE
    assert "leave --no-verify out" in capsys.readouterr().err
    assert not Path("x.jsonl").exists()
