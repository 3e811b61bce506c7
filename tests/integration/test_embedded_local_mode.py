"""Folders of qdrant-client's local mode, made by the client itself, good and bad."""

from __future__ import annotations

import base64
import json
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from vecferry.arrow import to_records
from vecferry.errors import CorruptData, NotFound, Unavailable, Unsupported
from vecferry.model import CollectionSpec, Rejection
from vecferry.registry import open_database

COSINE = models.VectorParams(size=3, distance=models.Distance.COSINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two collections: `docs` with numbers and UUIDs, `empty` without points."""
    path = tmp_path / "local"
    with closing(QdrantClient(path=str(path))) as client:
        for name in ("docs", "empty"):
            client.create_collection(name, vectors_config=COSINE)
        client.upsert(
            "docs",
            [
                models.PointStruct(
                    id=n, vector=[3.0 * n, 4.0, 0.0], payload={"document": f"d{n}", "metadata": {"n": n}}
                )
                for n in range(1, 30)
            ],
        )
    return path


def storage(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "collection" / "docs" / "storage.sqlite")


def refused(folder: Path) -> tuple[int, list[Rejection]]:
    """(records read, records refused) of `docs`."""
    with closing(open_database(f"qdrant:{folder}")) as database:
        source = database.source("docs")
        chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
        return sum(c.batch.num_rows for c in chunks), [one for chunk in chunks for one in chunk.rejected]


def test_reads_cosine_vectors_with_their_length(folder: Path) -> None:
    """The client shows (0.6, 0.8, 0); the file holds (3, 4, 0), and so does what we read."""
    with closing(open_database(f"qdrant:{folder}")) as database:
        assert [(spec.name, spec.count) for spec in database.collections()] == [("docs", 29), ("empty", 0)]
        source = database.source("docs")
        (record,) = to_records(source.fetch(["1", "99"]), source.describe())  # type: ignore[attr-defined]
        vector = record.vectors[""]
        assert isinstance(vector, np.ndarray)
        assert vector.tolist() == [3.0, 4.0, 0.0]
        assert (record.document, record.metadata) == ("d1", {"n": 1})


# a client that fails to open complains once more when it is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_and_we_exclude_each_other(folder: Path) -> None:
    """While a client has the folder open we are told so; while we read, no client can change it."""
    with closing(QdrantClient(path=str(folder))), pytest.raises(Unavailable, match="one process at a time"):
        open_database(f"qdrant:{folder}")
    with closing(open_database(f"qdrant:{folder}")), pytest.raises(RuntimeError, match="already accessed"):
        QdrantClient(path=str(folder))
    with closing(QdrantClient(path=str(folder))) as client:
        assert client.count("docs").count == 29


def test_writing_is_refused_with_advice(folder: Path) -> None:
    """The folder belongs to the client."""
    with closing(open_database(f"qdrant:{folder}")) as database, pytest.raises(Unsupported) as caught:
        database.sink(CollectionSpec(name="new"))
    assert "another folder" in (caught.value.hint or "")


def test_reading_changes_no_byte(folder: Path) -> None:
    """Every file is the same before and after."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert refused(folder) == (29, [])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_hostile_and_broken_points_are_refused_one_by_one(folder: Path, tmp_path: Path) -> None:
    """A point that tries to run a command, a torn one and one of another dimension; the other 26 are read."""

    class Runs:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    wrong = pickle.dumps(models.PointStruct(id=3, vector=[1.0], payload={}))
    with closing(storage(folder)) as db, db:
        rows = [row for (row,) in db.execute("SELECT rowid FROM points ORDER BY rowid LIMIT 3")]
        for row, raw in zip(rows, (pickle.dumps(Runs()), b"\x80\x04\x95", wrong), strict=True):
            db.execute("UPDATE points SET point = ? WHERE rowid = ?", (raw, row))
    read, rejected = refused(folder)
    assert (read, [one.id for one in rejected]) == (26, ["1", "2", "3"])
    for one, why in zip(rejected, ("asks to load", "ends too early", "3 dimensions"), strict=True):
        assert why in one.reason
    assert not (tmp_path / "ran").exists()


def test_a_point_stored_twice_counts_once(folder: Path) -> None:
    """Old clients kept a row per spelling of a UUID and per pickle protocol; the last one written counts."""
    text = "00000000-0000-0000-0000-0000000000ab"
    with closing(storage(folder)) as db, db:
        for number, (spelling, protocol) in enumerate([(text.upper(), 3), (text.replace("-", ""), 4), (text, 4)]):
            key = base64.b64encode(pickle.dumps(spelling, protocol)).decode()
            point = models.PointStruct.model_construct(id=spelling, vector=[1.0, 0.0, 0.0], payload={"n": number})
            db.execute("INSERT INTO points VALUES (?, ?)", (key, pickle.dumps(point)))
    with closing(open_database(f"qdrant:{folder}")) as database:
        source = database.source("docs")
        assert source.describe().count == 30
        (record,) = to_records(source.fetch([text]), source.describe())  # type: ignore[attr-defined]
        assert record.metadata == {"n": 2}
    assert refused(folder) == (30, [])


def _meta(text: str) -> Iterator[tuple[str, type[Exception], str]]:
    yield "{", CorruptData, "meta.json"
    yield "[]", CorruptData, "meta.json"
    yield '{"collections": {"docs": 1}}', CorruptData, "meta.json"
    yield text.replace('"docs"', '"../../outside"'), CorruptData, "outside of the folder"
    yield text.replace('"docs"', '"gone"'), NotFound, "gone"


@pytest.mark.parametrize("case", range(5))
def test_a_bad_meta_file_is_named(folder: Path, case: int) -> None:
    """Torn, of another form, leading out of the folder, or naming what is not there."""
    meta = folder / "meta.json"
    text, error, words = list(_meta(json.dumps(json.loads(meta.read_text()))))[case]
    meta.write_text(text)
    with pytest.raises(error, match=words), closing(open_database(f"qdrant:{folder}")) as database:
        list(database.collections())


def test_a_torn_database_is_named(folder: Path) -> None:
    """SQLite's own words, the file, and what to do."""
    file = folder / "collection" / "docs" / "storage.sqlite"
    file.write_bytes(b"x" * 5000)
    with pytest.raises(CorruptData, match=r"storage\.sqlite") as caught:
        refused(folder)
    assert "backup" in (caught.value.hint or "")
