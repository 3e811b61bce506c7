"""What we write as binary COPY, PostgreSQL reads: every type, by its own output functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vecferry import arrow
from vecferry.connectors.postgres._codec import copy_write as wire
from vecferry.connectors.postgres._codec.sparse_write import sparse_cells
from vecferry.testing.postgres import PostgresServer

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer):
    with postgres_server.fresh_database() as database, database.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        yield connection


def read(connection: psycopg.Connection[Any], kind: str, cells: wire.Cells, rows: int) -> list[Any]:
    """What PostgreSQL made of the cells, in their order, as its own text."""
    connection.execute(f"CREATE TEMP TABLE t (n bigserial, v {kind})")
    try:
        with connection.cursor() as cursor, cursor.copy("COPY t (v) FROM STDIN (FORMAT binary)") as copy:
            copy.write(wire.stream([cells], rows))
        return [row[0] for row in connection.execute("SELECT v::text FROM t ORDER BY n").fetchall()]
    finally:
        connection.execute("DROP TABLE t")


def check(connection, kind, cells, values):
    """The cells are read as `values` are, written as text."""
    connection.execute(f"CREATE TEMP TABLE e (n bigserial, v {kind})")
    try:
        for value in values:
            connection.execute(f"INSERT INTO e (v) VALUES (%s::text::{kind})", [value])
        wanted = [row[0] for row in connection.execute("SELECT v::text FROM e ORDER BY n").fetchall()]
    finally:
        connection.execute("DROP TABLE e")
    assert read(connection, kind, cells, len(values)) == wanted


@given(values=st.lists(st.none() | _TEXT))
def test_text(connection, values):
    assert read(connection, "text", wire.text(pa.array(values, pa.large_string())), len(values)) == values


@given(values=st.lists(st.none() | st.dictionaries(_TEXT, st.integers() | _TEXT | st.none() | st.booleans())))
def test_jsonb(connection, values):
    import json

    texts = [None if value is None else json.dumps(value) for value in values]
    check(connection, "jsonb", wire.jsonb(pa.array(texts, pa.string())), texts)


@given(values=st.lists(st.none() | st.uuids().map(str)))
def test_uuid(connection, values):
    assert read(connection, "uuid", wire.uuid(pa.array(values, pa.string())), len(values)) == values


@given(values=st.lists(st.none() | st.integers(-(2**63), 2**64 - 1)))
def test_bigint_and_what_is_past_it(connection, values):
    texts = pa.array([None if value is None else str(value) for value in values], pa.string())
    kept = [None if v is None else str(v if v < 2**63 else v - 2**64) for v in values]
    assert read(connection, "bigint", wire.bigint(texts), len(values)) == kept


@pytest.mark.parametrize("kind, arrow_type, dtype", [("int2", pa.int16(), ">i2"), ("int4", pa.int32(), ">i4")])
@given(data=st.data())
def test_smaller_integers(connection, kind, arrow_type, dtype, data):
    most = 2 ** (arrow_type.bit_width - 1)
    values = data.draw(st.lists(st.none() | st.integers(-most, most - 1)))
    kept = [None if value is None else str(value) for value in values]
    assert read(connection, kind, wire.number(pa.array(values, arrow_type), dtype), len(values)) == kept


@given(values=st.lists(st.none() | st.booleans()))
def test_bool(connection, values):
    cells = wire.number(pa.array(values, pa.bool_()), "u1")
    assert read(connection, "bool", cells, len(values)) == [None if v is None else str(v).lower() for v in values]


@pytest.mark.parametrize("kind, width", [("float8", 64), ("float4", 32)])
@given(data=st.data())
def test_floats(connection, kind, width, data):
    values = data.draw(st.lists(st.none() | st.floats(width=width)))
    arrow_type = {64: pa.float64(), 32: pa.float32()}[width]
    found = read(connection, kind, wire.number(pa.array(values, arrow_type), f">f{width // 8}"), len(values))
    back = [None if text is None else float(text) for text in found]
    assert pa.array(back, arrow_type).equals(pa.array(values, arrow_type)) or any(v != v for v in values)  # noqa: PLR0124


@given(values=st.lists(st.none() | st.binary()))
def test_bytes(connection, values):
    kept = [None if value is None else "\\x" + value.hex() for value in values]
    assert read(connection, "bytea", wire.text(pa.array(values, pa.binary())), len(values)) == kept


@pytest.mark.parametrize("kind, dtype, wire_type", [("vector", np.float32, ">f4"), ("halfvec", np.float16, ">f2")])
@given(data=st.data())
def test_vectors(connection, kind, dtype, wire_type, data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 20)))
    width = np.dtype(dtype).itemsize * 8
    numbers = st.floats(width=width, allow_nan=False, allow_infinity=False)
    values = data.draw(hnp.arrays(dtype, shape, elements=numbers))
    present = data.draw(hnp.arrays(np.bool_, shape[0]))
    found = read(connection, kind, wire.dense(values, present, wire_type), shape[0])
    for row, text in enumerate(found):
        if present[row]:
            assert np.array(text.strip("[]").split(","), dtype).tobytes() == values[row].tobytes()
        else:
            assert text is None


@given(data=st.data())
def test_bits(connection, data):
    length = data.draw(st.integers(2, 40))
    rows = data.draw(st.integers(1, 5))
    flags = data.draw(hnp.arrays(np.uint8, (rows, length), elements=st.integers(0, 1)))
    present = data.draw(hnp.arrays(np.bool_, rows))
    padded = np.packbits(flags, axis=1)
    padded[:, -1] |= (1 << (-length % 8)) - 1  # what stands behind the last bit is not ours
    found = read(connection, f"bit({length})", wire.bits(padded, present, length), rows)
    assert found == ["".join(map(str, row)) if there else None for row, there in zip(flags, present, strict=True)]


@given(
    values=st.lists(
        st.none()
        | st.dictionaries(st.integers(0, 49), st.floats(-9, 9, width=32).filter(lambda v: abs(v) > 1e-3 or not v))
    )
)
def test_sparse_vectors(connection, values):
    cells = [None if v is None else {"indices": sorted(v), "values": [v[i] for i in sorted(v)]} for v in values]
    made, wrong = sparse_cells(pa.array(cells, arrow.SPARSE), 50)
    assert not wrong
    texts = [
        None if v is None else "{" + ",".join(f"{i + 1}:{v[i]!r}" for i in sorted(v) if v[i]) + "}/50" for v in values
    ]
    check(connection, "sparsevec(50)", made, texts)


def test_sparse_vectors_that_are_none():
    wide = {"indices": list(range(16_001)), "values": [1.0] * 16_001}
    cells = [{"indices": [1, 50], "values": [1.0, 1.0]}, None, wide, {"indices": [49], "values": [1.0]}]
    _, wrong = sparse_cells(pa.array(cells, arrow.SPARSE), 50)
    assert sorted(wrong) == [0, 2]
    _, wrong = sparse_cells(pa.array(cells, arrow.SPARSE), 20_000)
    assert sorted(wrong) == [2]


def test_slices_and_several_columns(connection):
    """A slice shares its parent's memory; offsets are honoured in every column."""
    rows = 20
    ids = pa.array([f"id-{n}" for n in range(rows)]).slice(5, 7)
    numbers = pa.array([None if n % 3 else n for n in range(rows)], pa.int64()).slice(5, 7)
    vectors = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)[5:12]
    fields = [wire.text(ids), wire.number(numbers, ">i8"), wire.dense(vectors, np.ones(7, np.bool_), ">f4")]
    connection.execute("CREATE TEMP TABLE several (a text, b int8, c vector)")
    with connection.cursor() as cursor, cursor.copy("COPY several FROM STDIN (FORMAT binary)") as copy:
        copy.write(wire.stream(fields, 7))
    found = connection.execute("SELECT a, b, c::text FROM several").fetchall()
    assert found == [(f"id-{n}", None if n % 3 else n, f"[{2 * n},{2 * n + 1}]") for n in range(5, 12)]
