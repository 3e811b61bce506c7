"""kill -9 at every named point of a run; the same command again; the end is that of a run that was never touched."""

from __future__ import annotations

import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash import durable_store, killing
from tests.crash.killing import run
from tests.warm import Process
from vecferry.hooks import POINTS
from vecferry.testing.crash import Fault, Outcome, reached
from vecferry.testing.skips import skip

PROGRAM = "tests.crash.program"
NAMES = ("alpha", "beta")
RECORDS = 100
TOTAL = len(NAMES) * RECORDS
ROOT = Path(__file__).parents[2]

FIRST_NOTHING_COPIED = {"plan.saved", "target.dropped", "sink.prepared", "chunk.read", "batch.before", "batch.written"}
"""Points whose first reach lies before the first checkpoint."""

RECREATE = ("--if-exists", "recreate")
ONCE = {"plan.saved", "run.copied", "run.verified"}
"""Points that a run reaches once; the others are hit at their first reach and at a later one."""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.db"
    durable_store.fill(path, NAMES, RECORDS)
    return path


@pytest.fixture(scope="module")
def untouched(source, tmp_path_factory):
    """What an uninterrupted run leaves, and the points that it reaches."""
    folder = tmp_path_factory.mktemp("untouched")
    leave_old_records(folder)
    done = go(source, folder, *RECREATE)
    assert done.returncode == 0, done.stderr
    return contents(folder), done


def leave_old_records(folder: Path) -> None:
    """A target that holds an older copy, with records that are gone since: what `recreate` is for."""
    durable_store.fill(folder / "target.db", NAMES, RECORDS + 20)


def go(source: Path, folder: Path, *options: str, fault: Fault | None = None) -> Outcome:
    """The one command of all these tests."""
    return run(PROGRAM, arguments(source, folder, *options), log=folder / "reached", fault=fault, env=environment())


def arguments(source: Path, folder: Path, *options: str) -> list[str]:
    return [f"durable:{source}", f"durable:{folder / 'target.db'}", str(folder / "ledger.db"), *options]


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)}


def contents(folder: Path) -> dict[tuple[str, str], bytes]:
    """Every record of the target, byte for byte, read behind our own code's back."""
    with sqlite3.connect(folder / "target.db") as connection:
        rows = connection.execute("SELECT name, id, body FROM records").fetchall()
        finished = connection.execute("SELECT count(*) FROM collections WHERE finished = 1").fetchone()[0]
    connection.close()
    assert finished == len(NAMES)
    return {(name, ident): body for name, ident, body in rows}


def writes(folder: Path) -> int:
    """How many records were written in all, those written twice counted twice."""
    with sqlite3.connect(folder / "target.db") as connection:
        total = connection.execute("SELECT sum(writes) FROM records").fetchone()[0]
    connection.close()
    return int(total)


def test_every_point_is_reached(untouched):
    """A point that no run reaches would make its crash test a lie."""
    assert set(untouched[1].reached) == set(POINTS)


@pytest.mark.parametrize(
    "point, nth", [(point, "first") for point in POINTS] + [(point, "later") for point in POINTS if point not in ONCE]
)
def test_killed_at(point, nth, source, untouched, tmp_path):
    """Killed there, started again: every record is there once, byte for byte, and what was committed was not redone."""
    times = untouched[1].reached[point]
    number = 1 if nth == "first" else max(1, times * 2 // 3)
    leave_old_records(tmp_path)
    died = go(source, tmp_path, *RECREATE, fault=Fault(point=point, nth=number))
    assert died.killed, died.stderr
    again = go(source, tmp_path, *RECREATE)
    assert again.returncode == 0, again.stderr
    assert contents(tmp_path) == untouched[0]
    fresh_start = number == 1 and point in FIRST_NOTHING_COPIED
    assert ('"resumed": 0}' in again.stdout) == fresh_start
    if not fresh_start:
        assert again.reached["batch.written"] < untouched[1].reached["batch.written"]


def test_killed_again_while_resuming(source, untouched, tmp_path):
    """Killed in the first run, in the second, and in the third: each goes further, and the fourth ends the same."""
    for point, nth in (("batch.written", 7), ("checkpoint.committed", 3), ("batch.before", 11)):
        assert go(source, tmp_path, fault=Fault(point=point, nth=nth)).killed
    assert go(source, tmp_path).returncode == 0
    assert contents(tmp_path) == untouched[0]


def test_killed_with_several_readers(source, untouched, tmp_path):
    """Partitions in parallel keep their own checkpoints."""
    assert go(source, tmp_path, "--readers", "3", fault=Fault(point="batch.written", nth=20)).killed
    again = go(source, tmp_path, "--readers", "3")
    assert again.returncode == 0, again.stderr
    assert contents(tmp_path) == untouched[0]


@pytest.mark.parametrize("conflict", ["replace", "skip"])
def test_killed_while_appending(conflict, source, tmp_path):
    """The target's own record under a colliding id is replaced, or left alone, killed or not; strangers stay."""
    durable_store.fill(tmp_path / "target.db", ["alpha"], 1)
    with sqlite3.connect(tmp_path / "target.db") as connection:
        connection.execute("INSERT INTO records SELECT name, 'stranger', body, 1 FROM records")
        connection.execute("UPDATE records SET body = x'00' WHERE id = 'alpha-00000'")
    connection.close()
    options = ("--if-exists", "append", "--on-conflict", conflict)
    assert go(source, tmp_path, *options, fault=Fault(point="batch.written", nth=9)).killed
    again = go(source, tmp_path, *options)
    assert again.returncode == 0, again.stderr
    found = contents(tmp_path)
    assert len(found) == TOTAL + 1
    assert (found["alpha", "alpha-00000"] == b"\0") == (conflict == "skip")


def test_a_second_process_is_refused(source, untouched, tmp_path):
    """While one process works on a run, the same command is refused by name; the first is not disturbed."""
    frozen = start(source, tmp_path, fault=Fault(point="batch.written", nth=5, signal="stop"))
    try:
        second = go(source, tmp_path)
        assert second.returncode == 3
        assert f"is held by process {frozen.pid} on " in second.stderr
        frozen.send_signal(signal.SIGCONT)
        frozen.communicate(timeout=120)
        assert frozen.returncode == 0
    finally:
        frozen.kill()
        frozen.communicate()
    assert contents(tmp_path) == untouched[0]


def test_a_frozen_holder_is_fenced(source, untouched, tmp_path):
    """Frozen past its lease, taken over, thawed: the old holder writes nothing more, to target or ledger, and says why.

    It is frozen between two transactions: SQLite's own lock, held by a frozen process, would stop everybody.
    """
    options = ("--lease", "1.5", "--jobs", "1", "--commit", "3600")
    frozen = start(source, tmp_path, *options, fault=Fault(point="batch.before", nth=5, signal="stop"))
    try:
        while not (is_free(tmp_path / "ledger.db") and is_free(tmp_path / "target.db")):  # a heartbeat was on its way
            frozen.send_signal(signal.SIGCONT)
            frozen.send_signal(signal.SIGSTOP)
            until(lambda: is_stopped(frozen.pid))
        time.sleep(1.6)
        taken = go(source, tmp_path, *options)
        assert taken.returncode == 0, taken.stderr
        before = writes(tmp_path)
        frozen.send_signal(signal.SIGCONT)
        _, said = frozen.communicate(timeout=120)
        assert frozen.returncode == 3
        assert said.startswith("RunLocked")
        assert writes(tmp_path) == before
    finally:
        frozen.kill()
        frozen.communicate()
    assert contents(tmp_path) == untouched[0]


def test_a_changed_plan_is_refused(source, untouched, tmp_path):
    """After a kill, other options are refused and listed; the old ones go on."""
    assert go(source, tmp_path, fault=Fault(point="batch.written", nth=9)).killed
    changed = go(source, tmp_path, "--request", "other")
    assert changed.returncode == 3
    assert "PlanChanged" in changed.stderr
    assert "--request: was , now other" in changed.stderr
    assert go(source, tmp_path).returncode == 0
    assert contents(tmp_path) == untouched[0]


def test_ctrl_c_finishes_what_is_in_flight(source, untouched, tmp_path):
    """One SIGINT: what was written is checkpointed, so that nothing at all is written twice; then it goes on."""
    frozen = start(source, tmp_path, fault=Fault(point="batch.written", nth=10, signal="stop"))
    try:
        frozen.send_signal(signal.SIGINT)
        frozen.send_signal(signal.SIGCONT)
        _, said = frozen.communicate(timeout=120)
        assert frozen.returncode == 3, said
        assert said.startswith("Interrupted")
        assert "Run the same command again" in said
    finally:
        frozen.kill()
        frozen.communicate()
    assert go(source, tmp_path).returncode == 0
    assert contents(tmp_path) == untouched[0]
    assert TOTAL <= writes(tmp_path) < TOTAL + durable_store.CHUNK_ROWS * 2


def start(source: Path, folder: Path, *options: str, fault: Fault) -> Process:
    """The command in the background, frozen at `fault`."""
    if sys.platform != "linux":
        skip("platform", "/proc says whether a process is frozen")
    log = folder / "background"
    process = killing.start(PROGRAM, arguments(source, folder, *options), log=log, fault=fault, env=environment())
    until(lambda: process.poll() is not None or (reached(log)[fault.point] >= fault.nth and is_stopped(process.pid)))
    assert process.poll() is None, process.communicate()
    return process


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_free(database: Path) -> bool:
    """Nobody is in the middle of writing to it."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
