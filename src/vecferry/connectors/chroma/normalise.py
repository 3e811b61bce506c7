"""Bring a private snapshot to the state that Chroma itself would show, and note where each record's vector is.

Chroma writes to its log (`embeddings_queue`) first and applies later: to the metadata tables, and every so often to
the index files. A snapshot may fall between. Here, once, on our own copy:

1. the log behind the metadata's mark is applied to the metadata tables, as Chroma does when it opens the directory;
2. table `vf_place` gets, per record, the place of its vector: a slot of the index (0 and up), or the sequence
   number of a row of the log, negated. NULL: the record has a vector nowhere;
3. table `vf_collection` gets the count, the dimension and, where the index cannot be read, why.

Everything goes through SQLite's own sorter and indexes: memory does not grow with the collection.
"""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vecferry.connectors.chroma import catalog, hnsw, pickle_map
from vecferry.connectors.chroma.catalog import Entry
from vecferry.errors import CorruptData
from vecferry.model import Metric

ADD, UPDATE, UPSERT, DELETE = 0, 1, 2, 3

TABLES = """
CREATE TABLE vf_place (number INTEGER, id INTEGER, place INTEGER, PRIMARY KEY (number, id)) WITHOUT ROWID;
CREATE TABLE vf_collection (number INTEGER PRIMARY KEY, uid TEXT, count INTEGER, dim INTEGER, problem TEXT);
CREATE TEMP TABLE vf_slot (embedding_id TEXT, slot INTEGER);
"""


def run(db: sqlite3.Connection, folder: Path) -> None:
    """Normalise the snapshot in `folder`, whose database is `db`."""
    db.executescript(TABLES)
    whole_log = _keeps_whole_log(db)
    for entry in catalog.entries(db):
        db.execute("BEGIN")
        _replay_metadata(db, entry)
        problem, mark = _place_indexed(db, folder, entry, whole_log=whole_log)
        _replay_vectors(db, entry, mark)
        _note(db, entry, problem)
        db.execute("COMMIT")


def _keeps_whole_log(db: sqlite3.Connection) -> bool:
    """True where nothing was ever purged: 0.4 never did, and directories upgraded from it do not."""
    if not catalog.columns(db, "embeddings_queue_config"):
        return True
    row = db.execute("SELECT config_json_str FROM embeddings_queue_config").fetchone()
    return row is not None and orjson.loads(row[0] or "{}").get("automatically_purge") is False


# --------------------------------------------------------------------------- metadata

_LOG = "FROM embeddings_queue q WHERE q.seq_id > ? AND substr(q.topic, -36) = ?"


def _replay_metadata(db: sqlite3.Connection, entry: Entry) -> None:
    """Apply the log to the metadata tables, with Chroma's own rules: add keeps what is there, upsert merges."""
    rows = db.execute(f"SELECT seq_id, operation, id, metadata {_LOG} ORDER BY seq_id", (entry.metadata_seq, entry.id))
    arrays = bool(catalog.columns(db, "embedding_metadata_array"))
    last = None
    for last, operation, text, metadata in rows:
        found = db.execute(
            "SELECT id FROM embeddings WHERE segment_id = ? AND embedding_id = ?", (entry.metadata, text)
        ).fetchone()
        if operation == DELETE:
            _forget(db, found, arrays=arrays)
        elif found is None and operation != UPDATE:
            row = db.execute(
                "INSERT INTO embeddings (segment_id, embedding_id, seq_id) VALUES (?, ?, ?)",
                (entry.metadata, text, last),
            ).lastrowid
            _merge(db, row, metadata, arrays=arrays)
        elif found is not None and operation != ADD:
            db.execute("UPDATE embeddings SET seq_id = ? WHERE id = ?", (last, found[0]))
            _merge(db, found[0], metadata, arrays=arrays)
    if last is not None:
        db.execute("INSERT OR REPLACE INTO max_seq_id (segment_id, seq_id) VALUES (?, ?)", (entry.metadata, last))


def _forget(db: sqlite3.Connection, found: tuple[int] | None, *, arrays: bool) -> None:
    if found is None:
        return
    db.execute("DELETE FROM embeddings WHERE id = ?", found)
    db.execute("DELETE FROM embedding_metadata WHERE id = ?", found)
    if arrays:
        db.execute("DELETE FROM embedding_metadata_array WHERE id = ?", found)


def _merge(db: sqlite3.Connection, row: int | None, metadata: str | None, *, arrays: bool) -> None:
    for key, value in (orjson.loads(metadata) if metadata else {}).items():
        db.execute("DELETE FROM embedding_metadata WHERE id = ? AND key = ?", (row, key))
        if arrays:
            db.execute("DELETE FROM embedding_metadata_array WHERE id = ? AND key = ?", (row, key))
        table = "embedding_metadata_array" if isinstance(value, list) else "embedding_metadata"
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            db.execute(f"INSERT INTO {table} {_CELLS}", (row, key, *_cells(item)))


_CELLS = "(id, key, string_value, int_value, float_value, bool_value) VALUES (?, ?, ?, ?, ?, ?)"


def _cells(value: Any) -> tuple[Any, Any, Any, Any]:
    if isinstance(value, bool):
        return None, None, None, int(value)
    if isinstance(value, int):
        return None, value, None, None
    return (None, None, value, None) if isinstance(value, float) else (value, None, None, None)


# --------------------------------------------------------------------------- vectors


def _place_indexed(db: sqlite3.Connection, folder: Path, entry: Entry, *, whole_log: bool) -> tuple[str | None, int]:
    """Note the slot of each record that the index holds; returns (why it cannot be read, mark to replay behind).

    An index that cannot be read is no loss where the log was never purged: then everything is replayed.
    """
    where = folder / (entry.vectors or "none")
    if not (where / "index_metadata.pickle").exists() and not entry.vectors_seq:
        return None, 0
    try:
        mark = _slots(db, where, entry)
    except CorruptData as error:
        db.execute("DELETE FROM vf_slot")
        return (None, 0) if whole_log else (error.message, 0)
    db.execute(
        """INSERT OR REPLACE INTO vf_place
           SELECT ?, e.id, s.slot FROM vf_slot s CROSS JOIN embeddings e
           WHERE e.segment_id = ? AND e.embedding_id = s.embedding_id ORDER BY e.id""",
        (entry.number, entry.metadata),
    )
    db.execute("DELETE FROM vf_slot")
    return None, max(mark, entry.vectors_seq)


def _slots(db: sqlite3.Connection, folder: Path, entry: Entry) -> int:
    """Fill `vf_slot` from the index; returns the sequence number that the id map itself carries, or 0."""
    if not (folder / "index_metadata.pickle").exists():
        raise CorruptData(f"{folder.name}/index_metadata.pickle is missing.", hint=hnsw.HINT)
    index = hnsw.Index(folder, cosine=entry.metric is Metric.COSINE)
    if entry.dim is not None and index.dim != entry.dim:
        raise CorruptData(
            f"{folder.name} holds vectors of {index.dim} components, the collection {entry.dim}.", hint=hnsw.HINT
        )
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        slot_of = _slot_of_label(index, file)

        def keep(ids: list[str], labels: list[int]) -> None:
            wanted = np.array(labels, np.int64)
            if wanted.max() >= len(slot_of) or (slots := slot_of[wanted] - 1).min() < 0:
                raise CorruptData(
                    f"{folder.name}/index_metadata.pickle names labels that data_level0.bin has not.", hint=hnsw.HINT
                )
            db.executemany("INSERT INTO vf_slot VALUES (?, ?)", zip(ids, slots.tolist(), strict=True))

        facts = pickle_map.parse(folder / "index_metadata.pickle", keep)
    return facts.max_seq_id or 0


def _slot_of_label(index: hnsw.Index, file: Any) -> NDArray[np.int32]:
    """Label -> slot + 1, 0 where there is no such label; lies in a sparse file."""
    top = max((int(labels.max()) for _, labels in index.labels()), default=0)
    if top > hnsw.MAX_LABEL:
        raise CorruptData(f"data_level0.bin holds the label {top}.", hint=hnsw.HINT)
    file.truncate((top + 1) * 4)
    slot_of: NDArray[np.int32] = np.memmap(file, np.int32, "r+", shape=(top + 1,))
    for start, labels in index.labels():
        slot_of[labels.astype(np.int64)] = np.arange(start + 1, start + 1 + len(labels), dtype=np.int32)
    return slot_of


_VECTOR_STEPS = {
    ADD: "INSERT OR IGNORE INTO vf_place VALUES (:number, :id, :place)",
    UPDATE: "UPDATE vf_place SET place = :place WHERE number = :number AND id = :id",
    UPSERT: "INSERT OR REPLACE INTO vf_place VALUES (:number, :id, :place)",
    DELETE: "DELETE FROM vf_place WHERE number = :number AND id = :id",
}


def _replay_vectors(db: sqlite3.Connection, entry: Entry, mark: int) -> None:
    """Apply the log behind `mark` to the places of the records that there are."""
    rows = db.execute(
        """SELECT q.seq_id, q.operation, e.id FROM embeddings_queue q CROSS JOIN embeddings e
           WHERE q.seq_id > ? AND substr(q.topic, -36) = ? AND (q.vector IS NOT NULL OR q.operation = 3)
             AND e.segment_id = ? AND e.embedding_id = q.id ORDER BY q.seq_id""",
        (mark, entry.id, entry.metadata),
    )
    for seq, operation, record in rows:
        if step := _VECTOR_STEPS.get(operation):
            db.execute(step, {"number": entry.number, "id": record, "place": -seq})


def _note(db: sqlite3.Connection, entry: Entry, problem: str | None) -> None:
    """Give records without a vector their row too, and write down what the collection came to."""
    records = "FROM embeddings WHERE segment_id = ?"
    (count,) = db.execute(f"SELECT count(*) {records}", (entry.metadata,)).fetchone()
    (placed,) = db.execute("SELECT count(*) FROM vf_place WHERE number = ?", (entry.number,)).fetchone()
    if placed < count:
        db.execute(
            f"INSERT OR IGNORE INTO vf_place SELECT ?, id, NULL {records} ORDER BY id", (entry.number, entry.metadata)
        )
    db.execute(
        "INSERT INTO vf_collection VALUES (?, ?, ?, ?, ?)",
        (entry.number, entry.id, count, entry.dim or _dimension(db, entry), problem),
    )


def _dimension(db: sqlite3.Connection, entry: Entry) -> int | None:
    """The length of the first vector in the log, for collections that do not say."""
    row = db.execute(
        f"SELECT length(vector) / 4 {_LOG} AND vector IS NOT NULL ORDER BY seq_id LIMIT 1", (0, entry.id)
    ).fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What normalising found of one collection. `problem`: why vectors that stand in its index cannot be read."""

    count: int
    dim: int | None
    problem: str | None


def facts(db: catalog.Reads) -> list[Facts]:
    """The facts of each collection of a normalised snapshot, in the order of `catalog.entries`."""
    return [Facts(*row) for row in db.execute("SELECT count, dim, problem FROM vf_collection ORDER BY number")]
