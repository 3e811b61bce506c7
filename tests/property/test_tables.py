"""The rules between rows and records hold for any names and any JSON."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from vecferry.tables import Form
from vecferry.tables.keys import join, split
from vecferry.tables.metadata import from_metadata, to_metadata

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
