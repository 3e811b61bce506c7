"""An API key appears nowhere: not on a screen, in a file of ours, in the ledger, or on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Vecferry, copied, wait_until

pytestmark = pytest.mark.qdrant
CANARY = "canary-5f1e7a90-key"


def test_the_key_is_seen_nowhere(larger: Path, start_qdrant: Any, vecferry: Vecferry) -> None:
    """Through success and failure, by environment and by file: every output, every file, every process's arguments."""
    server = start_qdrant(api_key=CANARY)
    key_file = vecferry.folder.parent / "key"
    key_file.write_text(f"{CANARY}\n")
    by_file = f"{server.url}&api_key=file:{key_file}"
    known = {"QDRANT_API_KEY": CANARY}
    move = ("migrate", f"chroma:{larger}", server.url, "--yes", "--log", "events.jsonl", "--queries", "3")

    process = vecferry.start(*move, "--rate", "2000", "--batch-bytes", "16384", env=known, cold=True)
    wait_until(lambda: copied(vecferry.folder / "events.jsonl") > 0, process)
    lines = arguments_of(process.pid)
    assert any("migrate" in line for line in lines)
    assert not [line for line in lines if CANARY in line]
    shown = [vecferry.end(process)]

    shown.append(vecferry("plan", f"chroma:{larger}", by_file, "-o", "plan.yaml"))
    shown.append(vecferry("verify", f"chroma:{larger}", by_file, "--no-parity", "--json", "--report", "proof"))
    shown.append(vecferry("doctor", by_file, "--json"))
    shown.append(vecferry("status", "--json"))
    wrong = f"{CANARY}-wrong"
    shown.append(vecferry(*move, env={"QDRANT_API_KEY": wrong}, expect=5))
    in_url = vecferry("doctor", f"{server.url}&api_key={CANARY}", expect=5)
    assert "api_key=env:NAME" in in_url.text
    shown.append(in_url)

    assert not [done for done in shown if CANARY in done.out + done.err]
    files = [path for path in vecferry.folder.rglob("*") if path.is_file()]
    assert {"ledger.db", "events.jsonl", "report.html", "report.json", "plan.yaml"} <= {path.name for path in files}
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def arguments_of(pid: int) -> list[str]:
    """The command lines of a process and of all that descend from it."""
    lines = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if int(stat.parent.name) == pid or parent == pid:
                lines.append((stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has just ended
    return lines
