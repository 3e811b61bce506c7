"""Damaged, foreign and hostile Chroma directories: a message names the thing, nothing runs, nothing changes."""

import hashlib
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.chroma_data import ChromaData
from tests.integration.chroma_process import vector_of
from vecferry.arrow import to_records
from vecferry.connectors.chroma.database import ChromaDatabase
from vecferry.errors import ConfigError, CorruptData, NotFound, Unsupported
from vecferry.model import Record, Rejection
from vecferry.registry import open_database

Copy = Callable[[str], ChromaData]


@pytest.fixture
def opened() -> Iterator[Callable[..., ChromaDatabase]]:
    """Opens directories and closes them again."""
    databases: list[ChromaDatabase] = []

    def opener(path: Path, options: str = "") -> ChromaDatabase:
        database = open_database(f"chroma:{path}{options}")
        assert isinstance(database, ChromaDatabase)
        databases.append(database)
        return database

    yield opener
    for database in databases:
        database.close()


def read(database: ChromaDatabase, name: str) -> tuple[list[Record], list[Rejection]]:
    source = database.source(name)
    chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    records = [record for chunk in chunks for record in to_records(chunk.batch, source.describe())]
    return records, [rejection for chunk in chunks for rejection in chunk.rejected]


def change(data: ChromaData, sql: str) -> None:
    with closing(sqlite3.connect(data.path / "chroma.sqlite3")) as db:
        db.executescript(sql)


def index_of(data: ChromaData, name: str) -> Path:
    with closing(sqlite3.connect(data.path / "chroma.sqlite3")) as db:
        (segment,) = db.execute(
            "SELECT s.id FROM segments s JOIN collections c ON c.id = s.collection WHERE scope = 'VECTOR' AND name = ?",
            (name,),
        ).fetchone()
    return data.path / str(segment)


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


# --------------------------------------------------------------------------- not a directory of Chroma's


def test_not_a_chroma_directory(tmp_path: Path, opened: Callable[..., ChromaDatabase], chroma_copy: Copy) -> None:
    """Named, with the right folder as a hint where it lies just below."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("x")
    with pytest.raises(NotFound, match=r"other is not a Chroma directory: it holds no chroma\.sqlite3"):
        opened(tmp_path / "other")
    data = chroma_copy("1.5.9")
    with pytest.raises(NotFound) as caught:
        opened(data.path.parent)
    assert str(data.path) in (caught.value.hint or "")
    assert list(opened(data.path / "chroma.sqlite3").collections())


def test_a_sqlite_database_of_somebody_else(tmp_path: Path, opened: Callable[..., ChromaDatabase]) -> None:
    """It says which of Chroma's tables are not there."""
    with closing(sqlite3.connect(tmp_path / "chroma.sqlite3")) as db:
        db.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);")
    with pytest.raises(NotFound, match="not Chroma's: it lacks"):
        opened(tmp_path).collections()


@pytest.mark.parametrize("size", [0, 300])
def test_an_empty_or_cut_database(size: int, chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """Seen at once, before anything is copied."""
    data = chroma_copy("1.5.9")
    os.truncate(data.path / "chroma.sqlite3", size)
    with pytest.raises(CorruptData, match=r"chroma\.sqlite3 is (empty|torn)"):
        opened(data.path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_truncated_database(share: float, chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """However much of it is left, it is an error and never a smaller collection."""
    data = chroma_copy("1.5.9")
    file = data.path / "chroma.sqlite3"
    os.truncate(file, int(file.stat().st_size * share) // 4096 * 4096)
    with pytest.raises(CorruptData, match=r"chroma\.sqlite3 cannot be read"):
        opened(data.path).collections()


def test_bytes_that_are_no_database(tmp_path: Path, opened: Callable[..., ChromaDatabase]) -> None:
    """A file of the right name and size that is something else."""
    (tmp_path / "chroma.sqlite3").write_bytes(b"not a database " * 1000)
    with pytest.raises(CorruptData, match="not a database"):
        opened(tmp_path).collections()


def test_a_version_newer_than_known(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """Refused by name; who accepts the risk can read it."""
    data = chroma_copy("1.5.9")
    change(data, "INSERT INTO migrations VALUES ('metadb', 99, 'x', 'x', 'x')")
    with pytest.raises(Unsupported, match=r"metadb 99 \(known: 6\)"):
        opened(data.path).collections()
    assert len(list(opened(data.path, "?newer=read").collections())) == len(data.collections)


def test_texts_in_another_encoding(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """Texts are read as UTF-8 without looking at each; so that is looked at once."""
    data = chroma_copy("1.5.9")
    file = data.path / "chroma.sqlite3"
    with closing(sqlite3.connect(file)) as db:
        script = "".join(
            f"{sql};" for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND sql LIKE '%(%'")
            if "embedding_fulltext" not in sql and "sqlite_" not in sql
        )  # fmt: skip
    file.unlink()
    with closing(sqlite3.connect(file)) as db:
        db.executescript(f"PRAGMA encoding = 'UTF-16'; {script}")
    with pytest.raises(Unsupported, match="holds its texts as UTF-16"):
        opened(data.path).collections()


def test_a_name_that_is_not_there(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """Near names are listed; a name that several tenants use asks for more."""
    database = opened(chroma_copy("1.5.9").path)
    with pytest.raises(NotFound) as caught:
        database.source("synced_l3")
    assert "'synced_l3'" in caught.value.message
    assert "synced_l2" in (caught.value.hint or "")
    with pytest.raises(NotFound, match="Several") as caught:
        database.source("shared")
    assert "acme/prod/shared" in (caught.value.hint or "")
    assert database.source("acme/prod/shared").describe().namespace == ("acme", "prod")


@pytest.mark.parametrize(
    "url", ["chroma+ftp://localhost:8000", "chroma+http://localhost?mode=fast", "chroma:x?mode=fast"]
)
def test_other_transports_and_options(url: str) -> None:
    """What nobody can do is said, not guessed."""
    with pytest.raises(ConfigError, match=r"no way|option"):
        open_database(url)


# --------------------------------------------------------------------------- index files


FILES = ("header.bin", "data_level0.bin", "length.bin", "index_metadata.pickle")


@pytest.mark.parametrize(
    "name, how",
    [
        *((name, how) for name in FILES for how in ("missing", "cut", "empty")),
        ("header.bin", "noise"),  # of the vectors and lengths, any bytes make sense
        ("index_metadata.pickle", "noise"),
    ],
)
def test_missing_and_torn_index_files(
    name: str, how: str, chroma_copy: Copy, opened: Callable[..., ChromaDatabase]
) -> None:
    """The collection is refused with the file's name; every other collection is read."""
    data = chroma_copy("1.5.9")
    file = index_of(data, "synced_cosine") / name
    match how:
        case "missing":
            file.unlink()
        case "cut":
            os.truncate(file, file.stat().st_size // 2)
        case "empty":
            os.truncate(file, 0)
        case "noise":
            file.write_bytes(b"\xff" * file.stat().st_size)
    for entry in file.parent.iterdir():
        os.utime(entry, (1, 1))  # long ago: nobody is about to finish writing it
    database = opened(data.path)
    with pytest.raises(CorruptData) as caught:
        database.source("synced_cosine")
    assert name in caught.value.message
    assert "synced_cosine" in caught.value.message
    assert len(read(database, "synced_l2")[0]) == len(data.collection("synced_l2").records)


def test_torn_index_files_are_no_loss_where_the_log_is_whole(
    chroma_copy: Copy, opened: Callable[..., ChromaDatabase]
) -> None:
    """0.4 never purged its log: without any index every vector is still there, exactly as it was given."""
    data = chroma_copy("0.4.24")
    for name in ("synced_l2", "synced_cosine", "churn"):
        shutil.rmtree(index_of(data, name))
    database = opened(data.path)
    for name in ("synced_l2", "synced_cosine", "churn"):
        found = {record.id: record for record in read(database, name)[0]}
        wanted = data.collection(name).records
        assert found.keys() == {record.id for record in wanted}
        assert all(vector_of(found[one.id]).tobytes() == one.given_vector.tobytes() for one in wanted)


def test_a_hostile_index_does_not_run(tmp_path: Path, chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """A pickle that would make a folder: it is refused, and no folder is there."""

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    data = chroma_copy("1.5.9")
    file = index_of(data, "synced_l2") / "index_metadata.pickle"
    file.write_bytes(pickle.dumps({"id_to_label": Trap()}, 3))
    with pytest.raises(CorruptData, match="nothing in it was executed"):
        opened(data.path).source("synced_l2")
    assert not (tmp_path / "sprung").exists()


def test_a_segment_cannot_lead_elsewhere(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """The name of an index folder comes from the database: it must be a UUID, not a path."""
    data = chroma_copy("1.5.9")
    change(data, "UPDATE segments SET id = '../../etc/' || id WHERE scope = 'VECTOR'")
    with pytest.raises(CorruptData, match="no UUID"):
        opened(data.path).collections()


# --------------------------------------------------------------------------- records


def test_mixed_lengths_and_lost_vectors_are_rejected_by_id(
    chroma_copy: Copy, opened: Callable[..., ChromaDatabase]
) -> None:
    """One record with a short vector, one with none: both named with the reason, all others read."""
    data = chroma_copy("1.5.9")
    change(
        data,
        """CREATE TEMP TABLE mine AS SELECT q.seq_id, q.id FROM embeddings_queue q JOIN collections c
             ON c.id = substr(q.topic, -36) WHERE c.name = 'wal_only' AND q.operation = 0
             AND q.id IN (SELECT id FROM embeddings_queue GROUP BY id, topic HAVING count(*) = 1) LIMIT 2;
           UPDATE embeddings_queue SET vector = x'0000803f' WHERE seq_id = (SELECT min(seq_id) FROM mine);
           DELETE FROM embeddings_queue WHERE seq_id = (SELECT max(seq_id) FROM mine);""",
    )
    records, rejected = read(opened(data.path), "wal_only")
    assert len(records) + len(rejected) == len(data.collection("wal_only").records)
    assert sorted(one.reason.split(" ")[1] for one in rejected) == ["has", "vector"], rejected
    assert {one.id for one in rejected}.isdisjoint(record.id for record in records)


def test_keys_of_our_own_names_are_ordinary_data(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """`_vf` and '' in a collection that we did not write: read as they are; keys of Chroma's own are not shown."""
    data = chroma_copy("1.5.9")
    change(
        data,
        """INSERT INTO embedding_metadata (id, key, string_value) SELECT e.id, k.key, '{"m": {"x": 1}}'
           FROM embeddings e JOIN segments s ON s.id = e.segment_id JOIN collections c ON c.id = s.collection,
                (SELECT '_vf' AS key UNION SELECT '' UNION SELECT 'chroma:other') k WHERE c.name = 'synced_l2';""",
    )
    records, _ = read(opened(data.path), "synced_l2")
    for ours, theirs in zip(records, data.collection("synced_l2").records, strict=True):
        assert ours.metadata == {**(theirs.metadata or {}), "_vf": '{"m": {"x": 1}}', "": '{"m": {"x": 1}}'}


def test_infinite_numbers_keep_their_value(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """Old versions stored them; JSON has no word for them, so they carry a tag. NaN was stored as nothing at all."""
    data = chroma_copy("1.5.9")
    change(
        data,
        """INSERT INTO embedding_metadata (id, key, float_value) SELECT e.id, k.key, k.value
           FROM embeddings e JOIN segments s ON s.id = e.segment_id JOIN collections c ON c.id = s.collection,
                (SELECT 'up' AS key, 9e999 AS value UNION SELECT 'down', -9e999 UNION SELECT 'nan', NULL) k
           WHERE c.name = 'synced_l2';""",
    )
    records, _ = read(opened(data.path), "synced_l2")
    for ours, theirs in zip(records, data.collection("synced_l2").records, strict=True):
        assert ours.metadata == {**(theirs.metadata or {}), "up": float("inf"), "down": float("-inf")}


# --------------------------------------------------------------------------- states of the file itself


def test_reading_changes_nothing(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """Not a byte of the directory, not a file more."""
    data = chroma_copy("0.4.24-to-1.5.9")
    before = fingerprint(data.path)
    database = opened(data.path)
    for spec in database.collections():
        read(database, spec.qualified_name)
    database.close()
    assert fingerprint(data.path) == before


SPOIL = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 2")
db.execute("PRAGMA cache_spill = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE embedding_metadata SET string_value = 'spoilt' WHERE string_value IS NOT NULL")
db.execute("UPDATE embeddings SET embedding_id = embedding_id || 'x'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_journal_of_a_killed_writer(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """Pages of a transaction that never ended lie in the file: our copy rolls them back, theirs stays untouched."""
    data = chroma_copy("1.5.9")
    done = subprocess.run([sys.executable, "-c", SPOIL, str(data.path / "chroma.sqlite3")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (data.path / "chroma.sqlite3-journal").stat().st_size > 0
    before = fingerprint(data.path)
    records, _ = read(opened(data.path), "synced_l2")
    assert [record.id for record in records] == [record.id for record in data.collection("synced_l2").records]
    assert "spoilt" not in {record.document for record in records}
    assert fingerprint(data.path) == before


def test_write_ahead_mode(chroma_copy: Copy, opened: Callable[..., ChromaDatabase]) -> None:
    """A directory that somebody switched to WAL: what is committed there and not in the main file is read."""
    data = chroma_copy("1.5.9")
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            """if True:
            import sqlite3, sys
            db = sqlite3.connect(sys.argv[1], isolation_level=None)
            db.execute("PRAGMA journal_mode = wal")
            db.execute("UPDATE embedding_metadata SET string_value = 'fresh' WHERE key = 'chroma:document'")
            print("done", flush=True)
            sys.stdin.read()""",
            str(data.path / "chroma.sqlite3"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"done\n"
        records, _ = read(opened(data.path), "synced_l2")
    assert {record.document for record in records} <= {"fresh", None}
    assert any(record.document == "fresh" for record in records)


def test_a_pinned_snapshot_is_reused_and_stays(
    tmp_path: Path, chroma_copy: Copy, opened: Callable[..., ChromaDatabase]
) -> None:
    """The same folder gives the same pin, whatever happens to the directory; a half-made one is made anew."""
    data, folder = chroma_copy("1.5.9"), tmp_path / "pin"
    (folder / "store.partial").mkdir(parents=True)
    (folder / "store.partial" / "chroma.sqlite3").write_bytes(b"half")
    first = opened(data.path)
    pin = first.pin(folder)
    change(data, "DELETE FROM collections")
    second = opened(data.path)
    assert second.pin(folder) == pin
    assert pin.bytes > 0
    assert second.collections() == first.collections() != []
    assert list(opened(data.path).collections()) == []
