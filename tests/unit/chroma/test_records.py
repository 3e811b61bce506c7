"""Records read many at a time from a normalised snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import apsw
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vecferry import arrow
from vecferry.connectors.chroma import normalise, records
from vecferry.connectors.chroma.catalog import Entry
from vecferry.connectors.chroma.records import Records
from vecferry.errors import CorruptData
from vecferry.model import CollectionSpec, Metric, Record, VectorSpec
from vecferry.tags import pack

DIM = 4
SPEC = CollectionSpec(name="notes", vectors=(VectorSpec(dim=DIM, metric=Metric.L2),))
ENTRY = Entry(
    number=0, id="", name="notes", tenant="default_tenant", database="default_database", dim=DIM, metric=Metric.L2,
    vectors=None, metadata=None, vectors_seq=0, metadata_seq=0,
)  # fmt: skip
CELLS = "(id INTEGER, key TEXT NOT NULL, string_value TEXT, int_value INTEGER, float_value REAL, bool_value INTEGER"
CHROMA = f"""
CREATE TABLE embeddings (id INTEGER PRIMARY KEY, embedding_id TEXT NOT NULL);
CREATE TABLE embedding_metadata {CELLS}, PRIMARY KEY (id, key));
CREATE TABLE embedding_metadata_array {CELLS});
CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, vector BLOB, encoding TEXT);
"""
COLUMN = {str: "string_value", bytes: "string_value", int: "int_value", float: "float_value", bool: "bool_value"}


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """Chroma's tables and ours, without records."""
    with closing(apsw.Connection(":memory:")) as made:
        made.execute(CHROMA + normalise.TABLES)
        yield made


def put(db: apsw.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """One record per metadata, with ids 1 and up; bytes stand for text that is no UTF-8."""
    for number, row in enumerate(rows, 1):
        vector = np.full(DIM, number, np.float32).tobytes()
        db.execute("INSERT INTO embeddings VALUES (?, ?)", (number, f"id-{number}"))
        db.execute("INSERT INTO embeddings_queue VALUES (?, ?, 'FLOAT32')", (number, vector))
        db.execute("INSERT INTO vf_place VALUES (0, ?, ?)", (number, -number))
        for key, value in row.items():
            cell = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
            db.execute(
                f"INSERT INTO embedding_metadata (id, key, {COLUMN[type(value)]}) VALUES (?, ?, {cell})",
                (number, key, value),
            )


def read(db: apsw.Connection) -> list[Record]:
    """All records."""
    chunks = Records(db, SPEC, ENTRY, None).between(0, 1 << 40)
    return [record for chunk in chunks for record in arrow.to_records(chunk.batch, SPEC)]


# Most of what people keep has few digits; the others are any bits.
NUMBERS = st.floats(allow_nan=False) | st.builds(
    lambda digits, places: round(digits / 10**places, places), st.integers(-(10**15), 10**15), st.integers(0, 15)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=50))
@example([0.0, 1.0, -1.0, 5e-324, 1e-4, 9.9999e-5, 1e14, 1e15, 1e16, 0.1 + 0.2, 1e22, 2.0**53, -73.98, math.inf])
@example([966946050.746766, 1700000000.123456, 99999999999999.9, 123456789012345.6, 1 / 3, 100.0, 1e100, -math.inf])
def test_a_real_number_is_written_as_orjson_writes_it(numbers: list[float]) -> None:
    """Whoever writes it, SQLite or Python: the canonical text, bit for bit, so digests agree with other stores'."""
    numbers = [number or 0.0 for number in numbers]  # SQLite keeps no -0.0
    with closing(apsw.Connection(":memory:")) as db:
        db.execute(CHROMA + normalise.TABLES)
        put(db, [{"n": number} for number in numbers])
        chunks = list(Records(db, SPEC, ENTRY, None).between(0, 1 << 40))
    written = [text for chunk in chunks for text in arrow.utf8(chunk.batch, "metadata")]
    assert written == [pack({"n": number})[0] for number in numbers]


def test_texts_of_any_size_are_read_within_bounds(db: apsw.Connection) -> None:
    """Short ones many at a time; where long ones come unannounced, fewer; one that is longer than any bound alone."""
    sizes = [100] * 300 + [1 << 20] * 20 + [records.TEXT_BYTES + 1] + [10] * 300
    put(db, [{"chroma:document": "é" * (size // 2), "size": size} for size in sizes])
    chunks = list(Records(db, SPEC, ENTRY, None).between(0, 1 << 40))
    assert all(chunk.batch.nbytes <= records.TEXT_BYTES + 100_000 or chunk.batch.num_rows == 1 for chunk in chunks)
    found = [record for chunk in chunks for record in arrow.to_records(chunk.batch, SPEC)]
    assert [record.id for record in found] == [f"id-{number}" for number in range(1, len(sizes) + 1)]
    assert [record.document for record in found] == ["é" * (size // 2) for size in sizes]
    assert [
        arrow.dense(chunk.batch, SPEC.vectors[0])[row, 0] for chunk in chunks for row in range(chunk.batch.num_rows)
    ] == list(range(1, len(sizes) + 1))
    assert len(chunks) < 60, "and many at a time again after them"


def test_records_asked_for_by_number_whatever_their_size(db: apsw.Connection) -> None:
    """Too long together, they are read one by one."""
    put(db, [{"chroma:document": "x" * (3 << 20)} for _ in range(5)])
    chunks = list(Records(db, SPEC, ENTRY, None).listed([5, 2, 3]))
    ids = [text for chunk in chunks for text in chunk.batch.column("id").to_pylist()]
    assert sorted(ids) == ["id-2", "id-3", "id-5"]


@pytest.mark.parametrize("key", ["chroma:document", "chroma:uri", "note"])
def test_text_that_is_no_utf8(key: str, db: apsw.Connection) -> None:
    """Named as damage, not passed on."""
    put(db, [{key: "fine"}, {key: b"caf\xe9"}])
    with pytest.raises(CorruptData, match=r"records of notes cannot be read: .*UTF-?8") as caught:
        read(db)
    assert "integrity_check" in (caught.value.hint or "")


def test_every_kind_of_cell(db: apsw.Connection) -> None:
    """Empty is not missing, zero bytes and quotes are text, and records without metadata have none."""
    rows: list[dict[str, Any]] = [
        {},
        {"chroma:document": "", "chroma:uri": "a\0b"},
        {"": "empty key", "b": True, "a": -(1 << 63), "chroma:document": "'\"\\ \t\x01é🚢"},
        {"text": "{}", "chromatic": 1, "chroma9": 2, "z": False, "control": "\x00\x1f\x7f\b\f\n\r\t\"'/\\"},
    ]
    put(db, rows)
    found = read(db)
    assert [(record.document, record.uri) for record in found] == [
        (row.get("chroma:document"), row.get("chroma:uri")) for row in rows
    ]
    own = [{key: value for key, value in row.items() if not key.startswith("chroma:")} for row in rows]
    assert [record.metadata for record in found] == [metadata or None for metadata in own]


def test_no_text_of_a_record_is_taken_for_our_mark(db: apsw.Connection) -> None:
    """What stands for infinity in the JSON on the way is drawn anew each time, so nobody can have written it."""
    row = {"mine": "\x01vecferry:inf", "other": "\x01vecferry:None", "n": math.inf}
    put(db, [row, {**row, "n": -math.inf}])
    assert [record.metadata for record in read(db)] == [row, {**row, "n": -math.inf}]


def test_lists_stand_beside_scalars(db: apsw.Connection) -> None:
    """A record with lists, one without, in the order of the elements."""
    put(db, [{"a": 1}, {"a": 2}])
    for value in ("x", "é", ""):
        db.execute("INSERT INTO embedding_metadata_array (id, key, string_value) VALUES (2, 'l', ?)", (value,))
    assert [record.metadata for record in read(db)] == [{"a": 1}, {"a": 2, "l": ["x", "é", ""]}]


def test_a_record_without_its_vector_is_set_aside(db: apsw.Connection) -> None:
    """By name and with the reason; the others of its chunk are read."""
    put(db, [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4.5}])
    db.execute("UPDATE vf_place SET place = NULL WHERE id = 1")
    db.execute("UPDATE embeddings_queue SET vector = x'0000' WHERE seq_id = 3")
    (chunk,) = Records(db, SPEC, ENTRY, None).between(0, 1 << 40)
    assert [record.metadata for record in arrow.to_records(chunk.batch, SPEC)] == [{"n": 2}, {"n": 4.5}]
    assert [rejection.id for rejection in chunk.rejected] == ["id-1", "id-3"]
