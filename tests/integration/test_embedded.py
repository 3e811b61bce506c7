"""Embedded Qdrant folders under everything that goes wrong around them: death, neighbours, full disks, torn files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration import embedded_writer as writer
from vecferry.arrow import from_records, to_records
from vecferry.connectors.qdrant.embedded import engine as embedded_engine
from vecferry.connectors.qdrant.embedded.folder import MANIFEST
from vecferry.errors import (
    ConfigError,
    Conflict,
    CorruptData,
    NotFound,
    StoreFull,
    Unavailable,
    Unsupported,
    VecferryError,
)
from vecferry.filters import Compare, Contains, Exists, Filter, Not, OneOf, Op, matches
from vecferry.model import Card, CollectionSpec, FieldIndex, IdKind, IdRule, IndexKind, Keep, Metric, Record, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.contracts import assert_same
from vecferry.testing.skips import skip

PROGRAM = [sys.executable, writer.__file__]
SPEC = writer.SPEC


def start(folder: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, str(folder), what], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def read_all(folder: Path, name: str = "docs") -> list[Record]:
    with closing(open_database(f"qdrant:{folder}")) as database:
        source = database.source(name)
        spec = source.describe()
        return [
            record
            for partition in source.partitions()
            for chunk in source.read(partition)
            for record in to_records(chunk.batch, spec)
        ]


def write(folder: Path, records: list[Record], spec: CollectionSpec = SPEC) -> None:
    with closing(open_database(f"qdrant:{folder}")) as database:
        sink = database.sink(spec)
        sink.prepare(spec)
        assert sink.write(from_records(spec, records)).rejected == ()
        sink.finish()


# --------------------------------------------------------------------------- death


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="[platform] no SIGKILL")
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Killed nine times, right after `write` returned or in its middle, while writing new records and replacing old.

    The folder opens each time, holds every acknowledged batch, and no record is half old and half new.
    """
    folder, chance = tmp_path / "store", random.Random(4)
    replaced = 0
    for attempt in range(9):
        if attempt % 3 == 0:
            shutil.rmtree(folder, ignore_errors=True)
        process = start(folder, "4")
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randint(1, 30))]
        time.sleep(chance.choice([0, 0, chance.uniform(0, 0.03)]))  # also in the middle of the next batch
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines()
        acknowledged = {int(b): int(v) for v, b in (line.split() for line in lines if line[0].isdigit())}
        replaced += max(acknowledged.values()) > 0
        found = {record.id: record for record in read_all(folder)}
        for batch, version in acknowledged.items():
            vectors: Any = {v: {r.id: r.vectors[""] for r in writer.records(batch, v)} for v in (version, version + 1)}
            for wanted in writer.records(batch, version):
                record: Any = found[wanted.id]
                shown = (record.metadata or {})["version"]
                assert shown in vectors, "older than what was acknowledged"
                assert record.document == f"{shown} " * 50, "a record is half old and half new"
                assert np.allclose(record.vectors[""], vectors[shown][wanted.id]), "a record is half old and half new"
    assert replaced >= 2, "the kills came too early to prove that replacing is safe"


@pytest.mark.skipif(sys.platform == "win32", reason="[platform] no SIGKILL")
def test_the_same_command_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Killed in the middle, started again: the end state is that of an uninterrupted run."""
    for name in ("killed", "whole"):
        folder = tmp_path / name
        if name == "killed":
            process = start(folder, "1")
            assert process.stdout is not None
            for _ in range(4):
                process.stdout.readline()
            process.kill()
            process.communicate()
        done, _ = start(folder, "1").communicate()
        assert done.endswith("closed\n")
    assert_same(read_all(tmp_path / "whole"), read_all(tmp_path / "killed"))


def test_what_a_crash_left_behind_is_cleared(tmp_path: Path) -> None:
    """A shard that no manifest names (killed between making it and saying so) is not a collection, and goes."""
    write(tmp_path / "store", writer.records(0, 0))
    manifest = json.loads((tmp_path / "store" / MANIFEST).read_text())
    made = tmp_path / "store" / manifest["collections"]["docs"]["folder"]
    shutil.copytree(made, made.with_name("orphan-0123456789"))
    with closing(open_database(f"qdrant:{tmp_path / 'store'}")) as database:
        assert [spec.name for spec in database.collections()] == ["docs"]
        other = replace(SPEC, name="other")
        database.sink(other).prepare(other)
        assert not made.with_name("orphan-0123456789").exists()
    assert len(read_all(tmp_path / "store")) == writer.ROWS


# --------------------------------------------------------------------------- neighbours


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """The message says who holds the folder and what to use instead; when the holder dies, the folder is free."""
    folder = tmp_path / "store"
    write(folder, writer.records(0, 0))
    process = start(folder, "hold")
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process_sink = f"process {process.pid}"
    with closing(open_database(f"qdrant:{folder}")) as database:
        with pytest.raises(Unavailable, match=process_sink) as caught:
            database.source("docs").count()  # type: ignore[attr-defined]
        assert "server" in (caught.value.hint or "")
    process.kill()
    process.communicate()
    assert len(read_all(folder)) == writer.ROWS


def test_one_process_may_open_a_folder_twice(tmp_path: Path) -> None:
    """A reader beside a writer, as verification has it: both see the same records, the last one to close unlocks."""
    folder = tmp_path / "store"
    with closing(open_database(f"qdrant:{folder}")) as writing:
        sink = writing.sink(SPEC)
        sink.prepare(SPEC)
        sink.write(from_records(SPEC, writer.records(0, 0)))
        assert len(read_all(folder)) == writer.ROWS
        sink.write(from_records(SPEC, writer.records(1, 0)))
        assert len(read_all(folder)) == 2 * writer.ROWS
    process = start(folder, "hold")
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n", "the folder was not unlocked"
    process.communicate()


# --------------------------------------------------------------------------- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 200 MB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(mount)], capture_output=True, check=False
        )
        if shutil.which("mount")
        else None
    )
    if done is None or done.returncode:
        skip("platform", "file systems cannot be mounted here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_stops_us_and_not_the_process(small_disk: Path) -> None:
    """The engine alone dies of SIGBUS here. We stop before, all that was acknowledged is there, and more fits later."""
    folder, written = small_disk / "store", 0
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (90 << 20))
    with closing(open_database(f"qdrant:{folder}")) as database:
        sink = database.sink(SPEC)
        sink.prepare(SPEC)
        with pytest.raises(StoreFull, match="MiB free") as caught:  # noqa: PT012 (how much fits is what it is about)
            for batch in range(1000):
                big = [replace(record, document=os.urandom(3000).hex()) for record in writer.records(batch, 0)]
                sink.write(from_records(SPEC, big))
                written += writer.ROWS
        assert "Make room" in (caught.value.hint or "")
        assert written > 0
    filler.unlink()
    assert len(read_all(folder)) == written
    write(folder, writer.records(2000, 0))
    assert len(read_all(folder)) == written + writer.ROWS


def test_a_read_only_folder_is_refused(small_disk: Path) -> None:
    """What there is can be listed; reading needs the engine, which writes, and the message says to copy."""
    folder = small_disk / "store"
    write(folder, writer.records(0, 0))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with closing(open_database(f"qdrant:{folder}")) as database:
        assert [(spec.name, spec.count) for spec in database.collections()] == [("docs", writer.ROWS)]
        with pytest.raises(StoreFull, match="cannot be written to") as caught:
            next(iter(database.source("docs").partitions()))
        assert "Copy the folder" in (caught.value.hint or "")


# --------------------------------------------------------------------------- bad input


def test_looking_writes_nothing(tmp_path: Path) -> None:
    """A folder that is not there stays not there; one that is there keeps every byte and every time."""
    with closing(open_database(f"qdrant:{tmp_path / 'new'}")) as database:
        assert list(database.collections()) == []
        database.sink(SPEC)
        with pytest.raises(NotFound, match="docs"):
            database.source("docs")
    assert not (tmp_path / "new").exists()
    write(tmp_path / "store", writer.records(0, 0))
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (tmp_path / "store").rglob("*")}
    with closing(open_database(f"qdrant:{tmp_path / 'store'}")) as database:
        assert next(iter(database.collections())).count == writer.ROWS
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (tmp_path / "store").rglob("*")}


@pytest.mark.parametrize(
    "files, hint",
    [
        (["chroma.sqlite3"], "chroma:"),
        (["raft_state.json", "collections/x"], "Start the server"),
        (["notes.txt"], "Name a folder"),
    ],
)
def test_another_kind_of_folder_is_named(tmp_path: Path, files: list[str], hint: str) -> None:
    """A Chroma directory, a server's storage, anything else: each with what to write instead."""
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(NotFound, match="not an embedded Qdrant folder") as caught:
        open_database(f"qdrant:{tmp_path}")
    assert hint.lower() in (caught.value.hint or "").lower()
    with pytest.raises(ConfigError, match="is a file"):
        open_database(f"qdrant:{tmp_path / files[0]}")


@pytest.mark.parametrize(
    "change, error, words",
    [
        (lambda text: text[:50], CorruptData, "manifest"),
        (lambda text: text.replace('"version": 1,\n "engine"', '"version": 9,\n "engine"'), ConfigError, "knows"),
        (lambda text: text.replace("collections/docs", "collections/../../docs"), CorruptData, "puts the collection"),
        (lambda text: None, CorruptData, "is gone"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path: Path, change: Any, error: type[VecferryError], words: str) -> None:
    """Torn, of a later version, leading elsewhere, or gone: never taken for an empty folder."""
    write(tmp_path, writer.records(0, 0))
    manifest = tmp_path / MANIFEST
    text = change(manifest.read_text())
    assert text != manifest.read_text()
    if text is None:
        manifest.unlink()
    else:
        manifest.write_text(text)
    with pytest.raises(error, match=words), closing(open_database(f"qdrant:{tmp_path}")) as database:
        list(database.collections())


@pytest.mark.parametrize("name", ["mutable_id_tracker.mappings", "mutable_id_tracker.versions", "segment.json"])
def test_a_torn_shard_is_noticed(tmp_path: Path, name: str) -> None:
    """The engine opens a shard whose id list was cut in half, with half of the records. We do not."""
    write(tmp_path, writer.records(0, 0))
    (file,) = tmp_path.rglob(name)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(CorruptData) as caught:
        read_all(tmp_path)
    assert "backup" in (caught.value.hint or "")


def test_without_the_extra_the_command_is_told() -> None:
    """A light installation names the exact command."""
    code = (
        "import sys; sys.modules['qdrant_edge'] = None\n"
        "from vecferry.errors import ConfigError\nfrom vecferry.registry import open_database\n"
        "try: open_database('qdrant:./nowhere')\nexcept ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "vecferry[qdrant-local]"' in done.stdout


def test_metadata_nested_100_deep_is_kept_and_deeper_is_refused(tmp_path: Path) -> None:
    """The engine takes 124 levels and never opens the folder again; we refuse that record, and only that."""

    def nested(levels: int) -> dict[str, Any]:
        value: Any = 1
        for number in range(levels):
            value = [value] if number % 2 else {"a": value}
        return {"top": value}

    records = [replace(r, metadata=nested(n)) for r, n in zip(writer.records(0, 0), (100, 117, 119, 200), strict=False)]
    with closing(open_database(f"qdrant:{tmp_path}")) as database:
        sink = database.sink(SPEC)
        sink.prepare(SPEC)
        receipt = sink.write(from_records(SPEC, records))
    assert [one.id for one in receipt.rejected] == ["0-2", "0-3"]
    assert "120 are possible" in receipt.rejected[0].reason
    assert {r.id: r.metadata for r in read_all(tmp_path)} == {r.id: r.metadata for r in records[:2]}


def test_another_dimension_metric_or_rule_is_a_conflict(tmp_path: Path) -> None:
    """Checked before anything is written; the records stay."""
    write(tmp_path, writer.records(0, 0))
    card = SPEC.card
    assert card is not None
    others = [
        replace(SPEC, vectors=(VectorSpec(dim=32, metric=Metric.COSINE),)),
        replace(SPEC, vectors=(VectorSpec(dim=64, metric=Metric.L2),)),
        replace(SPEC, vectors=(VectorSpec(dim=64, metric=Metric.COSINE, name="text"),)),
        replace(SPEC, id_kind=IdKind.INT),
        replace(SPEC, card=replace(card, layout="langchain")),
        replace(SPEC, card=replace(card, id_rule=IdRule(template="{id}"))),
        replace(SPEC, card=replace(card, exact_vectors=Keep.BITS)),
    ]
    with closing(open_database(f"qdrant:{tmp_path}")) as database:
        for spec in others:
            with pytest.raises(Conflict, match="docs"):
                database.sink(spec).prepare(spec)
    assert len(read_all(tmp_path)) == writer.ROWS


def test_a_collection_without_vectors_is_refused(tmp_path: Path) -> None:
    """The engine cannot make one; nothing is left behind by trying."""
    with closing(open_database(f"qdrant:{tmp_path / 'q'}")) as database:
        with pytest.raises(Unsupported, match="no collection without vectors"):
            database.sink(replace(SPEC, vectors=())).prepare(replace(SPEC, vectors=()))
        assert list(database.collections()) == []


def test_a_dimension_that_is_learnt_later(tmp_path: Path) -> None:
    """An empty collection without dimension can be made, and takes records once the dimension is known."""
    unknown = replace(SPEC, vectors=(VectorSpec(metric=Metric.COSINE),))
    with closing(open_database(f"qdrant:{tmp_path}")) as database:
        database.sink(unknown).prepare(unknown)
    assert read_all(tmp_path) == []
    write(tmp_path, writer.records(0, 0))
    assert len(read_all(tmp_path)) == writer.ROWS


# --------------------------------------------------------------------------- filters and search


ODD: list[dict[str, Any] | None] = [
    None,
    {},
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {"a": "1"},
    {"a": [1]},
    {"a": ["1", "x"]},
    {"a": []},
    {"a": None},
]
ODD += [{"a": [None]}, {"a": {"b": 1}}, {"a.b": 1}, {"a": 2**53 + 1}, {"a": -5}, {"a": 0.1}, {"a": False}, {"b": []}]
WHERE: list[Filter] = [Compare("a", Op.EQ, value) for value in (1, 1.0, True, False, "1", "x", 2**53 + 1, 0.1, -5)]
WHERE += [Compare("a", op, 1) for op in (Op.GT, Op.GTE, Op.LT, Op.LTE)]
WHERE += [Contains("a", 1), Contains("a", "x"), Contains("a", True), OneOf("a", (1, "1")), Compare("a.b", Op.EQ, 1)]
WHERE += [Exists("a"), Exists("b"), Exists("c")]


@pytest.mark.parametrize("indexed", [False, True])
def test_filters_mean_what_the_evaluator_says(tmp_path: Path, indexed: bool) -> None:
    """Scalars, lists, nulls and empty lists under one key, with and without payload indexes."""
    indexes = tuple(FieldIndex(key=key, kind=IndexKind.KEYWORD) for key in ("a", "b")) if indexed else ()
    spec = replace(SPEC, indexes=indexes)
    records = [replace(r, metadata=m) for r, m in zip(writer.records(0, 0), ODD, strict=False)]
    write(tmp_path, records, spec)
    with closing(open_database(f"qdrant:{tmp_path}")) as database:
        source: Any = database.source("docs")
        for where in [*WHERE, *map(Not, WHERE)]:
            wanted = {record.id for record in records if matches(where, record.metadata)}
            assert source.count_where(where) == len(wanted), where
            (hits,) = source.search(np.ones((1, 64), np.float32), k=50, where=where)
            assert {hit.id for hit in hits} == wanted, where


def test_partitions_cut_at_every_kind_of_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges over numbers and UUIDs together cover every record once, wherever they are cut."""
    monkeypatch.setattr("vecferry.connectors.qdrant.embedded.source.PARTITION_ROWS", 7)
    monkeypatch.setattr("vecferry.connectors.qdrant.embedded.source._IDS_AT_ONCE", 5)
    monkeypatch.setattr("vecferry.connectors.qdrant.embedded.source.SCROLL_ROWS", 3)
    card = Card(id_kind=IdKind.MIXED, vectors=writer.VECTORS)
    spec = replace(SPEC, id_kind=IdKind.MIXED, card=card)
    kinds = [(str(n * 3), IdKind.INT) for n in range(20)] + [(f"id {n}", IdKind.TEXT) for n in range(20)]
    records = [replace(r, id=i, id_kind=k) for r, (i, k) in zip(writer.records(0, 0), kinds, strict=False)]
    write(tmp_path, records, spec)
    with closing(open_database(f"qdrant:{tmp_path}")) as database:
        partitions = list(database.source("docs").partitions())
        assert len(partitions) == 6
        assert sum(partition.estimated_rows or 0 for partition in partitions) == 40
    assert sorted((r.id, r.id_kind) for r in read_all(tmp_path)) == sorted(kinds)


def test_the_reserve_is_larger_than_what_the_engine_takes_to_open() -> None:
    """Opening a collection at the reserve must not fill the disk: two log files of 32 MiB, and a third in between."""
    assert embedded_engine.RESERVE_BYTES >= 3 * (32 << 20)
