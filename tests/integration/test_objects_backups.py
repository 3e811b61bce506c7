"""Weekly backups: dated, verified, the oldest removed, and everything back bit for bit; on a disk and in a bucket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tests.chroma_data import ChromaData
from vecferry import migration
from vecferry.arrow import from_records
from vecferry.cli.app import run
from vecferry.engine.stop import Stop
from vecferry.errors import ConfigError, CorruptData, Interrupted, NotFound, RunLocked, VecferryError
from vecferry.migration import backups, marks
from vecferry.model import CollectionSpec, Metric, Record, VectorSpec
from vecferry.objects.place import open_place
from vecferry.registry import open_database
from vecferry.testing.contracts import assert_same, plain_records
from vecferry.testing.contracts.base import read_all
from vecferry.testing.s3 import S3Server
from vecferry.url import StoreUrl

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=8, metric=Metric.L2),))


@pytest.fixture(params=["disk", "bucket"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "disk":
        return f"files:{tmp_path}/backups"
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return f"files+s3://{server.bucket}/{tmp_path.name}-{os.getpid()}/backups"


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"files:{tmp_path}/app"
    grow(url, 40)
    return url


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


@pytest.fixture(autouse=True)
def one_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backup is made a week after the one before, within a moment."""
    began = [datetime(2026, 10, 25, 3, 30, tzinfo=UTC)]

    def a_week_later() -> datetime:
        began.append(began[-1] + timedelta(weeks=1))
        return began[-1]

    monkeypatch.setattr(backups, "now", a_week_later)
    monkeypatch.setattr(marks, "now", lambda: began[-1])


def grow(url: str, records: int, name: str = "docs") -> list[Record]:
    from dataclasses import replace

    spec = replace(SPEC, name=name)
    made = plain_records(spec, records)
    sink = open_database(url).sink(spec)
    sink.prepare(spec)
    sink.write(from_records(spec, made))
    sink.finish()
    sink.close()
    return made


def contents(url: str) -> dict[str, list[Record]]:
    database = open_database(url)
    try:
        return {spec.name: read_all(database.source(spec.qualified_name)) for spec in database.collections()}
    finally:
        database.close()


def names(target: str) -> list[str]:
    return open_place(StoreUrl.parse(target)).names()


def test_three_backups_of_which_two_are_kept(source, target, ledger):
    made = []
    for records in (40, 50, 60):
        grow(source, records)
        done = backups.backup(source, target, keep=2, ledger=ledger)
        assert done.verified
        assert done.migration.records == records
        made.append(done.made.name)
    assert made == ["20261101T033000Z", "20261108T033000Z", "20261115T033000Z"]
    assert names(target) == made[1:]
    assert list(done.removed) == made[:1]
    assert [one.name for one in done.kept] == made[:0:-1]
    assert [one.mark.records for one in backups.backups(target)] == [60, 50]
    assert len(contents(f"{target}/{made[1]}")["docs"]) == 50


def test_restore_gives_every_record_back_bit_for_bit(source, target, ledger, tmp_path):
    before = contents(source)
    backups.backup(source, target, ledger=ledger)
    grow(source, 70)
    backups.backup(source, target, ledger=ledger)
    for at, goal in (("20261101", "old"), (None, "new")):
        url = f"files:{tmp_path}/{goal}"
        done = backups.restore(target, url, at=at, settings=migration.Settings(ledger=ledger, reports=None))
        assert done.verification is not None
        assert done.verification.sound
    assert_same(contents(f"files:{tmp_path}/old")["docs"], before["docs"])
    assert_same(contents(f"files:{tmp_path}/new")["docs"], contents(source)["docs"])


def test_a_chroma_directory_comes_back(chroma_data: Callable[[str], ChromaData], target, ledger, tmp_path):
    """Into a directory that Chroma itself writes; every record as it was."""
    url = f"chroma:{chroma_data('1.5.9').path}"
    chosen = ("tail_l2", "types")
    backups.backup(url, target, collections=chosen, ledger=ledger)
    backups.restore(target, f"chroma:{tmp_path}/back", settings=migration.Settings(ledger=ledger, reports=None))
    before, after = contents(url), contents(f"chroma:{tmp_path}/back")
    for name in chosen:
        assert len(before[name]) > 50
        assert_same(after[name], before[name])


def test_a_backup_that_was_cut_off_goes_on_under_its_name(source, target, ledger, monkeypatch):
    class Cut(Exception):
        pass

    def cut(*_):
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(backups, "_verify", cut)
        with pytest.raises(Cut):
            backups.backup(source, target, ledger=ledger)
    assert names(target) == ["20261101T033000Z"]
    with pytest.raises(NotFound, match="no verified backup"):
        backups.chosen(target)
    monkeypatch.setattr(backups, "_GOES_ON_WITHIN", timedelta(days=30))
    done = backups.backup(source, target, ledger=ledger)
    assert done.made.name == "20261101T033000Z"
    assert done.verified
    assert names(target) == ["20261101T033000Z"]


def test_an_old_one_that_was_cut_off_goes_once_the_next_is_verified(source, target, ledger, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(backups, "_verify", lambda *_: (_ for _ in ()).throw(Interrupted("cut", hint="again")))
        with pytest.raises(Interrupted):
            backups.backup(source, target, keep=3, ledger=ledger)
    done = backups.backup(source, target, keep=3, ledger=ledger)
    assert names(target) == [done.made.name] == ["20261108T033000Z"]


def test_nothing_else_is_ever_removed(source, target, ledger, tmp_path):
    """Neither other people's folders, nor archives that bear a date but not our mark, nor another store's backups."""
    other = f"files:{tmp_path}/other"
    grow(other, 5)
    first = backups.backup(other, target, ledger=ledger).made.name
    place = open_place(StoreUrl.parse(target))
    for name in ("20200101T000000Z", "notes"):
        place.below(name).make()
        place.below(name).write("precious", b"by somebody else")
    made = [backups.backup(source, target, keep=1, ledger=ledger).made.name for _ in range(3)]
    assert names(target) == sorted(["20200101T000000Z", "notes", first, made[-1]])
    with pytest.raises(ConfigError, match="several stores"):
        backups.chosen(target)
    assert backups.chosen(target, at=first).endswith(first)


def test_nothing_is_removed_before_the_new_one_is_verified(source, target, ledger, monkeypatch):
    first = backups.backup(source, target, keep=1, ledger=ledger).made.name
    real = backups.migrate

    def damaged(source, target, **options):
        done = real(source, target, **options)
        place = open_place(StoreUrl.parse(target))
        (folder,) = [name for name in place.names() if name.startswith("docs-")]
        part = next(name for name in place.below(folder).names() if name.startswith("part-"))
        place.below(folder).remove([part])
        from dataclasses import replace

        with pytest.raises(CorruptData):
            contents(target)
        assert done.verification is not None
        return replace(done, verification=None)

    monkeypatch.setattr(backups, "migrate", damaged)
    done = backups.backup(source, target, keep=1, ledger=ledger)
    assert not done.verified
    assert [one.name for one in done.kept] == [first]
    assert first in names(target)
    assert backups.chosen(target).endswith(first)


def test_a_backup_that_was_changed_is_not_restored(source, target, ledger):
    made = backups.backup(source, target, ledger=ledger).made
    place = open_place(StoreUrl.parse(made.url))
    place.write("manifest.json", place.read("manifest.json") + b" ")
    with pytest.raises(CorruptData, match="changed since it was verified"):
        backups.chosen(target)


def test_a_single_archive_is_restored_too(source, ledger, tmp_path):
    assert backups.chosen(source) == source


def test_what_cannot_be_kept_is_refused_first(target, ledger, tmp_path, chroma_data):
    with pytest.raises(VecferryError) as caught:
        backups.backup(f"memory:{tmp_path.name}", target, ledger=ledger)
    assert caught.value.hint
    with pytest.raises(ConfigError, match="holds no archives"):
        backups.backup(f"files:{tmp_path}", "qdrant+http://localhost:1", ledger=ledger)


# --------------------------------------------------------------------------- the commands


def test_the_commands_end_with_the_documented_codes(source, tmp_path, ledger, capfd):
    target = f"{tmp_path}/backups"
    arguments = ["--ledger", ledger, "--json", "--quiet"]
    assert run(["backup", source, target, "--keep", "2", *arguments]) == 0
    said = json.loads(capfd.readouterr().out)
    assert re.fullmatch(r"\d{8}T\d{6}Z", said["backup"])
    assert said["verified"] is True
    assert said["records"] == 40
    assert said["kept"] == [said["backup"]]
    report = ["--report", str(tmp_path / "reports")]
    assert run(["restore", target, f"files:{tmp_path}/back", "--yes", *report, *arguments]) == 0
    assert json.loads(capfd.readouterr().out)["records"] == 40
    assert run(["restore", target, f"files:{tmp_path}/back2", "--at", "1999", *report, *arguments]) == 5
    assert run(["restore", str(tmp_path / "empty"), f"files:{tmp_path}/back2", *report, *arguments]) == 5
    assert run(["backup", source, "chroma:./x", *arguments]) == 2
    assert run(["backup", source, target, "--keep", "0", *arguments]) == 2
    capfd.readouterr()
    assert run(["backup", source, target, "--ledger", ledger, "--quiet"]) == 0
    assert "every one compared" in capfd.readouterr().out


def test_a_killed_backup_is_finished_by_the_next(source, target, ledger, tmp_path):
    """The process dies while it writes; the next one goes on and leaves one verified backup."""
    grow(source, 2_000)
    program = (
        "import os, sys\n"
        "from vecferry import hooks\n"
        "from vecferry.migration import backups\n"
        "hooks.install(lambda point: os._exit(9) if point == sys.argv[1] else None)\n"
        "backups.backup(*sys.argv[2:4], ledger=sys.argv[4])\n"
    )
    for point in ("batch.written", "run.verified"):
        command = [sys.executable, "-c", program, point, source, target, ledger]
        assert subprocess.run(command, check=False, timeout=300).returncode == 9
    code = "import sys; from vecferry.migration import backups; backups.backup(*sys.argv[1:3], ledger=sys.argv[3])"
    subprocess.run([sys.executable, "-c", code, source, target, ledger], check=True, timeout=300)
    (name,) = names(target)
    assert_same(contents(f"{target}/{name}")["docs"], contents(source)["docs"])
    assert backups.chosen(target).endswith(name)


def test_another_choice_of_collections_is_another_series(source, target, ledger):
    """One line of cron per collection, into one folder: neither removes what the other made, nor goes on with it."""
    grow(source, 7, name="users")
    users = backups.backup(source, target, keep=1, collections=["users"], ledger=ledger)
    every = backups.backup(source, target, keep=1, ledger=ledger)
    again = backups.backup(source, target, keep=1, collections=["users"], ledger=ledger)
    assert names(target) == [every.made.name, again.made.name]
    assert again.removed == (users.made.name,)
    with pytest.raises(ConfigError, match="several choices") as error:
        backups.chosen(target)
    assert "(users)" in (error.value.hint or "")
    assert backups.chosen(target, at=every.made.name).endswith(every.made.name)


def test_keeping_none_is_refused_before_anything_is_written(source, target, ledger):
    for keep in (0, -1):
        with pytest.raises(ConfigError, match="cannot be kept"):
            backups.backup(source, target, keep=keep, ledger=ledger)
    assert names(target) == []


def test_one_that_was_never_verified_is_not_restored_by_its_own_name_either(source, target, ledger, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(backups, "_verify", lambda *_: (_ for _ in ()).throw(Interrupted("cut", hint="again")))
        with pytest.raises(Interrupted):
            backups.backup(source, target, ledger=ledger)
    (name,) = names(target)
    with pytest.raises(CorruptData, match="never verified"):
        backups.chosen(f"{target}/{name}")


def test_what_a_killed_removal_left_goes_with_the_next(source, target, ledger, monkeypatch):
    """The mark is the last to go: without it nobody would know the rest for ours."""

    class Killed(BaseException):
        pass

    first = backups.backup(source, target, keep=1, ledger=ledger).made.name
    place = type(open_place(StoreUrl.parse(target)))
    real = place.remove

    def torn(self, some):
        real(self, some)
        if self.name == first:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(place, "remove", torn)
        with pytest.raises(Killed):
            backups.backup(source, target, keep=1, ledger=ledger)
    assert backups.MARK in open_place(StoreUrl.parse(target)).below(first).names()
    monkeypatch.setattr(backups, "_GOES_ON_WITHIN", timedelta(0))
    last = backups.backup(source, target, keep=1, ledger=ledger).made.name
    assert names(target) == [last]


# --------------------------------------------------------------------------- one that takes long

WRITES_UNTIL_TOLD = """
import sys, time
from pathlib import Path
from vecferry import hooks
from vecferry.migration import backups

def held(point):
    if point == "batch.written":
        print("written", flush=True)
        sys.stdin.readline()

hooks.install(held)
backups.backup(*sys.argv[1:3], keep=1, ledger=sys.argv[3])
"""


def test_one_that_is_being_written_is_neither_continued_nor_removed(source, target, tmp_path, monkeypatch):
    """However long it takes, and whatever ledger the other process has."""
    command = [sys.executable, "-c", WRITES_UNTIL_TOLD, source, target, str(tmp_path / "theirs.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        (name,) = names(target)
        began = marks.read_mark(open_place(StoreUrl.parse(target)).below(name)).heard
        for hours in (1, 30):  # it was begun long ago, and says so every minute
            mark = marks.read_mark(open_place(StoreUrl.parse(target)).below(name))
            older = msgspec.structs.replace(mark, begun=began - timedelta(hours=hours))
            marks.note(open_place(StoreUrl.parse(target)), marks.Backup(name=name, url="", mark=older))
            with monkeypatch.context() as patched:
                patched.setattr(backups, "now", lambda: began)
                patched.setattr(marks, "now", lambda: began)
                with pytest.raises(RunLocked, match=f"{name} is being written by process {process.pid}") as caught:
                    backups.backup(source, target, keep=1, ledger=str(tmp_path / "ours.db"))
            assert caught.value.hint
        process.communicate("go on\n" * 100)
    assert process.returncode == 0
    assert [one.name for one in backups.backups(target)] == [name]
    assert marks.read_mark(open_place(StoreUrl.parse(target)).below(name)).writer is None


def test_one_of_another_machine_that_is_silent_has_died(source, target, ledger):
    """There nobody can look for the process; so long as it was heard of lately, it lives."""
    root = open_place(StoreUrl.parse(target))
    root.below("20261031T000000Z").make()
    where = backups._source(source, ())[0]
    heard = datetime(2026, 10, 31, tzinfo=UTC)
    mark = marks.Mark(state=marks.BEGUN, source=where, begun=heard, owner="elsewhere 1 5 ab", alive=heard)
    assert mark.writer is not None, "the clock of these tests stands before it"
    marks.note(root, marks.Backup(name="20261031T000000Z", url="", mark=mark))
    with pytest.raises(RunLocked, match="process 1 on elsewhere"):
        backups.backup(source, target, ledger=ledger)
    backups.now()
    assert mark.writer is None
    assert backups.backup(source, target, ledger=ledger).verified


def test_one_that_was_taken_over_ends_in_words(source, target, ledger, monkeypatch):
    """A machine that slept: meanwhile another one took it for dead."""
    real = backups.migrate

    def overtaken(source, target, **options):
        done = real(source, target, **options)
        place = open_place(StoreUrl.parse(target))
        place.write(marks.MARK, place.read(marks.MARK).replace(b'"owner": "', b'"owner": "elsewhere '))
        return done

    monkeypatch.setattr(backups, "migrate", overtaken)
    with pytest.raises(RunLocked, match="taken over or removed"):
        backups.backup(source, target, ledger=ledger)
    assert backups.backups(target) == ()


def test_it_says_that_it_lives_and_notices_when_it_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(marks, "BEAT", timedelta(milliseconds=5))
    root, stop = open_place(StoreUrl.parse(f"files:{tmp_path}")), Stop()
    at = datetime(2026, 11, 1, tzinfo=UTC)
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(marks, "now", lambda: at + timedelta(seconds=next(ticks)))
    one = marks.Backup(name="20261101T000000Z", url="", mark=marks.Mark(state=marks.BEGUN, source="x", begun=at))
    root.below(one.name).make()

    def heard() -> datetime:
        found = marks.read_mark(root.below(one.name))
        assert found is not None
        return found.heard

    hold = marks.Hold(root, one, stop).__enter__()
    first = heard()
    wait_for(lambda: heard() > first)

    def noticed() -> bool:
        marks.note(root, one)  # again and again: a beat that has just looked writes over it once
        return stop.requested

    wait_for(noticed)
    with pytest.raises(RunLocked, match="taken over"):
        hold.__exit__(None, None, None)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, "That was never reached."
        time.sleep(0.005)
