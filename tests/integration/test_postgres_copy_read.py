"""What PostgreSQL sends as binary COPY is read as psycopg reads the same values: every type, nulls among them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vecferry.connectors.postgres._codec import copy_read
from vecferry.connectors.postgres._codec.columns import Values, type_of
from vecferry.connectors.postgres._codec.copy_read import Fields, Rows
from vecferry.connectors.postgres.scan import blocks
from vecferry.errors import CorruptData
from vecferry.tags import unpack
from vecferry.testing.postgres import PostgresServer

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with postgres_server.fresh_database() as database, database.connect() as connection:
        connection.execute("SET timezone = 'UTC'; SET extra_float_digits = 1")
        yield connection


def stored(connection: psycopg.Connection[Any], kind: str, values: list[Any]) -> None:
    """A temporary table `t` with the values, in their order, written by psycopg."""
    connection.execute(f"DROP TABLE IF EXISTS t; CREATE TEMP TABLE t (n bigserial, v {kind})")
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO t (v) VALUES (%s::{kind})", [[value] for value in values])


def fields(connection: psycopg.Connection[Any], select: str, columns: int = 1) -> Fields:
    (rows,) = blocks(connection, f"{select} ORDER BY n", rows=10_000, size=1 << 30)
    return Fields(rows, columns)


def read(connection: psycopg.Connection[Any], kind: str, values: list[Any]) -> Values:
    """What we make of such a column."""
    stored(connection, kind, values)
    name = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v'"
    ).fetchone()
    assert name is not None
    found = type_of(name[0])
    return found.decode(fields(connection, f"SELECT {found.select.format('v')} FROM t"), 0)


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=1, max_size=20)


@pytest.mark.parametrize("kind, bits", [("smallint", 15), ("integer", 31), ("bigint", 63)])
@given(data=st.data())
def test_integers(connection, kind, bits, data):
    values = data.draw(lists(st.integers(-(2**bits), 2**bits - 1)))
    assert read(connection, kind, values).array.to_pylist() == values


@given(values=lists(st.floats(allow_nan=False)))
def test_doubles(connection, values):
    found = read(connection, "double precision", values).array.to_pylist()
    assert list(map(repr, found)) == list(map(repr, values))


@given(values=lists(st.floats(allow_nan=False, width=32)))
def test_reals_go_home_as_they_were(connection, values):
    found = read(connection, "real", values).array.to_pylist()
    assert [None if v is None else np.float32(v) for v in found] == [
        None if v is None else np.float32(v) for v in values
    ]


@given(values=lists(st.booleans()))
def test_booleans(connection, values):
    assert read(connection, "boolean", values).array.to_pylist() == values


@pytest.mark.parametrize("kind", ["text", "character varying(50)"])
@given(data=st.data())
def test_texts(connection, kind, data):
    values = data.draw(lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)))
    assert read(connection, kind, values).array.to_pylist() == values
    assert copy_read.large_strings(fields(connection, "SELECT v FROM t"), 0).to_pylist() == values


@given(values=lists(st.uuids()))
def test_uuids(connection, values):
    assert read(connection, "uuid", values).array.to_pylist() == [None if v is None else str(v) for v in values]


def untagged(found: Values) -> list[Any]:
    texts = found.array.to_pylist()
    return [
        None if text is None else unpack(json.dumps({"v": text}).encode(), json.dumps({"/v": found.tag}).encode())["v"]
        for text in texts
    ]


@given(values=lists(st.datetimes(timezones=st.just(UTC))))
def test_times_with_a_zone(connection, values):
    found = read(connection, "timestamptz", values)
    assert found.tag == "datetime"
    assert untagged(found) == values


@given(values=lists(st.datetimes()))
def test_times_without_a_zone(connection, values):
    assert untagged(read(connection, "timestamp", values)) == values


@given(values=lists(st.dates()))
def test_dates(connection, values):
    assert untagged(read(connection, "date", values)) == values


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_times_that_python_has_not_keep_their_text(connection, kind):
    """Such rows have no tag, the others do."""
    found = read(connection, kind, ["infinity", "2026-01-02", "-infinity", None])
    assert found.array.to_pylist()[0::2] == ["infinity", "-infinity"]
    assert set(found.plain) == {0, 2}


@pytest.mark.parametrize(
    "kind, value",
    [
        ("date", "0044-03-15 BC"),
        ("date", "0001-12-31 BC"),
        ("date", "10000-02-29"),
        ("date", "4714-11-24 BC"),
        ("date", "5874897-12-31"),
        ("timestamp", "0001-02-29 23:59:59.999999 BC"),
        ("timestamp", "294276-12-31 23:59:59"),
        ("timestamptz", "4714-11-24 00:00:00+00:00 BC"),
        ("timestamptz", "10000-01-01 00:00:00+00:00"),
    ],
)
def test_times_past_pythons_calendar_are_texts_that_postgresql_reads_again(connection, kind, value):
    found = read(connection, kind, [value])
    assert found.array.to_pylist() == [value]
    assert set(found.plain) == {0}


@given(values=lists(st.decimals(allow_nan=False, allow_infinity=False, places=8) | st.sampled_from([Decimal("NaN")])))
def test_decimals(connection, values):
    found = read(connection, "numeric", values)
    assert [None if v is None else str(v) for v in untagged(found)] == [
        None if v is None else str(Decimal(text))
        for v, (text,) in zip(values, connection.execute("SELECT v::text FROM t ORDER BY n"), strict=True)
    ]


@given(values=lists(st.binary()))
def test_bytes(connection, values):
    found = read(connection, "bytea", values)
    assert (found.tag, untagged(found)) == ("bytes", values)


@pytest.mark.parametrize("kind", ["json", "jsonb"])
@given(data=st.data())
def test_json(connection, kind, data):
    values = data.draw(lists(JSON.filter(lambda value: value is not None)))
    found = read(connection, kind, [None if v is None else json.dumps(v).replace("\\u0000", "") for v in values])
    texts = [found.long[n].decode() if n in found.long else text for n, text in enumerate(found.array.to_pylist())]
    assert [None if text is None else json.loads(text) for text in texts] == values


@pytest.mark.parametrize(
    "kind, value, wanted",
    [
        ("integer[]", "{1,NULL,3}", [1, None, 3]),
        ("text[]", '{"a","b\\"c",NULL}', ["a", 'b"c', None]),
        ("boolean[]", "{t,f}", [True, False]),
        ("double precision[]", "{1,2.5}", [1.0, 2.5]),
        ("real[]", "{1,0.1}", [1.0, 0.1]),
        ("integer[]", "{{1,2},{3,4}}", [[1, 2], [3, 4]]),
        ("integer[]", "{}", []),
        ("integer[]", "[0:1]={7,NULL}", "[0:1]={7,NULL}"),
        ("text[]", '[1:2][-1:0]={{a,b},{"",","}}', '[1:2][-1:0]={{a,b},{"",","}}'),
        ("real[]", "[10:10]={1.5}", "[10:10]={1.5}"),
    ],
)
def test_arrays_are_lists(connection, kind, value, wanted):
    """One that does not begin at 1 is its own text: a list would lose its bounds."""
    found = json.loads(read(connection, kind, [value]).array[0].as_py())
    assert repr(found) == repr(wanted)


def test_json_with_a_key_twice_or_nested_too_deeply_is_told(connection):
    texts = ['{"a":1,"b":{"a":1}}', '{"a":1,"a":2}', '{"a":1e300,"a":2}', '["\\"a\\":"]', "[" * 1500 + "]" * 1500, None]
    found = read(connection, "json", texts)
    assert list(found.unreadable) == [1, 2, 4]
    assert [text is None for text in found.array.to_pylist()] == [False, True, True, False, True, True]
    assert 'the key "a" stands in it twice' in found.unreadable[2]
    assert list(read(connection, "jsonb", ["[" * 1500 + "]" * 1500, "{}"]).unreadable) == [0]


@pytest.mark.parametrize(
    "kind, value, text",
    [
        ("interval", "1 day 2 hours", "1 day 02:00:00"),
        ("inet", "10.0.0.1", "10.0.0.1/32"),
        ("int4range", "[1,5)", "[1,5)"),
        ("point", "(1,2)", "(1,2)"),
        ("time", "12:00:00", "12:00:00"),
        ("numeric[]", "{1.5,2}", "{1.5,2}"),
    ],
)
def test_any_other_type_is_its_own_text(connection, kind, value, text):
    found = read(connection, kind, [value, None])
    assert (found.array.to_pylist(), found.tag, found.json) == ([text, None], None, False)


# --------------------------------------------------------------------------- vectors


def vector_text(value: Any) -> str | None:
    return None if value is None else f"[{','.join(repr(float(number)) for number in value)}]"


floats = hnp.arrays(np.float32, 5, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
halves = hnp.arrays(np.float16, 5, elements=st.floats(-65504, 65504, width=16))


@pytest.mark.parametrize("kind, half, made", [("vector", False, floats), ("halfvec", True, halves)])
@given(data=st.data())
def test_dense_vectors_bit_for_bit(connection, kind, half, made, data):
    values = data.draw(lists(made))
    stored(connection, f"{kind}(5)", list(map(vector_text, values)))
    found, wrong = copy_read.dense(fields(connection, "SELECT v FROM t"), 0, 5, half=half)
    assert not len(wrong)
    for cell, value in zip(found, values, strict=True):
        assert cell.is_valid == (value is not None)
        if value is not None:
            assert np.array(cell.as_py(), value.dtype).tobytes() == value.tobytes()


def test_vectors_of_another_dimension_are_told(connection):
    stored(connection, "vector", ["[1,2,3]", "[1,2]", None, "[4,5,6]"])
    found, wrong = copy_read.dense(fields(connection, "SELECT v FROM t"), 0, 3, half=False)
    assert found.to_pylist() == [[1, 2, 3], None, None, [4, 5, 6]]
    assert wrong.tolist() == [1]


@given(
    values=lists(
        st.dictionaries(st.integers(0, 99), st.floats(width=32, allow_nan=False, allow_infinity=False).filter(bool))
    )
)
def test_sparse_vectors(connection, values):
    texts = [
        None if v is None else f"{{{','.join(f'{n + 1}:{float(np.float32(x))!r}' for n, x in v.items())}}}/100"
        for v in values
    ]
    stored(connection, "sparsevec(100)", texts)
    found = copy_read.sparse(fields(connection, "SELECT v FROM t"), 0).to_pylist()
    for cell, value in zip(found, values, strict=True):
        assert (cell is None) == (value is None)
        if value is not None:
            assert dict(zip(cell["indices"], cell["values"], strict=True)) == value
            assert cell["indices"] == sorted(value)


@given(values=lists(st.text("01", min_size=11, max_size=11)))
def test_bits(connection, values):
    stored(connection, "bit(11)", values)
    found, wrong = copy_read.bits(fields(connection, "SELECT v FROM t"), 0, 11)
    assert not len(wrong)
    assert [None if v is None else "".join(f"{b:08b}" for b in v)[:11] for v in found.to_pylist()] == values


# --------------------------------------------------------------------------- streams that are none


@pytest.mark.parametrize("at", [1, 2, 700])
def test_an_error_of_the_server_in_the_middle_of_the_rows_is_told(connection, at):
    select = f"SELECT 1 / ({at} - n), repeat('x', 3000) FROM generate_series(1, 1000) n"
    with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
        list(blocks(connection, select, rows=100, size=1 << 20))
    assert connection.execute("SELECT 1").fetchone() == (1,), "the connection goes on"


def test_an_empty_table_gives_no_block(connection):
    stored(connection, "text", [])
    assert list(blocks(connection, "SELECT v FROM t", rows=10, size=100)) == []


@given(cut=st.integers(0, 40), data=st.data())
def test_a_torn_row_is_refused_not_read(cut, data):
    """Whatever is cut off or changed in a row, it is read whole or refused."""
    row = b"\0\2" + b"\0\0\0\4abcd" + b"\0\0\0\2xy"
    torn = bytearray(row[: len(row) - cut] if cut <= len(row) else row)
    if torn:
        torn[data.draw(st.integers(0, min(5, len(torn) - 1)))] ^= data.draw(st.integers(0, 255))
    if bytes(torn) == row:
        assert Fields(Rows([row]), 2).raw(0) == [b"abcd"]
    else:
        with pytest.raises(CorruptData):
            Fields(Rows([bytes(torn)]), 2)


def test_what_is_no_copy_is_refused():
    with pytest.raises(CorruptData):
        copy_read.without_header(b"HTTP/1.1 400 Bad Request")
