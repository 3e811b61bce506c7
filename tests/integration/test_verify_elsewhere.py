"""A target that a process of its own reads: the same findings, and a clear end however that process ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from secrets import randbits

import numpy as np
import pytest

from vecferry.arrow import build
from vecferry.engine.stop import Stop
from vecferry.errors import ConfigError, ConnectorError, Interrupted, NotFound
from vecferry.events import silent
from vecferry.model import CollectionSpec, Metric, Partition, VectorSpec
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.url import StoreUrl
from vecferry.verification import Level, VerifyOptions, elsewhere, verify
from vecferry.verification.diff import compare
from vecferry.verification.elsewhere import Elsewhere, Helper, Job
from vecferry.verification.model import DATA_LEVELS
from vecferry.verification.passes import Todo
from vecferry.verification.scan import Side, scan
from vecferry.verification.tries import Tries

ROWS = 2_500
SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=4, metric=Metric.L2),))


@pytest.fixture
def archives(tmp_path):
    """Two archives of the same records, in several partitions; the second lacks one and has one that was changed."""
    vectors = np.random.default_rng(7).standard_normal((ROWS, 4)).astype(np.float32)
    databases = []
    for name in ("source", "target"):
        keep = [n for n in range(ROWS) if name == "source" or n != 11]
        changed = vectors.copy()
        if name == "target":
            changed[23] += 1
        database = open_database(f"files:{tmp_path / name}")
        sink = database.sink(SPEC)
        sink.prepare(SPEC)
        for start in range(0, len(keep), 300):
            part = keep[start : start + 300]
            sink.write(build(SPEC, {"id": [f"r{n}" for n in part], "seq": part, "vector": changed[part]}))
        sink.finish()
        sink.close()
        databases.append(database)
    yield databases
    for database in databases:
        database.close()


def _job(folder: Path, name: str = "docs") -> Job:
    folder.mkdir(exist_ok=True)
    return Job(name, "docs", Side(folder, limit=1 << 20), randbits(64), deadline_seconds=5.0)


def _nothing() -> None:
    """No partition is left."""


def _all_of(database: Database) -> Callable[[], Partition | None]:
    """Gives every partition of the collection in turn."""
    return Todo(database.source("docs").partitions()).take


@pytest.mark.parametrize("spill_bytes", [16 << 20, 100_000], ids=["in memory", "in files"])
def test_it_finds_what_threads_find(archives, monkeypatch, spill_bytes):
    """The same checks come out, by id, whether the target's rows stay in memory or go to files over there."""
    options = VerifyOptions(levels=DATA_LEVELS, spill_bytes=spill_bytes)
    monkeypatch.setattr(elsewhere, "LEAST_RECORDS", ROWS - 1)
    started = []
    real = Elsewhere.scan
    monkeypatch.setattr(Elsewhere, "scan", lambda *args, **named: started.append(1) or real(*args, **named))
    apart = verify(*archives, [("docs", "docs")], options=options).collections[0]
    monkeypatch.setattr(elsewhere, "possible", lambda: False)
    threads = verify(*archives, [("docs", "docs")], options=options).collections[0]
    assert started == [1]
    assert [check.findings for check in apart.checks] == [check.findings for check in threads.checks]
    assert [finding.id for finding in apart.check(Level.IDS).findings] == ["r11"]
    assert [finding.id for finding in apart.check(Level.CONTENT).findings] == ["r23"]


@pytest.mark.parametrize("limit", [16 << 20, 10_000], ids=["in memory", "in files"])
def test_two_that_read_one_side_make_one(archives, tmp_path, limit):
    """Partitions shared out between two readers: together they hold every row, place and text once."""
    source = archives[0].source("docs")
    partitions = source.partitions()
    assert len(partitions) > 4
    sides = [Side(tmp_path / name, limit=limit) for name in ("whole", "odd", "even")]
    tries = Tries("docs", stop=Stop(), deadline_seconds=5.0, observer=silent)
    for side, part in zip(sides, (partitions, partitions[1::2], partitions[::2]), strict=True):
        scan(source, side, seed=7, view=lambda batch: (batch, SPEC), tries=tries, seen=lambda _: None, partitions=part)
    whole, odd, even = sides
    even.unreadable["torn"] += 2
    odd.absorb(even)
    diffs = list(compare(whole, odd))
    assert sum(diff.matched for diff in diffs) == ROWS
    assert not any(len(rows) for diff in diffs for rows in (diff.missing, diff.extra, diff.changed, diff.doubled))
    assert {text for diff in diffs for text in odd.texts_of(diff.target)} == {f"r{n}" for n in range(ROWS)}
    assert (odd.records, odd.low, odd.high, odd.unreadable) == (ROWS, 0, ROWS - 1, {"torn": 2})
    for side in (whole, odd):
        side.close()


def test_a_killed_process_is_an_error_that_says_so(archives, tmp_path):
    """No hang, no silence: the message names the collection and the signal."""
    reader, job = Elsewhere(archives[1].address()), _job(tmp_path / "side")
    os.kill(reader._process.pid, signal.SIGKILL)
    with pytest.raises(ConnectorError, match="'docs' was ended by signal 9"):
        reader.scan(job, _nothing, stop=Stop(), observer=silent)
    reader.close()
    job.side.close()


def test_its_errors_are_raised_here(archives, tmp_path):
    """A collection that is gone is the same `NotFound` as in this process, and the next job is done all the same."""
    reader, missing = Elsewhere(archives[1].address()), _job(tmp_path / "missing", "other")
    with pytest.raises(NotFound, match="other"):
        reader.scan(missing, _nothing, stop=Stop(), observer=silent)
    there = _job(tmp_path / "there")
    filled = reader.scan(there, _all_of(archives[1]), stop=Stop(), observer=silent)
    assert filled.records == ROWS - 1
    reader.close()
    for side in (missing.side, there.side, filled):
        side.close()


def test_a_store_that_does_not_open_is_an_error_here(tmp_path):
    """What `open_database` says over there is raised here, for every job."""
    reader = Elsewhere(StoreUrl.parse("nosuchstore://x"))
    for name in ("first", "second"):
        job = _job(tmp_path / name)
        with pytest.raises(ConfigError, match="nosuchstore"):
            reader.scan(job, _nothing, stop=Stop(), observer=silent)
        job.side.close()
    reader.close()


def test_a_stop_ends_it(archives, tmp_path):
    """A stop is obeyed while it works, and leaves no process behind."""
    stop = Stop()
    reader, job = Elsewhere(archives[1].address()), _job(tmp_path / "side")
    stop.request()
    with pytest.raises(Interrupted):
        reader.scan(job, _nothing, stop=stop, observer=silent)
    assert reader._process.poll() is not None
    job.side.close()


def test_it_ends_when_nobody_asks(archives, tmp_path):
    """Closed before it got a job, it is gone; so are its thread and its pipes."""
    reader = Elsewhere(archives[1].address())
    reader.close()
    assert reader._process.returncode is not None
    assert "verify-elsewhere" not in {thread.name for thread in threading.enumerate()}


def test_one_process_serves_every_collection_once_it_is_worth_it(archives):
    """Too few records start none; a start ahead of time needs fewer; from then on even a small one uses it."""
    with Helper(archives[1]) as helper:
        assert helper.start(elsewhere.LEAST_RECORDS - 1) is None
        reader = helper.start(elsewhere.LEAST_AHEAD, least=elsewhere.LEAST_AHEAD)
        assert reader is not None
        assert helper.start(1) is reader
    assert reader._process.returncode is not None


def test_an_address_opens_the_same_store(archives, tmp_path, monkeypatch):
    """An archive opened by a relative path is found from another folder."""
    monkeypatch.chdir(tmp_path)
    address = open_database("files:source").address()
    monkeypatch.chdir("/")
    again = open_database(StoreUrl.parse(str(address)))
    assert [spec.name for spec in again.collections()] == ["docs"]
