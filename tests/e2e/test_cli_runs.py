"""Runs that are stopped, killed, held by another process or asked for with other options."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.command import Vecferry, copied, wait_until
from tests.e2e.stores import points

pytestmark = [pytest.mark.qdrant, pytest.mark.slow]
RECORDS = 3000
SLOWLY = ("--batch-bytes", "8192", "--rate", "100", "--jobs", "2")
"""Half a minute for all records: time enough for whatever is to happen meanwhile. Not a part of what is asked for."""


def moving(chroma: Path, url: str, name: str, *more: str) -> tuple[str, ...]:
    return ("migrate", f"chroma:{chroma}", url, "-c", f"docs={name}", "--no-verify", "--log", "events.jsonl", *more)


def test_one_process_at_a_time_and_ctrl_c(
    larger: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """A second process is told who holds the run. Ctrl-C ends the first as resumable, and the next one goes on."""
    command = moving(larger, qdrant_server.url, name)
    log = vecferry.folder / "events.jsonl"
    first = vecferry.start(*command, *SLOWLY, "--yes")
    wait_until(lambda: copied(log) > 0, first)

    second = vecferry(*command, "--yes", expect=3)
    assert f"process {first.pid}" in second.err
    running = vecferry("status", "--json").json["runs"][0]
    assert (running["state"], str(first.pid) in running["holder"]) == ("running", True)

    assert first.poll() is None, "the first process was to be stopped, and is done already"
    first.send_signal(signal.SIGINT)
    stopped = vecferry.end(first, expect=4)
    assert "Run the same command again" in stopped.err
    (run,) = vecferry("status", "--json").json["runs"]
    assert run["state"] == "interrupted"
    assert 0 < run["done"] < RECORDS
    assert len(points(qdrant, name)) >= run["done"], "what is counted as done is there"

    other = vecferry(*moving(larger, qdrant_server.url, name, "--layout", "flat"), "--yes", expect=3)
    assert "--layout: was auto, now flat" in other.err
    assert "--restart" in other.err

    done = vecferry(*command, "--json")  # no --yes and no terminal: a run's own half-written target is not asked about
    assert "Resuming run" in done.err
    assert (done.json["resumed"], done.json["records"]) == (run["done"], RECORDS)
    assert len(points(qdrant, name)) == RECORDS


def test_ctrl_c_twice_while_the_target_hangs(larger: Path, start_qdrant: Any, clients: Any, vecferry: Vecferry) -> None:
    """The first asks for the batches in flight to be finished, which never happens; the second does not wait."""
    server = start_qdrant()
    command = moving(larger, server.url, "docs")
    log = vecferry.folder / "events.jsonl"
    process = vecferry.start(*command, *SLOWLY, "--yes")
    wait_until(lambda: copied(log) > 0, process)
    with server.paused():
        wait_until(lambda: unread(server) > 1000, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("Press Ctrl-C again" in line for line in lines)
        process.send_signal(signal.SIGINT)
        vecferry.end(process, expect=4)
    again = vecferry(*command, "--json").json
    assert again["resumed"] > 0
    assert len(points(clients(server), "docs")) == RECORDS


def unread(server: Any) -> int:
    """Bytes that were sent to a server and that it has not taken yet."""
    ports = {f":{port:04X}" for port in server.ports}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].rpartition(":")[2], 16) for row in rows if row[1][-5:] in ports)


def test_another_plan_for_an_unfinished_run(
    larger: Path, qdrant_server: Any, qdrant: Any, name: str, vecferry: Vecferry
) -> None:
    """A plan file that was edited after the kill is refused; --restart begins anew, and drops nothing unasked."""
    vecferry("plan", f"chroma:{larger}", qdrant_server.url, "-c", f"docs={name}", "-o", "plan.yaml", "-q")
    command = ("migrate", "--plan", "plan.yaml", "--yes", "--no-verify", "--log", "events.jsonl")
    log = vecferry.folder / "events.jsonl"
    process = vecferry.start(*command, *SLOWLY)
    wait_until(lambda: copied(log) > 0, process)
    process.kill()
    vecferry.end(process, expect=-signal.SIGKILL)

    file = vecferry.folder / "plan.yaml"
    plan = yaml.safe_load(file.read_text())
    plan["collections"][0]["target"]["card"]["layout"] = "flat"
    file.write_text(yaml.safe_dump(plan))
    refused = vecferry(*command, expect=3)
    assert "--plan: was" in refused.err

    other_form = vecferry(*command, "--restart", expect=3)
    assert "--if-exists recreate" in other_form.err
    anew = ("--yes", "--restart", "--if-exists", "recreate", "--queries", "3", "--json")
    done = vecferry("migrate", "--plan", "plan.yaml", *anew).json
    assert (done["resumed"], done["records"], done["differences"]) == (0, RECORDS, 0)
    assert {"page", "document"} <= points(qdrant, name)["doc-00001"].payload.keys()
    states = [run["state"] for run in vecferry("status", "--json").json["runs"]]
    assert (states[0], set(states[1:])) == ("done", {"dropped"})
