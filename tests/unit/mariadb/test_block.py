"""Rows as they came: every length and NULL in any place, and nothing read where it does not stand."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecferry.connectors.mariadb._codec.block import Block, Row
from vecferry.errors import CorruptData

VALUES = st.none() | st.binary(max_size=20) | st.builds(bytes, st.sampled_from([250, 251, 252, 65_535, 65_536]))


def encoded(value: bytes | None) -> bytes:
    """A value as the text protocol has it."""
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 0xFB:
        return bytes([size]) + value
    return (b"\xfc" + struct.pack("<H", size) if size < 1 << 16 else b"\xfd" + struct.pack("<I", size)[:3]) + value


def block(rows: list[Row], fields: int) -> Block:
    """The rows behind one another, with something between them."""
    data, starts, ends = bytearray(b"head"), [], []
    for row in rows:
        starts.append(len(data))
        data += b"".join(map(encoded, row))
        ends.append(len(data))
        data += b"next"
    return Block(data, starts, ends, fields)


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n), min_size=1, max_size=5)))
def test_rows_are_read_as_they_are(rows: list[Row]) -> None:
    made = block(rows, len(rows[0]))
    assert made.rows() == rows
    assert len(made) == len(rows)


@pytest.mark.parametrize("row", [b"\x05abc", b"\x02abc", b"\x03abc\xfc\x01", b"\xfb", b"\x01a\xfd", b"\xfe\x01"])
def test_a_torn_row_is_refused_not_read(row: bytes) -> None:
    with pytest.raises(CorruptData, match="outside"):
        Block(bytearray(row + b"behind it"), [0], [len(row)], 2)
