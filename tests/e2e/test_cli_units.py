"""User by user with the installed command: units, the status table, `status --watch` in another process, a kill."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

from tests.e2e.command import Vecferry, logged, wait_until
from tests.e2e.test_cli_json import check
from vecferry.testing.mariadb import MariaDBDatabase

pytestmark = [pytest.mark.qdrant, pytest.mark.slow]
USERS = {"ann lee": 400, "bob": 60, "eve": 5}
TOTAL = sum(USERS.values())


@pytest.fixture
def source(mariadb: MariaDBDatabase) -> MariaDBDatabase:
    mariadb.execute(
        "CREATE TABLE BRAG (BID BIGINT AUTO_INCREMENT PRIMARY KEY, BUID VARCHAR(50), BTEXT TEXT, "
        "BEMBED VECTOR(4) NOT NULL, KEY (BUID))"
    )
    rng = np.random.default_rng(3)
    rows = [(user, f"{user} {n}", rng.normal(size=4).astype("<f4").tobytes())
            for user, count in USERS.items() for n in range(count)]  # fmt: skip
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO BRAG (BUID, BTEXT, BEMBED) VALUES (%s, %s, %s)", rows)
    return mariadb


def moved(source: MariaDBDatabase) -> dict[str, tuple[str, int]]:
    """What an administrator reads: user -> (status, chunks that are there)."""
    if not source.execute("SHOW TABLES LIKE 'vector_migration_status'"):
        return {}
    rows = source.execute("SELECT user_id, status, migrated_chunks FROM vector_migration_status")
    return {user: (status, count) for user, status, count in rows}


def test_watched_killed_and_run_again(
    source: MariaDBDatabase, qdrant_server: Any, name: str, vecferry: Vecferry
) -> None:
    url = source.url_with(partition_rows="40")  # progress comes with each share that is through
    command = ("migrate", url, qdrant_server.url, "-c", f"BRAG={name}", "--by", "BUID", "--yes", "--queries", "3")
    table = ("--status-table", source.url)
    slowly = ("--batch-bytes", "1024", "--jobs", "1", "--rate", "25")
    first = vecferry.start(*command, *table, *slowly)
    wait_until(lambda: moved(source).get("ann lee", ("", 0))[1] > 0, first)
    assert moved(source)["bob"] == ("pending", 0)
    watching = vecferry.start("status", "--watch")
    assert watching.stdout is not None
    first_line = watching.stdout.readline()
    (run,) = vecferry("status", "--json").json["runs"]
    (ann,) = [unit for unit in run["units"] if unit["value"] == "ann lee"]
    assert (ann["state"], ann["total"]) == ("in_progress", 400)
    assert 0 < ann["moved"] < 400
    first.send_signal(signal.SIGKILL)
    vecferry.end(first, expect=-signal.SIGKILL)
    watched = vecferry.end(watching).out.splitlines()
    assert "BRAG ann lee: in progress, " in first_line
    assert watched[-1].startswith("interrupted, ")
    assert watched[-1].endswith("3 units: 2 pending, 1 in progress")

    vecferry(*command, *table)
    assert moved(source) == {user: ("completed", count) for user, count in USERS.items()}
    listed = vecferry("status", "--run", run["id"], "--units").text
    assert f"done, {TOTAL} of {TOTAL} records; 3 units: 3 completed" in listed
    assert "ann lee completed 400 of 400" in listed
    last = check("status", vecferry("status", "--watch", "--json"))
    assert [unit["state"] for unit in last["runs"][0]["units"]] == ["completed"] * 3
    assert "no run 'other'" in vecferry("status", "--run", "other", expect=2).err


def test_paused_killed_and_resumed(source: MariaDBDatabase, qdrant_server: Any, name: str, vecferry: Vecferry) -> None:
    """Paused from another terminal, the migration waits, also as a new process; a user is held back, and then moved."""
    log = vecferry.folder / "events.jsonl"
    stores = (source.url_with(partition_rows="40"), qdrant_server.url, "-c", f"BRAG={name}", "--by", "BUID")
    command = ("migrate", *stores, "--first", "bob", "--yes", "--queries", "3", "--log", log)

    def pauses() -> int:
        return sum(str(event.get("message", "")).startswith("Paused.") for event in logged(log)) if log.exists() else 0

    plan = vecferry(*command, "--dry-run").err
    assert "bob (60), ann lee (400), eve (5)" in " ".join(plan.split())
    first = vecferry.start(*command, "--batch-bytes", "1024", "--jobs", "1", "--rate", "60")
    wait_until(lambda: any(run["done"] for run in vecferry("status", "--json").json["runs"]), first)
    paused = check("pause", vecferry("pause", "--json"))
    assert (paused["state"], paused["units"]) == ("paused", [])
    wait_until(lambda: pauses() == 1, first)
    first.kill()
    vecferry.end(first, expect=-signal.SIGKILL)
    (run,) = vecferry("status", "--json").json["runs"]
    assert (run["state"], run["holder"]) == ("paused", "")
    assert 0 < run["done"] < TOTAL

    second = vecferry.start(*command)
    wait_until(lambda: pauses() == 2, second)
    (run_now,) = vecferry("status", "--json").json["runs"]
    assert run_now["done"] == run["done"]
    held = check("pause", vecferry("pause", "--unit", "eve", "--json"))
    assert [(unit["value"], unit["state"]) for unit in held["units"]] == [("eve", "paused")]
    assert "no unit 'nobody'" in vecferry("pause", "--unit", "nobody", expect=2).err
    assert "goes on" in vecferry("resume").out
    ended = vecferry.end(second, expect=4)
    assert "1 unit of" in ended.err
    assert "paused: eve." in ended.err
    assert "eve paused 0 of 5" in vecferry("status", "--units").text
    assert "is completed" in vecferry("stay", "--unit", "bob", expect=2).err
    check("stay", vecferry("stay", "--unit", "eve", "--json"))
    assert check("resume", vecferry("resume", "--unit", "eve", "--json"))["units"][0]["state"] == "pending"
    vecferry(*command)
    assert "3 units: 3 completed" in vecferry("status").text


def test_what_does_not_go_together(source: MariaDBDatabase, qdrant_server: Any, vecferry: Vecferry) -> None:
    without = vecferry("migrate", source.url, qdrant_server.url, "--status-table", source.url, "--yes", expect=2)
    assert "add --by COLUMN" in without.err
    alone = vecferry("migrate", source.url, qdrant_server.url, "--order", "value", "--yes", expect=2)
    assert "--order, --first and --stay are of units" in alone.err
    secret = ("--by", "BUID", "--status-table", "mariadb://app:s3same@127.0.0.1/app", "--yes")
    refused = vecferry("migrate", source.url, qdrant_server.url, *secret, expect=2)
    assert "carries a password" in refused.err
    assert "s3same" not in refused.text
    assert not moved(source)
