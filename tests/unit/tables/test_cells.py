"""Whole columns as typed metadata: what JSON cannot say travels under a tag, digit for digit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from vecferry.tables import Form
from vecferry.tables.cells import Cells, Made, floats_say, metadata_json
from vecferry.tags import pack, unpack


def _values(made: Made) -> list[Any]:
    pairs = zip(made.metadata.to_pylist(), made.tags.to_pylist(), strict=True)
    return [None if text is None else unpack(text.encode(), tags and tags.encode()) for text, tags in pairs]


def _spread(*texts: str | None) -> Made:
    return metadata_json(len(texts), [], Form(metadata="m"), pa.array(texts, pa.string()))


def test_every_type_of_column_is_typed_metadata() -> None:
    cells = [
        Cells("n", pa.array([1, None])),
        Cells("b", pa.array([True, False])),
        Cells("f", pa.array([0.5, 1e300])),
        Cells("t", pa.array(['"\n', "é"], pa.large_string())),
        Cells("at", pa.array(["2026-01-01T00:00:00+00:00", None]), tag="datetime"),
        Cells("~a/b", pa.array(["1.10", "2"]), tag="decimal"),
        Cells("raw", pa.array([None, "AAE="]), tag="bytes"),
        Cells("list", pa.array(["[1,[2]]", None]), json=True),
    ]
    made = metadata_json(2, cells, Form(columns=tuple(cell.key for cell in cells)))
    first = {"n": 1, "b": True, "f": 0.5, "t": '"\n', "raw": None, "list": [1, [2]], "~a/b": Decimal("1.10")}
    second = {"n": None, "b": False, "f": 1e300, "t": "é", "raw": b"\x00\x01", "list": None, "~a/b": Decimal(2)}
    expected = [{**first, "at": datetime(2026, 1, 1, tzinfo=UTC)}, {**second, "at": None}]
    assert _values(made) == expected
    assert list(zip(made.metadata.to_pylist(), made.tags.to_pylist(), strict=True)) == [
        tuple(part and part.decode() for part in pack(value)) for value in expected
    ]


def test_columns_of_no_number_keep_it() -> None:
    made = metadata_json(3, [Cells("f", pa.array([1.0, math.nan, -math.inf]))], Form(columns=("f",)))
    found = [value["f"] for value in _values(made)]
    assert (found[0], math.isnan(found[1]), found[2]) == (1.0, True, -math.inf)


def test_no_digit_of_a_json_column_is_lost() -> None:
    long = "1" + "0" * 300
    made = _spread(f'{{"a":{long}}}', '{"a": 0.1234567890123456789}', '{"a": 1e400}', '{"a": 1e300}', '{"a": 1.10}')
    assert [value["a"] for value in _values(made)] == [
        int(long),
        Decimal("0.1234567890123456789"),
        Decimal("1e400"),
        1e300,
        1.1,
    ]


def test_tags_of_columns_stand_beside_tags_of_the_json_column() -> None:
    cells = [Cells("at", pa.array(["2026-01-01T00:00:00+00:00"]), tag="datetime")]
    made = metadata_json(1, cells, Form(columns=("at",), metadata="m"), pa.array(['{"n": 1e400, "at": 3}']))
    assert _values(made) == [{"at": datetime(2026, 1, 1, tzinfo=UTC), "metadata.at": 3, "n": Decimal("1e400")}]


def test_a_row_that_cannot_be_read_spoils_no_other() -> None:
    made = _spread('{"a":1}', '{"a":"\\ud800"}', "{", None, "[1]", "null")
    assert _values(made) == [{"a": 1}, None, None, None, {"metadata.": [1]}, {"metadata.": {}}]
    assert list(made.unreadable) == [1, 2]
    assert all("JSON column" in reason for reason in made.unreadable.values())


def test_a_key_that_stands_twice_is_told_and_not_dropped() -> None:
    texts = [
        '{"a":1,"a":2}',
        '{"a":{"b":1, "b" :1}}',
        '{"a":"\\":"}',
        '{"a":[{"b":1},{"b":1}]}',
        '{"x": 1e400, "x": 2}',
    ]
    made = metadata_json(5, [], Form(metadata="m"), pa.array(texts), doubles=True)
    assert _values(made) == [None, None, {"a": '":'}, {"a": [{"b": 1}, {"b": 1}]}, None]
    assert list(made.unreadable) == [0, 1, 4]
    assert 'the key "a" stands in it twice' in made.unreadable[0]


def test_no_columns_are_no_metadata() -> None:
    made = metadata_json(2, [], Form())
    assert made.metadata.null_count == 2


def test_slices_are_taken_as_they_are() -> None:
    whole = pa.array(["x", "a", None])
    made = metadata_json(2, [Cells("k", whole.slice(1), tag="date")], Form(columns=("k",)))
    assert made.metadata.to_pylist() == ['{"k":"a"}', '{"k":null}']
    assert made.tags.to_pylist() == ['{"/k":"date"}', None]


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"a": 0.14285714285714285, "b": 1e300, "c": 9223372036854775807, "d": -0.0}', True),
        ('{"a": 0.12345678901234567890}', False),
        ('{"a": 18446744073709551616}', False),
        ('{"a": -9223372036854775809}', False),
        ('{"a": 1e400}', False),
        ('{"a": "1.2.3.4.5.6.7.8.9"}', False),
    ],
)
def test_numbers_that_64_bits_hold(text: str, said: bool) -> None:
    assert floats_say(text) is said


def test_a_row_is_the_same_whatever_stands_beside_it() -> None:
    """Rows are written together, in one call: none takes a byte of another, and one that needs care stops none."""
    deep, deeper = ('{"a":' * levels + "1" + "}" * levels for levels in (250, 300))
    texts = ['{"a": "x,\\n,y"}', "{}", None, deep, '{"b": [{}, {"\\n": 1}]}', deeper, "[1]", '{"a"']
    together = metadata_json(len(texts), [], Form(metadata="m"), pa.array(texts, pa.string()), doubles=True)
    alone = [metadata_json(1, [], Form(metadata="m"), pa.array([text], pa.string())) for text in texts]
    assert together.metadata.to_pylist() == [made.metadata[0].as_py() for made in alone]
    assert together.metadata[:2].to_pylist() == ['{"a":"x,\\n,y"}', "{}"]
    assert together.metadata[3].as_py() == deep
    assert together.unreadable.keys() == {5, 7}


@pytest.mark.parametrize("twice", ['{"a":1,"a":2}', '{"a" :1, "a" : 2}', '{"a":1,"a"\n:2}', '{"x":{"a":1,"a":2}}'])
def test_a_key_that_stands_twice_is_noticed_beside_any_other_row(twice: str) -> None:
    texts = pa.array(['{"a":"\\":"}', twice, '{"b":1}'], pa.string())
    made = metadata_json(3, [], Form(metadata="m"), texts, doubles=True)
    assert made.unreadable.keys() == {1}
    assert made.metadata.to_pylist() == ['{"a":"\\":"}', None, '{"b":1}']
