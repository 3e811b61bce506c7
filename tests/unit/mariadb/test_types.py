"""Columns of MariaDB as metadata."""

from __future__ import annotations

import pytest

from vecferry.connectors.mariadb._codec.types import cells


@pytest.mark.parametrize(
    "text, why",
    [
        (b'{"a": 1.}', "no digit after decimal point"),
        (b'{"a": -}', "no digit after sign"),
        (b'["\\x"]', "escape"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'the key "c" stands in it twice'),
    ],
)
def test_json_that_only_mariadb_takes_for_such(text: bytes, why: str) -> None:
    """Its row cannot be read, and every other can."""
    read = cells("meta", "json", [b'{"b": [1, {"\\": ": 2}], "a": "x: \\": y"}', None, text])
    assert list(read.unreadable) == [2]
    assert "its JSON column 'meta' cannot be read" in read.unreadable[2]
    assert why in read.unreadable[2]
    assert read.cells.values.to_pylist() == ['{"a":"x: \\": y","b":[1,{"\\": ":2}]}', None, None]
