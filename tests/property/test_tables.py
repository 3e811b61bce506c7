"""The rules between rows and records hold for any names and any JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vecferry.tables import Form
from vecferry.tables.cells import Cells, composite, metadata_json
from vecferry.tables.keys import join, split
from vecferry.tables.metadata import from_metadata, to_metadata
from vecferry.tags import canonical

NAMES = st.text(max_size=5) | st.sampled_from(
    ["metadata", "metadata.", "metadata.a", "metadata.metadata.", "a", "b", ""]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
COLUMNS = st.lists(NAMES.filter(lambda name: name and not name.startswith("metadata.")), unique=True, max_size=4)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)


@given(COLUMNS, OBJECTS | VALUES, st.booleans(), st.data())
def test_a_row_comes_back_from_its_metadata(
    columns: list[str], value: object, missing: bool, data: st.DataObject
) -> None:
    form = Form(metadata="m", columns=tuple(columns))
    row = {name: data.draw(VALUES) for name in columns}
    text = None if missing else orjson.dumps(value)
    back, whole, null = from_metadata(form, to_metadata(form, row, text))
    assert (back, null) == (row, missing)
    assert missing or (whole, type(whole)) == (value, type(value))


@given(COLUMNS, OBJECTS, OBJECTS, st.data())
def test_different_rows_have_different_metadata(
    columns: list[str], one: dict, other: dict, data: st.DataObject
) -> None:
    form = Form(metadata="m", columns=tuple(columns))
    row = {name: data.draw(SCALARS) for name in columns}
    made = [to_metadata(form, row, orjson.dumps(value)) for value in (one, other)]
    assert (made[0] == made[1]) == (one == other)


@given(COLUMNS.filter(bool), st.data())
def test_columns_without_a_json_column_are_the_metadata(columns: list[str], data: st.DataObject) -> None:
    form = Form(columns=tuple(columns))
    row = {name: data.draw(VALUES) for name in columns}
    assert to_metadata(form, row, None) == row
    assert from_metadata(form, row)[0] == row


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.text(), min_size=1, max_size=4))
def test_composite_ids_come_back(values: list[int | str]) -> None:
    assert list(split(join(values), len(values))) == values


# --------------------------------------------------------------------------- whole columns


def _batch(columns: list[str], rows: list[list[Any]]) -> list[Cells]:
    return [Cells(name, pa.array([row[n] for row in rows], pa.string())) for n, name in enumerate(columns)]


@given(COLUMNS, st.lists(st.none() | OBJECTS | VALUES, max_size=4), st.booleans(), st.data())
def test_whole_columns_say_what_single_rows_say(
    columns: list[str], wholes: list[Any], spreads: bool, data: st.DataObject
) -> None:
    rows = [[data.draw(st.none() | st.text(max_size=5)) for _ in columns] for _ in wholes]
    form = Form(metadata="m" if spreads else None, columns=tuple(columns))
    texts = [None if whole is None else orjson.dumps(whole) for whole in wholes]
    made = metadata_json(
        len(rows), _batch(columns, rows), form, pa.array(texts, pa.binary()).cast(pa.string()) if spreads else None
    )
    told = [
        to_metadata(form, dict(zip(columns, row, strict=True)), text if spreads else None)
        for row, text in zip(rows, texts, strict=True)
    ]
    assert made.metadata.to_pylist() == [None if one is None else canonical(one).decode() for one in told]
    assert (made.tags.null_count, made.unreadable) == (len(rows), {})


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text())))
def test_composite_ids_of_whole_columns(rows: list[tuple[int, str]]) -> None:
    columns = [pa.array([row[0] for row in rows], pa.int64()), pa.array([row[1] for row in rows], pa.string())]
    assert composite(columns).to_pylist() == [join(row) for row in rows]
