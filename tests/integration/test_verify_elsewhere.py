"""A target that a process of its own reads: the same findings, and a clear end however that process ends."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from secrets import token_bytes

import numpy as np
import pytest

from vecferry.arrow import build
from vecferry.engine.stop import Stop
from vecferry.errors import ConnectorError, Interrupted, NotFound
from vecferry.events import silent
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.protocols import Portable
from vecferry.registry import open_database
from vecferry.url import StoreUrl
from vecferry.verification import Level, VerifyOptions, elsewhere, verify
from vecferry.verification.elsewhere import Elsewhere
from vecferry.verification.model import DATA_LEVELS
from vecferry.verification.scan import Side

ROWS = 2_500
SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=4, metric=Metric.L2),))


@pytest.fixture
def archives(tmp_path):
    """Two archives of the same records; the second lacks one and has one that was changed."""
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
        sink.write(build(SPEC, {"id": [f"r{n}" for n in keep], "seq": keep, "vector": changed[keep]}))
        sink.finish()
        sink.close()
        databases.append(database)
    yield databases
    for database in databases:
        database.close()


def _elsewhere(database: Portable, folder: Path, name: str = "docs") -> Elsewhere:
    return Elsewhere(database.address(), name, label="docs", deadline_seconds=5.0, folder=folder)


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


def test_a_killed_process_is_an_error_that_says_so(archives, tmp_path):
    """No hang, no silence: the message names the collection and the signal."""
    reader = _elsewhere(archives[1], tmp_path)
    os.kill(reader._process.pid, signal.SIGKILL)
    side = Side(tmp_path / "side", limit=1 << 20)
    with pytest.raises(ConnectorError, match="'docs' was ended by signal 9"):
        reader.scan(side, key=token_bytes(32), stop=Stop(), observer=silent)
    reader.close()
    side.close()


def test_its_errors_are_raised_here(archives, tmp_path):
    """A collection that is gone is the same `NotFound` as in this process."""
    reader = _elsewhere(archives[1], tmp_path, "other")
    side = Side(tmp_path / "side", limit=1 << 20)
    with pytest.raises(NotFound, match="other"):
        reader.scan(side, key=token_bytes(32), stop=Stop(), observer=silent)
    reader.close()
    side.close()


def test_a_stop_ends_it(archives, tmp_path):
    """A stop is obeyed while it works, and leaves no process behind."""
    stop = Stop()
    reader = _elsewhere(archives[1], tmp_path)
    side = Side(tmp_path / "side", limit=1 << 20)
    stop.request()
    with pytest.raises(Interrupted):
        reader.scan(side, key=token_bytes(32), stop=stop, observer=silent)
    assert reader._process.poll() is not None
    side.close()


def test_it_ends_when_nobody_asks(archives, tmp_path):
    """Closed before it got a job, it is gone; so are its thread and its pipes."""
    reader = _elsewhere(archives[1], tmp_path)
    reader.close()
    assert reader._process.returncode is not None
    assert "verify-elsewhere" not in {thread.name for thread in threading.enumerate()}


def test_an_address_opens_the_same_store(archives, tmp_path, monkeypatch):
    """An archive opened by a relative path is found from another folder."""
    monkeypatch.chdir(tmp_path)
    address = open_database("files:source").address()
    monkeypatch.chdir("/")
    again = open_database(StoreUrl.parse(str(address)))
    assert [spec.name for spec in again.collections()] == ["docs"]
