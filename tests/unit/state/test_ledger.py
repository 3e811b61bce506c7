"""The ledger: runs, leases, checkpoints, and what it says when it cannot."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from vecferry.errors import ConfigError, LedgerError, LedgerTooNew, PlanChanged, RunLocked, StoreFull
from vecferry.events import Notice
from vecferry.model import Partition, PartitionId, Position, Rejection
from vecferry.state import database, schema
from vecferry.state.lease import Owner
from vecferry.state.ledger import Ledger
from vecferry.state.model import Checkpoint, IdProof, Job, Outcome, Step, Target
from vecferry.state.run import HISTORY
from vecferry.testing.skips import skip

PART = PartitionId("p0")


def make_job(**changes: object) -> Job:
    parts = tuple(Partition(id=PartitionId(f"p{n}"), bounds=f"[{n}\x00]", estimated_rows=10) for n in range(3))
    job = Job(
        key="k",
        source="chroma /data",
        target="qdrant here:6333",
        collections=(
            Target(source="docs", target="docs", partitions=parts),
            Target(source="more", target="other", partitions=()),
        ),
        facts={"source": "chroma /data", "'docs' target vectors[0].dim": "384"},
        plan='{"version":1}',
        request={"--layout": "plain"},
    )
    return replace(job, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


# --------------------------------------------------------------------------- runs


def test_what_was_committed_is_there_after_the_ledger_was_opened_anew(path):
    """A run's plan, bounds, positions, counts and rejections survive, with every character of them."""
    with Ledger(path) as ledger:
        run = ledger.open_run(make_job())
        assert not run.resumed
        first = Checkpoint(
            position=Position("a\x00\ud800\U0001f600'"), read=9, written=7, skipped=1, rejected=1, bytes=99
        )
        run.commit("docs", PART, first, [Rejection("id\x00\u2028", "torn")])
        run.mark("docs", Step.PREPARED, fresh=True)
        run.spend("docs", "copy", 1.5)
        run.spend("docs", "copy", 1.0)
        run.close(Outcome.INTERRUPTED, error="stopped")
    with Ledger(path) as ledger:
        again = ledger.open_run(make_job())
        assert (again.id, again.epoch, again.resumed) == (run.id, 2, True)
        docs = again.collections()["docs"]
        assert docs.checkpoints[PART] == first
        assert docs.checkpoints[PartitionId("p2")] == Checkpoint()
        assert (docs.step, docs.fresh, docs.seconds, docs.total.read) == (Step.PREPARED, True, {"copy": 2.5}, 9)
        assert [q.rejection for q in ledger.rejections(run.id)] == [Rejection("id\x00\u2028", "torn")]
        info = ledger.run(run.id)
        assert info is not None
        assert (info.plan, info.request) == ('{"version":1}', {"--layout": "plain"})


def test_a_finished_run_is_not_taken_up_again(path):
    """After `done` the same command begins a new run; the history shows both, newest first."""
    with Ledger(path) as ledger:
        first = ledger.open_run(make_job())
        first.close(Outcome.DONE)
        assert ledger.unfinished("k") is None
        second = ledger.open_run(make_job())
        assert second.id != first.id
        assert [(info.id, info.outcome, info.running) for info in ledger.history()] == [
            (second.id, None, True),
            (first.id, Outcome.DONE, False),
        ]


def test_a_changed_plan_is_refused_and_said(path):
    """The refusal names every option and fact that differs, both values, and both ways to go on."""
    with Ledger(path) as ledger:
        ledger.open_run(make_job()).close(Outcome.INTERRUPTED)
        changed = make_job(
            facts={"source": "chroma /data", "'docs' target vectors[0].dim": "768", "'docs' partitions": "4"},
            request={"--layout": "flat"},
        )
        with pytest.raises(PlanChanged) as caught:
            ledger.open_run(changed)
        said = str(caught.value)
        assert "--layout: was plain, now flat" in said
        assert "'docs' target vectors[0].dim: was 384, now 768" in said
        assert "'docs' partitions: was (absent), now 4" in said
        assert "source: was" not in said
        assert "--restart" in said
        assert ledger.open_run(make_job()).resumed


def test_an_option_that_one_version_does_not_know_is_no_change(path):
    """Another version's run goes on; an option that both know is still compared, and so is every fact."""
    with Ledger(path) as ledger:
        ledger.open_run(make_job(request={"--layout": "plain", "--gone": "x"})).close(Outcome.INTERRUPTED)
        newer = make_job(request={"--layout": "plain", "--new": "y"})
        run = ledger.open_run(newer)
        assert run.resumed
        run.close(Outcome.INTERRUPTED)
        with pytest.raises(PlanChanged, match="--layout: was plain, now flat"):
            ledger.open_run(replace(newer, request={"--layout": "flat", "--new": "y"}))
        with pytest.raises(PlanChanged, match="'docs' target new: was"):
            ledger.open_run(replace(newer, facts={**newer.facts, "'docs' target new": "1"}))


def test_restart_gives_the_old_run_up(path):
    """`restart` begins anew; the old run stays in the history as dropped, and its holder could write no more."""
    with Ledger(path) as ledger:
        old = ledger.open_run(make_job())
        old.commit("docs", PART, Checkpoint(position=Position("x"), read=5, written=5))
        old.close(Outcome.FAILED, error="disk")
        new = ledger.open_run(make_job(facts={"source": "other"}), restart=True)
        assert not new.resumed
        assert new.collections()["docs"].total.read == 0
        assert [info.outcome for info in ledger.history()] == [None, Outcome.DROPPED]


# --------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_never_moves_back(path):
    """Fewer records than committed, a done partition and an unknown one are refused, and nothing of it is kept."""
    with Ledger(path) as ledger:
        run = ledger.open_run(make_job())
        run.commit("docs", PART, Checkpoint(position=Position("b"), read=10, written=10))
        with pytest.raises(LedgerError, match="further already"):
            run.commit("docs", PART, Checkpoint(position=Position("a"), read=9, written=9), [Rejection("x", "y")])
        assert run.collections()["docs"].checkpoints[PART].position == "b"
        assert ledger.rejections(run.id) == []
        run.commit("docs", PART, Checkpoint(position=Position("c"), read=11, written=11, done=True))
        with pytest.raises(LedgerError):
            run.commit("docs", PART, Checkpoint(position=Position("d"), read=12, written=12))
        with pytest.raises(LedgerError):
            run.commit("docs", PartitionId("nowhere"), Checkpoint(position=Position("d"), read=12, written=12))


def test_a_step_never_goes_back(path):
    """Marking an earlier step after a later one changes nothing."""
    with Ledger(path) as ledger:
        run = ledger.open_run(make_job())
        run.mark("docs", Step.COPIED)
        run.mark("docs", Step.PREPARED)
        assert run.collections()["docs"].step is Step.COPIED
        assert run.collections()["more"].step is Step.PLANNED


def test_proofs_and_a_bounded_history_are_kept(path):
    """Id proofs are read back and replaced; of many events the newest stay, in order."""
    with Ledger(path) as ledger:
        run = ledger.open_run(make_job())
        run.prove_ids("docs", IdProof(rule="r", records=1, rewritten=0, at=1.0))
        proof = IdProof(rule="uuid5", records=10, rewritten=4, at=2.0)
        run.prove_ids("docs", proof)
        assert run.id_proofs() == {"docs": proof}
        for batch in range(3):
            for number in range(HISTORY - 100):
                run.note(Notice(message=f"{batch}.{number}"))
            run.heartbeat()
        kept = ledger.events(run.id)
        assert len(kept) == HISTORY
        assert f'"message":"2.{HISTORY - 101}"' in kept[-1].body
        assert [event.at for event in kept] == sorted(event.at for event in kept)


# --------------------------------------------------------------------------- leases


def test_a_run_that_a_live_process_holds_is_refused(path):
    """The refusal names the holder; so does a rival run into the same target collection, and only that."""
    with Ledger(path) as ledger:
        held = ledger.open_run(make_job())
        with pytest.raises(RunLocked, match=rf"Run {held.id} is held by process {os.getpid()} on "):
            ledger.open_run(make_job())
        with pytest.raises(RunLocked, match="held"):
            ledger.open_run(make_job(), restart=True)
        with pytest.raises(RunLocked, match="the same collection 'other'"):
            ledger.open_run(make_job(key="k2", collections=(Target(source="x", target="other", partitions=()),)))
        ledger.open_run(make_job(key="k3", collections=(Target(source="x", target="free", partitions=()),)))


@pytest.fixture
def frozen_writer(path, monkeypatch):
    """A ledger with a held run, while another connection stands in the middle of a transaction that writes."""
    monkeypatch.setattr(database, "_BUSY_MS", 50)
    with Ledger(path) as ledger:
        run = ledger.open_run(make_job())
        frozen = sqlite3.connect(path, isolation_level=None)
        frozen.execute("BEGIN IMMEDIATE")
        yield run
        frozen.close()


def test_a_holder_frozen_while_it_writes_is_named(path, frozen_writer):
    """Stopped (Ctrl-Z) in the middle of a commit, it holds SQLite's own lock: the refusal names it all the same."""
    with Ledger(path) as second:
        with pytest.raises(RunLocked, match=rf"Run {frozen_writer.id} is held by process {os.getpid()} on "):
            second.open_run(make_job())
        assert [info.running for info in second.history()] == [True]
        assert frozen_writer.collections()["docs"].step is Step.PLANNED


def test_a_ledger_that_somebody_writes_into_for_long_is_said(path, frozen_writer):
    """A run of other collections is nobody's, but cannot be written down: the advice is to look who holds what."""
    other = make_job(key="k2", collections=(Target(source="x", target="free", partitions=()),))
    with Ledger(path) as second, pytest.raises(LedgerError, match="Another process has been writing") as caught:
        second.open_run(other)
    assert "vecferry status" in caught.value.hint


def test_a_new_ledger_may_be_opened_by_many_at_once(tmp_path):
    """Each connection switches the new file to the write-ahead log; SQLite refuses some of them without waiting."""
    with ThreadPoolExecutor(4) as pool:
        for attempt in range(40):
            start = threading.Barrier(4)
            opened = [pool.submit(_open_at, tmp_path / f"{attempt}.db", start) for _ in range(4)]
            assert [one.result() for one in opened] == [[]] * 4


def _open_at(path, start):
    start.wait()
    with Ledger(path) as ledger:
        return ledger.history()


def test_a_dead_holder_on_this_host_is_succeeded_at_once(path):
    """A killed process leaves its lease; the next one need not wait for it to run out."""
    program = (
        "import os, sys; from vecferry.state.ledger import Ledger; from tests.unit.state.test_ledger import make_job;"
        "Ledger(sys.argv[1]).open_run(make_job()); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert died.returncode == -9
    with Ledger(path) as ledger:
        info = ledger.unfinished("k")
        assert info is not None
        assert (info.running, info.outcome) == (False, Outcome.INTERRUPTED)
        run = ledger.open_run(make_job())
        assert (run.resumed, run.epoch) == (True, 2)


def test_a_stale_holder_can_write_nothing(path):
    """Once its lease ran out and another process took over, commits, marks and heartbeats of the first are refused."""
    with Ledger(path, lease_seconds=0.05) as ledger:
        stale = ledger.open_run(make_job())
        time.sleep(0.1)
        fresh = ledger.open_run(make_job())
        assert fresh.epoch == stale.epoch + 1
        for write in (
            stale.heartbeat,
            stale.ensure_held,
            lambda: stale.commit("docs", PART, Checkpoint(position=Position("z"), read=1, written=1)),
            lambda: stale.mark("docs", Step.VERIFIED),
            lambda: stale.close(Outcome.DONE),
        ):
            with pytest.raises(RunLocked, match="no longer holds"):
                write()
        assert fresh.collections()["docs"].checkpoints[PART] == Checkpoint()
        assert ledger.unfinished("k") is not None


def test_every_write_renews_the_lease(path, monkeypatch):
    """A holder that commits is alive, heartbeat or not."""
    began, passed = time.time(), 0.0
    monkeypatch.setattr("time.time", lambda: began + passed)
    with Ledger(path, lease_seconds=30) as ledger:
        run = ledger.open_run(make_job())
        for read in range(8):
            passed += 20
            run.commit("docs", PART, Checkpoint(position=Position(str(read)), read=read, written=read))
        with pytest.raises(RunLocked):
            ledger.open_run(make_job())
        passed += 31
        assert ledger.open_run(make_job()).epoch == run.epoch + 1


def test_a_worker_process_commits_under_its_holders_epoch(path):
    """`attach` lets another process write for the holder, and stops it once the epoch has moved on."""
    with Ledger(path, lease_seconds=0.2) as ledger:
        holder = ledger.open_run(make_job())
        context = multiprocessing.get_context("spawn")
        worker = context.Process(target=_commit_elsewhere, args=(str(path), holder.id, holder.epoch))
        worker.start()
        worker.join()
        assert worker.exitcode == 0
        assert holder.collections()["docs"].checkpoints[PART].read == 3
        time.sleep(0.3)
        ledger.open_run(make_job())
        with pytest.raises(RunLocked):
            ledger.attach(holder.id, holder.epoch)


def _commit_elsewhere(path: str, ident: str, epoch: int) -> None:
    with Ledger(path, lease_seconds=0.2) as ledger:
        ledger.attach(ident, epoch).commit("docs", PART, Checkpoint(position=Position("c"), read=3, written=3))


def test_owners_know_the_dead_from_the_living(tmp_path):
    """This process lives; a zombie, a reused number and a gone one do not; of other hosts nothing is certain."""
    if sys.platform != "linux":
        skip("platform", "/proc")
    me = Owner.me()
    assert Owner.parse(str(me)) == me
    assert not me.certainly_dead
    assert not replace(me, host="elsewhere", pid=2**22).certainly_dead
    assert replace(me, started="1").certainly_dead
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        zombie = Owner(me.host, child.pid, "1", "n")
        while Path(f"/proc/{child.pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)
        assert zombie.certainly_dead
        child.wait()
    assert zombie.certainly_dead
    assert replace(zombie, started="").certainly_dead


# --------------------------------------------------------------------------- the file


def test_only_its_owner_can_read_the_ledger(path):
    """The file and its side files have mode 0600, the folder 0700, whatever the umask says."""
    old = os.umask(0)
    try:
        with Ledger(path) as ledger:
            ledger.open_run(make_job())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert set(modes) == {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_commits_survive_a_power_cut(path):
    """SQLite writes ahead and syncs at each commit."""
    with Ledger(path) as ledger, ledger._database.transaction() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2


def test_a_file_that_is_no_ledger_is_named(path):
    """Some other file at that path is refused, and left as it is."""
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(LedgerError, match="is not a ledger"):
        Ledger(path)
    assert path.read_bytes().startswith(b"this is not")


def test_a_later_ledger_is_refused(path):
    """A ledger that a later vecferry wrote is not touched."""
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vecferry_ledger SET version = 99")
    connection.close()
    with pytest.raises(LedgerTooNew, match="has version 99"):
        Ledger(path)


def test_a_ledger_of_version_1_opens_and_goes_on(tmp_path):
    """A file written by the first release, with an unfinished run: its checkpoints are read and move on."""
    kept = Path(__file__).parents[2] / "data" / "ledger" / "v1.db"
    path = tmp_path / "ledger.db"
    path.write_bytes(kept.read_bytes())
    with Ledger(path) as ledger:
        run = ledger.open_run(make_job())
        assert run.resumed
        assert run.collections()["docs"].checkpoints[PART] == Checkpoint(
            position=Position('"doc-41\x00"'), read=42, written=40, rejected=2, bytes=4200
        )
        assert len(ledger.rejections(run.id)) == 2
        assert [event.kind for event in ledger.events(run.id)] == ["Notice"]
        run.commit("docs", PART, Checkpoint(position=Position("end"), read=50, written=48, rejected=2, done=True))


def test_an_older_ledger_is_lifted(tmp_path, monkeypatch):
    """The migrations between its version and ours run once, in one transaction with the version."""
    path = tmp_path / "ledger.db"
    path.write_bytes((Path(__file__).parents[2] / "data" / "ledger" / "v1.db").read_bytes())

    def lift(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT 'lifted'"))

    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: lift})
    for _ in range(2):
        with Ledger(path) as ledger, ledger._database.transaction() as connection:
            assert connection.execute(text("SELECT version FROM vecferry_ledger")).scalar() == 2
            assert connection.execute(text("SELECT DISTINCT note FROM runs")).scalar() == "lifted"


def test_a_full_disk_stops_the_run_and_keeps_what_was_written(path):
    """No space for a commit: `StoreFull` with a way out, nothing half written, and the run goes on later."""
    with Ledger(path) as ledger:
        run = ledger.open_run(make_job())
        run.commit("docs", PART, Checkpoint(position=Position("a"), read=1, written=1))
        with ledger._database.transaction() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        many = [Rejection(f"r{n}", "x" * 4000) for n in range(50)]
        with pytest.raises(StoreFull, match="is full") as caught:
            run.commit("docs", PART, Checkpoint(position=Position("b"), read=51, written=1, rejected=50), many)
        assert "the same command goes on" in str(caught.value)
    with Ledger(path) as ledger:
        assert ledger.rejections(run.id) == []
        info = ledger.run(run.id)
        assert info is not None
        assert info.collections[0].checkpoints[PART].position == "a"


def test_a_read_only_ledger_is_refused_with_a_hint(path):
    """Opening a ledger that may not be written says so, and names the option that helps."""
    with Ledger(path) as ledger:
        ledger.open_run(make_job())
    path.chmod(0o400)
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    child = context.Process(target=_open_as_nobody, args=(str(path), sender))
    child.start()
    child.join()
    assert receiver.recv() == ("StoreFull", True)


def _open_as_nobody(path: str, sender: multiprocessing.connection.Connection) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        Ledger(path)
    except (StoreFull, LedgerError) as error:
        sender.send((type(error).__name__, "--ledger PATH" in str(error)))
    else:
        sender.send(("opened", False))


@pytest.mark.parametrize("location", ["nonsense://x", "postgresql+nowhere://h/d"])
def test_a_location_that_is_no_database_is_bad_usage(location):
    """Unknown database URLs are the user's to mend."""
    with pytest.raises(ConfigError):
        Ledger(location)


def test_the_ledger_lies_where_it_was_said(tmp_path, monkeypatch):
    """--ledger wins over VECFERRY_LEDGER, that over the user's own folder; snapshots lie beside it."""
    monkeypatch.setenv("VECFERRY_LEDGER", str(tmp_path / "env.db"))
    with Ledger() as ledger:
        assert ledger.location == str(tmp_path / "env.db")
        assert ledger.snapshot_folder("r1") == tmp_path / "snapshots" / "r1"
    with Ledger(f"sqlite:///{tmp_path / 'given.db'}") as ledger:
        run = ledger.open_run(make_job())
        assert ledger.unfinished("k").id == run.id
    monkeypatch.delenv("VECFERRY_LEDGER")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    with Ledger() as ledger:
        assert ledger.location.startswith(str(tmp_path)) or sys.platform != "linux"
        assert ledger.location.endswith("ledger.db")


def test_the_schema_compiles_for_postgresql():
    """Nothing in the tables is SQLite's alone: PostgreSQL's dialect can create every one of them."""
    for table in schema.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
        for index in table.indexes:
            assert "CREATE" in str(CreateIndex(index).compile(dialect=postgresql.dialect()))
