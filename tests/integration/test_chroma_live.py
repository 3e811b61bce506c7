"""A Chroma directory while its application writes to it, and after that was killed."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tests.chroma_data import ChromaData
from tests.integration.chroma_process import ChromaProcess, vector_of
from tests.integration.test_chroma_reader import assert_equal, read
from vecferry.arrow import to_records
from vecferry.connectors.chroma import ChromaDatabase, copying, snapshot
from vecferry.model import Record
from vecferry.registry import open_database
from vecferry.testing.skips import reason

if find_spec("chromadb") is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)

BATCH = 20


class Writer:
    """An application that adds, changes and deletes without end (`chroma_process.stream`)."""

    def __init__(self, path: Path, *, dim: int, sync: int) -> None:
        self.chroma = ChromaProcess()
        self.confirmed: list[dict[str, Any]] = []
        request = {"command": "stream", "path": str(path), "dim": dim, "batch": BATCH}
        request["configuration"] = {"hnsw": {"sync_threshold": sync, "batch_size": 2}}
        assert self.chroma.process.stdin is not None
        self.chroma.process.stdin.write(json.dumps(request) + "\n")
        self.chroma.process.stdin.flush()
        self._thread = Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self.chroma.process.stdout is not None
        for line in self.chroma.process.stdout:
            self.confirmed.append(json.loads(line)["value"])

    @property
    def written(self) -> int:
        return int(self.confirmed[-1]["written"]) if self.confirmed else 0

    def wait_for(self, records: int) -> None:
        deadline = time.monotonic() + 120
        while self.written < records:
            assert time.monotonic() < deadline, f"only {self.written} records after two minutes"
            assert self.chroma.process.poll() is None
            time.sleep(0.01)

    def kill(self) -> None:
        self.chroma.process.kill()
        self._thread.join()
        self.chroma.close()


@contextmanager
def writing(path: Path, *, dim: int, sync: int) -> Iterator[Writer]:
    writer = Writer(path, dim=dim, sync=sync)
    try:
        yield writer
    finally:
        writer.kill()


def check(records: list[Record], confirmed: int) -> None:
    """Every record that was confirmed before is there or was deleted, and each is of one piece."""
    deleted = {n for step in range(200, confirmed + 10 * BATCH, 100) for n in range(step - 150, step - 145)}
    assert {int(record.id[1:]) for record in records} >= set(range(confirmed)) - deleted
    for record in records:
        number, vector, metadata = int(record.id[1:]), vector_of(record), record.metadata or {}
        assert isinstance(vector, np.ndarray)
        assert metadata["n"] in (number, -number)
        assert (vector == np.float32(metadata["n"])).all(), f"{record.id}: {vector} beside {metadata}"
        assert (metadata["half"], record.document) == (number / 2, f"document of {record.id}")


@pytest.mark.parametrize("sync, rounds", [(3, 8), (100, 12), (1000, 5)])
def test_a_snapshot_under_a_writer_is_one_state(sync: int, rounds: int, tmp_path: Path) -> None:
    """Again and again while records are added, changed and deleted; the app waits less than a second for us."""
    with writing(tmp_path / "chroma", dim=8, sync=sync) as writer:
        writer.wait_for(400)
        for number in range(rounds):
            confirmed = writer.written
            database = open_database(f"chroma:{tmp_path / 'chroma'}")
            assert isinstance(database, ChromaDatabase)
            folder = tmp_path / str(number)
            database.pin(folder)
            taken = snapshot.load(folder)
            assert taken is not None
            assert taken.locked_seconds < 1
            source = database.source("records")
            chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
            assert not [one for chunk in chunks for one in chunk.rejected]
            check([r for chunk in chunks for r in to_records(chunk.batch, source.describe())], confirmed)
            database.close()
            shutil.rmtree(folder)
            writer.wait_for(confirmed + BATCH)


def test_a_copy_that_is_torn_by_the_writer_is_mended_under_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first copy is slow, and the application commits in the middle of it: only the locked pass makes it whole."""
    with writing(tmp_path / "chroma", dim=8, sync=100) as writer:
        writer.wait_for(400)

        def slowly(source: int, target: int) -> None:
            size = os.fstat(source).st_size
            os.pwrite(target, os.pread(source, size // 2, 0), 0)
            writer.wait_for(writer.written + 3 * BATCH)
            os.pwrite(target, os.pread(source, size, size // 2), size // 2)

        monkeypatch.setattr(copying, "_copy_bytes", slowly)
        for number in range(3):
            confirmed = writer.written
            database = open_database(f"chroma:{tmp_path / 'chroma'}")
            assert isinstance(database, ChromaDatabase)
            monkeypatch.setattr(copying, "_clone", lambda *_: False)
            database.pin(tmp_path / str(number))
            source = database.source("records")
            chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
            check([r for chunk in chunks for r in to_records(chunk.batch, source.describe())], confirmed)
            database.close()


@pytest.mark.parametrize("records", [200, 320, 540, 860, 1200])
def test_after_kill_9_every_confirmed_record_is_there(records: int, tmp_path: Path) -> None:
    """The application dies between two steps of Chroma's; what it had been told is written, is read."""
    with writing(tmp_path / "chroma", dim=8, sync=1000) as writer:
        writer.wait_for(records)
        writer.chroma.process.kill()
        confirmed = writer.written
    check(read(tmp_path / "chroma"), confirmed)


def test_what_is_only_in_the_log_yet_is_applied_as_chroma_does(
    chroma_copy: Callable[[str], ChromaData], tmp_path: Path
) -> None:
    """Operations that were logged and not applied when the application died: equal to what Chroma makes of them."""
    data = chroma_copy("1.5.9")
    with sqlite3.connect(data.path / "chroma.sqlite3") as db:
        (uid, dim) = db.execute("SELECT id, dimension FROM collections WHERE name = 'tail_l2'").fetchone()
        (last,) = db.execute("SELECT max(seq_id) FROM max_seq_id").fetchone()
        ids = [record.id for record in data.collection("tail_l2").records]
        steps: list[tuple[int, str, int | None, dict[str, Any]]] = [
            (0, "new-1", 1, {"a": 1, "f": 2.0, "l": ["x", "y"], "b": True, "chroma:document": "logged"}),
            (0, ids[0], 2, {"ignored": 1}),
            (2, ids[1], 3, {"merged": [1, 2, 3], "f": -0.5}),
            (1, ids[2], None, {"merged": "later", "page": None}),
            (1, "nowhere", 4, {"a": 1}),
            (3, ids[3], None, {}),
            (3, "new-1", None, {}),
            (0, "new-1", 5, {"again": 1}),
            (2, "new-2", 6, {"l": [True]}),
            (1, "new-2", 7, {"l": "no list now"}),
            (2, ids[3], 8, {}),
        ]
        topic = f"persistent://default/default/{uid}"
        for number, (operation, text, value, metadata) in enumerate(steps):
            vector = None if value is None else np.full(dim, value, "<f4").tobytes()
            db.execute(
                "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding, metadata)"
                " VALUES (?, ?, ?, ?, ?, 'FLOAT32', ?)",
                (last + 1 + number, operation, topic, text, vector, json.dumps(metadata)),
            )
    db.close()
    found = read(data.path, "tail_l2")
    shutil.copytree(data.path, tmp_path / "opened")
    chroma = ChromaProcess()
    try:
        assert_equal(found, chroma.dump(tmp_path / "opened", name="tail_l2"))
    finally:
        chroma.close()
