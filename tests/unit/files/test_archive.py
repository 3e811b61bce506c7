"""Archives: readable without us, verified on read, correct whatever happens while they are written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tests.warm import Process
from vecferry.arrow import from_records, to_records
from vecferry.connectors.files import LIMITS
from vecferry.connectors.files._codec import DIGEST_KEY, Part, digest_sum, folder_name, to_hex
from vecferry.connectors.files._resolve import superseded
from vecferry.digest import digests
from vecferry.errors import ConfigError, CorruptData, StoreFull, Unsupported, VecferryError
from vecferry.model import CollectionSpec, Element, Metric, Record, VectorSpec
from vecferry.protocols import Sink
from vecferry.registry import open_database
from vecferry.testing.contracts import assert_same, collection, plain_records
from vecferry.testing.contracts.base import read_all

SPEC = collection(LIMITS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def sink(root: Path, spec: CollectionSpec = SPEC) -> Sink:
    made = open_database(f"files:{root}").sink(spec)
    made.prepare(spec)
    return made


def write(root: Path, *batches: list[Record], spec: CollectionSpec = SPEC, finish: bool = True) -> None:
    made = sink(root, spec)
    for records in batches:
        made.write(from_records(spec, records))
    if finish:
        made.finish()
    made.close()


def read(root: Path, spec: CollectionSpec = SPEC) -> list[Record]:
    return read_all(open_database(f"files:{root}").source(spec.name))


def parts(root: Path) -> list[Path]:
    return sorted(root.glob("*/part-*.parquet"))


# --------------------------------------------------------------------------- other readers


def test_duckdb_polars_and_pandas_read_it(root: Path) -> None:
    """Plain Parquet: vectors as lists of floats, documents and JSON metadata as text, in every reader."""
    records = plain_records(SPEC, 60)
    write(root, records[:30], records[30:])
    pattern = str(root / "*" / "*.parquet")
    by_duck = duckdb.sql(f"SELECT id, document, metadata->>'group', vector FROM '{pattern}' ORDER BY id").fetchall()
    polars = pl.read_parquet(pattern).sort("id")
    pandas = pd.concat([pd.read_parquet(path) for path in parts(root)]).sort_values("id")
    tables = [
        [row[0:2] for row in by_duck],
        list(zip(polars["id"], polars["document"], strict=True)),
        list(zip(pandas["id"], pandas["document"], strict=True)),
    ]
    wanted = [(record.id, record.document) for record in records]
    assert tables == [wanted, wanted, wanted]
    assert [row[2] for row in by_duck] == [(record.metadata or {})["group"] for record in records]
    assert json.loads(polars["metadata"][3]) == json.loads(pandas["metadata"].iloc[3]) == records[3].metadata
    expected = np.stack([record.vectors[""] for record in records])  # type: ignore[arg-type]
    for vectors in ([row[3] for row in by_duck], polars["vector"].to_list(), list(pandas["vector"])):
        assert np.array_equal(np.array(vectors, np.float32), expected)


@pytest.mark.parametrize("element", sorted(Element))
def test_every_element_is_readable_elsewhere(root: Path, element: Element) -> None:
    """float16, int8 and uint8 keep their width, and others read their values."""
    spec = collection(LIMITS, VectorSpec(dim=8, metric=Metric.L2, element=element))
    records = plain_records(spec, 5)
    write(root, records, spec=spec)
    wanted = np.stack([record.vectors[""] for record in records])  # type: ignore[arg-type]
    for table in (
        duckdb.sql(f"SELECT vector FROM '{parts(root)[0]}'").fetchnumpy()["vector"],
        pl.read_parquet(parts(root)[0])["vector"].to_list(),
    ):
        assert np.array_equal(np.array([list(row) for row in table]).astype(element.value), wanted)


def test_the_manifest_tells_everything(root: Path) -> None:
    """Spec, counts, sizes and digests are there, and are true."""
    records = plain_records(SPEC, 60)
    write(root, records[:30], records[30:])
    (listed,) = json.loads((root / "manifest.json").read_text())["collections"]
    text = (root / listed["folder"] / listed["manifest"]).read_bytes()
    manifest = json.loads(text)
    assert sha256(text).hexdigest() == listed["sha256"]
    assert (manifest["format"], manifest["version"], manifest["records"]) == ("vecferry-archive", 1, 60)
    assert manifest["spec"]["vectors"][0]["dim"] == 8
    for part in manifest["parts"]:
        data = (root / listed["folder"] / part["file"]).read_bytes()
        assert (len(data), sha256(data).hexdigest()) == (part["bytes"], part["sha256"])
    by_hand = sum(int.from_bytes(row.tobytes()) for row in digests(from_records(SPEC, records), SPEC, key=DIGEST_KEY))
    assert int(manifest["digest"], 16) == by_hand % 2**256
    assert not list(root.glob("*/journal-*"))


def test_the_digest_does_not_depend_on_order_or_files(root: Path) -> None:
    """Two archives of the same records, written in other batches and another order, have one digest."""
    records = plain_records(SPEC, 60)
    found = []
    for name, batches in (("a", [records]), ("b", [records[40:], records[:40]]), ("c", [records, records[5:9]])):
        write(root / name, *batches)
        found += [json.loads(path.read_text())["digest"] for path in (root / name).glob("*/collection-*.json")]
    assert len(found) == 3
    assert len(set(found)) == 1
    assert found[0] == to_hex(digest_sum(from_records(SPEC, records[::-1]), SPEC))


# --------------------------------------------------------------------------- verified on read


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def swap(path: Path) -> None:
    shutil.copy(next(other for other in parts(path.parents[1]) if other != path), path)


@pytest.mark.parametrize("damage", [flip, cut, swap, Path.unlink])
def test_a_damaged_part_hands_out_nothing(root: Path, damage: Callable[[Path], object]) -> None:
    """A flipped bit, a missing end, another part's content, no file: CorruptData that names the file, no record."""
    write(root, plain_records(SPEC, 30), plain_records(SPEC, 90)[30:])
    victim = parts(root)[1]
    damage(victim)
    source = open_database(f"files:{root}").source(SPEC.name)
    good, bad = source.partitions()
    assert sum(chunk.batch.num_rows for chunk in source.read(good)) == 30
    with pytest.raises(CorruptData) as caught:
        next(source.read(bad))
    assert str(victim) in caught.value.message


def test_a_damaged_part_stops_finish(root: Path) -> None:
    """Ids that were damaged on the disk must not decide which records are superseded."""
    write(root, plain_records(SPEC, 2000), plain_records(SPEC, 2000)[:10], finish=False)
    whole = parts(root)[0].read_bytes()
    for damaged in (whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], whole[:-100]):
        parts(root)[0].write_bytes(damaged)
        with pytest.raises(CorruptData) as caught:
            sink(root).finish()
        assert str(parts(root)[0]) in caught.value.message
    parts(root)[0].write_bytes(whole)
    sink(root).finish()
    assert_same(plain_records(SPEC, 2000), read(root))


@pytest.mark.parametrize("pattern", ["manifest.json", "*/collection-*.json"])
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": "other", "version": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_named(root: Path, pattern: str, text: bytes) -> None:
    """Torn, empty, somebody else's: CorruptData that names the file."""
    write(root, plain_records(SPEC, 10))
    (victim,) = root.glob(pattern)
    victim.write_bytes(text)
    with pytest.raises(CorruptData) as caught:
        read(root)
    assert str(victim) in caught.value.message


def test_a_changed_collection_manifest_is_noticed(root: Path) -> None:
    """Leaving out a part, with counts corrected, does not go unnoticed."""
    write(root, plain_records(SPEC, 10), plain_records(SPEC, 20)[10:])
    (victim,) = root.glob("*/collection-*.json")
    values = json.loads(victim.read_text())
    values["parts"], values["records"] = values["parts"][:1], 10
    victim.write_text(json.dumps(values))
    with pytest.raises(CorruptData, match="SHA-256"):
        read(root)


def test_a_missing_collection_manifest_is_named(root: Path) -> None:
    """The archive's manifest names it, so it must be there."""
    write(root, plain_records(SPEC, 10))
    (victim,) = root.glob("*/collection-*.json")
    victim.unlink()
    with pytest.raises(CorruptData, match="is missing"):
        read(root)


def test_a_changed_journal_line_is_noticed(root: Path) -> None:
    """A confirmed batch cannot vanish from an unfinished archive without a word."""
    write(root, plain_records(SPEC, 10), plain_records(SPEC, 20)[10:], finish=False)
    (journal,) = root.glob("*/journal-*.jsonl")
    first, second, _ = journal.read_text().split("\n")
    journal.write_text(f"{first.replace('rows', 'rowz')}\n{second}\n")
    with pytest.raises(CorruptData, match="was changed"):
        read(root)


@pytest.mark.parametrize("key, value", [("folder", "../outside"), ("folder", "/etc"), ("manifest", "../../x.json")])
def test_a_hostile_manifest_leads_nowhere(root: Path, key: str, value: str) -> None:
    """File names come from the manifest: they are held to the names that we give."""
    write(root, plain_records(SPEC, 10))
    values = json.loads((root / "manifest.json").read_text())
    values["collections"][0][key] = value
    (root / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(CorruptData, match="which no archive has"):
        open_database(f"files:{root}")


def test_a_later_version_is_refused(root: Path) -> None:
    """The message says to upgrade."""
    write(root, plain_records(SPEC, 10))
    values = json.loads((root / "manifest.json").read_text()) | {"version": 2}
    (root / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(Unsupported) as caught:
        open_database(f"files:{root}")
    assert "Upgrade" in (caught.value.hint or "")


def test_a_folder_with_other_things_is_refused(root: Path) -> None:
    """Nobody's files get mixed up with ours; a file is no folder."""
    root.mkdir()
    (root / "thesis.tex").write_text("precious")
    for path in (root, root / "thesis.tex"):
        with pytest.raises(ConfigError):
            open_database(f"files:{path}")


@pytest.mark.parametrize("name", ["../x", "..", "/", "a/b", "CON", "x" * 5000, "\0", "Ünï 🛳️", ""])
def test_any_name_makes_a_harmless_folder(root: Path, name: str) -> None:
    """A collection's name is never a path."""
    spec = CollectionSpec(name=name, vectors=SPEC.vectors)
    write(root, plain_records(spec, 3), spec=spec)
    assert [path.name for path in root.iterdir() if path.is_dir()] == [folder_name((name,))]
    assert len(read(root, spec)) == 3
    assert folder_name(("a", "b")) != folder_name(("a/b",))


# --------------------------------------------------------------------------- crashes and full disks


CHILD = """
import os, signal, sys
import numpy as np
from vecferry.arrow import build
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.registry import open_database

root, wanted, seen, real = sys.argv[1], int(sys.argv[2]), 0, os.fsync

def fsync(descriptor):
    global seen
    seen += 1
    if seen == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)

os.fsync = fsync
spec = CollectionSpec(name="contract-dense-float32-l2", vectors=(VectorSpec(dim=8, metric=Metric.L2),))
sink = open_database(f"files:{root}").sink(spec)
sink.prepare(spec)
for start in (0, 20, 40):
    ids = [f"id-{n:06}" for n in range(start, start + 40)]
    sink.write(build(spec, {"id": ids, "vector": np.ones((40, 8), np.float32)}))
    print(start + 40, flush=True)
sink.delete(["id-000000"])
print("removed", flush=True)
sink.finish()
"""


@pytest.mark.slow
def test_kill_9_at_every_sync_leaves_what_was_confirmed(root: Path, tmp_path: Path) -> None:
    """Killed before each step that reaches the disk: what was confirmed is there, and writing goes on."""
    records = plain_records(SPEC, 120)
    program = tmp_path / "child.py"
    program.write_text(CHILD, encoding="utf-8")
    for step in count(1):
        shutil.rmtree(root, ignore_errors=True)
        child = Process([str(program), str(root), str(step)], cwd=tmp_path, env=dict(os.environ))
        out, err = child.communicate()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, err
        said = out.split()
        confirmed = max([int(word) for word in said if word.isdigit()], default=0)
        found = {record.id for record in _read_if_there(root)}
        assert {record.id for record in records[1:confirmed]} <= found
        assert len(found) <= confirmed + 40, "more than the one batch in flight"
        assert "removed" not in said or "id-000000" not in found
        write(root, records[:80])
        assert_same(records[:80], read(root))
        assert not list(root.rglob(".tmp-*")), "finish sweeps what killed writers left"
    assert step > 15


def _read_if_there(root: Path) -> list[Record]:
    database = open_database(f"files:{root}")
    return read_all(database.source(SPEC.name)) if list(database.collections()) else []


def test_a_torn_journal_line_was_never_confirmed(root: Path) -> None:
    """Killed in the middle of a line: the line does not count, and the next writer starts where it began."""
    records = plain_records(SPEC, 30)
    write(root, records[:10], records[10:20], finish=False)
    (journal,) = root.glob("*/journal-*.jsonl")
    whole = journal.read_bytes()
    for torn in range(whole.index(b"\n") + 1, len(whole), 37):
        journal.write_bytes(whole[:torn])
        assert_same(records[:10], read(root))
    write(root, records[20:], finish=False)
    assert_same([*records[:10], *records[20:]], read(root))


def test_a_full_disk_keeps_what_was_written(root: Path) -> None:
    """The kernel refuses to write more: StoreFull with advice, nothing half-written counts, and later it goes on."""
    records = plain_records(SPEC, 4000)
    made = sink(root)
    made.write(from_records(SPEC, records[:100]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StoreFull) as caught:
            made.write(from_records(SPEC, records[100:]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert "run the same command" in (caught.value.hint or "")
    assert_same(records[:100], read(root))
    made.write(from_records(SPEC, records[100:]))
    made.finish()
    assert_same(records, read(root))


@pytest.fixture
def foreign_root() -> Iterator[Path]:
    """A folder that we own without being root, who may write everywhere."""
    folder = Path(tempfile.mkdtemp(prefix="vecferry-"))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    try:
        yield folder / "archive"
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_read_only_folder_is_said(foreign_root: Path) -> None:
    """StoreFull that names the place; reading still works, and so does writing once it is allowed again."""
    write(foreign_root, plain_records(SPEC, 10), finish=False)
    files = [foreign_root, *foreign_root.rglob("*")]
    for path in files:
        path.chmod(0o500 if path.is_dir() else 0o400)
    with pytest.raises(StoreFull, match=str(foreign_root)):
        sink(foreign_root)
    assert len(read(foreign_root)) == 10
    for path in files:
        path.chmod(0o700)
    write(foreign_root, plain_records(SPEC, 20)[10:])
    assert len(read(foreign_root)) == 20


def test_several_processes_write_one_collection(root: Path) -> None:
    """Partitions may be copied by processes that share nothing but the folder."""
    code = (
        "import sys\n"
        "from vecferry.arrow import from_records; from vecferry.connectors.files import LIMITS\n"
        "from vecferry.registry import open_database\n"
        "from vecferry.testing.contracts import collection, plain_records\n"
        "spec = collection(LIMITS); sink = open_database('files:' + sys.argv[1]).sink(spec); sink.prepare(spec)\n"
        "first = int(sys.argv[2])\n"
        "for n in range(first, first + 100, 10): sink.write(from_records(spec, plain_records(spec, 300)[n:n + 10]))\n"
        "if first == 100: sink.finish()\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(root), str(n)]) for n in (0, 100, 200)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert_same(plain_records(SPEC, 300), read(root))
    sink(root).finish()
    assert_same(plain_records(SPEC, 300), read(root))


# --------------------------------------------------------------------------- size


def test_superseded_rows_are_found_in_any_number_of_buckets() -> None:
    """The answer does not depend on how little memory there is."""
    random = np.random.default_rng(3)
    keys = [[b"%d" % n for n in random.integers(0, 300, 100)] for _ in range(10)]
    entries = [Part(file=str(n), rows=100, bytes=0, sha256="", digest="") for n in range(10)]
    last = {key: (n, row) for n, rows in enumerate(keys) for row, key in enumerate(rows)}
    wanted = {str(n): [row for row, key in enumerate(rows) if last[key] != (n, row)] for n, rows in enumerate(keys)}
    for bucket_rows in (1 << 20, 100, 7):
        found = superseded(entries, lambda entry: keys[int(entry.file)], bucket_rows=bucket_rows)  # type: ignore[union-attr]
        assert {file: list(rows) for file, rows in found.items()} == {
            file: rows for file, rows in wanted.items() if rows
        }


def test_a_huge_batch_becomes_several_parts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader holds one part in memory, so parts are bounded; the batch still counts as a whole."""
    monkeypatch.setattr("vecferry.connectors.files.sink.PART_BYTES", 5_000)
    records = plain_records(SPEC, 500)
    write(root, records)
    assert len(parts(root)) > 8
    assert_same(records, read(root))


def test_fetching_and_counting_see_through_an_unfinished_archive(root: Path) -> None:
    """Superseded rows are neither counted nor fetched, before `finish` and behind it."""
    old, new = plain_records(SPEC, 30), plain_records(SPEC, 40, seed=1)[20:]
    made = sink(root)
    made.write(from_records(SPEC, old))
    made.write(from_records(SPEC, new))
    for _ in range(2):
        source = open_database(f"files:{root}").source(SPEC.name)
        assert source.count() == 40
        found = source.fetch([record.id for record in (*old, *new)])
        assert_same([*old[:20], *new], to_records(found, SPEC))
        made.finish()


def test_a_partition_of_an_older_archive_is_refused(root: Path) -> None:
    """Bounds name the file and its SHA-256: a resumed run never mixes two states of an archive."""
    write(root, plain_records(SPEC, 30))
    (stale,) = open_database(f"files:{root}").source(SPEC.name).partitions()
    write(root, plain_records(SPEC, 10, seed=1))
    with pytest.raises(VecferryError, match="no longer part"):
        next(open_database(f"files:{root}").source(SPEC.name).read(stale))
