"""Remembers, until a load is finished, in which order its records belong: Chroma returns them in the order of writing.

A small SQLite file beside Chroma's (`vecferry-order-<collection>.sqlite3`), so that it survives a crash; `finish`
removes it. It also holds a record set that is being moved (deleted and added again), so that a crash between the two
loses nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa


class Order:
    """(sequence number, id) of every record written since the last `forget`. One thread at a time."""

    def __init__(self, folder: Path, uid: str) -> None:
        self._path = folder / f"vecferry-order-{uid}.sqlite3"
        self._db: sqlite3.Connection | None = None

    def note(self, seqs: Sequence[int | None], ids: Sequence[str]) -> None:
        """Remember records in the order in which they are written; what is known already keeps its place."""
        rows = [(text, seq) for text, seq in zip(ids, seqs, strict=True) if seq is not None]
        if rows:
            with self._open() as db:
                db.executemany(
                    "INSERT INTO records (id, seq) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq",
                    rows,
                )

    def moved(self, ids: Sequence[str]) -> None:
        """Remember that these records stand at the end now."""
        with self._open() as db:
            db.executemany(
                "UPDATE records SET place = (SELECT max(place) + 1 FROM records) WHERE id = ?",
                [(text,) for text in ids],
            )

    def misplaced(self) -> list[str]:
        """Ids to write anew at the end, in this order, so that the collection is in order."""
        if self._db is None and not self._path.exists():
            return []
        last, late = -1, list[str]()
        for place, text in self._open().execute("SELECT place, id FROM records ORDER BY seq, place"):
            if late or place < last:
                late.append(text)
            last = place
        return late

    def hold(self, batch: pa.RecordBatch | None) -> None:
        """Keep these records until they are written again; None lets them go."""
        with self._open() as db:
            db.execute("DELETE FROM held")
            if batch is not None:
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                db.execute("INSERT INTO held VALUES (?)", (sink.getvalue().to_pybytes(),))

    def held(self) -> Iterator[pa.RecordBatch]:
        """Records that a crash left between deleting and adding."""
        if self._db is None and not self._path.exists():
            return
        for (raw,) in self._open().execute("SELECT batch FROM held").fetchall():
            yield from pa.ipc.open_stream(raw)

    def forget(self) -> None:
        """The load is finished."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = sqlite3.connect(self._path, check_same_thread=False)
            self._db.executescript(
                """PRAGMA synchronous = OFF;
                CREATE TABLE IF NOT EXISTS records (place INTEGER PRIMARY KEY, id TEXT UNIQUE, seq INTEGER);
                CREATE TABLE IF NOT EXISTS held (batch BLOB);"""
            )
        return self._db
