"""Metadata at the edge: what no store can hold is refused with a reason, what is merely large is not."""

from datetime import time
from decimal import Decimal

import pytest

from vecferry.errors import DataError
from vecferry.tags import loads, pack, unpack


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {"end": Decimal(1)}
    for _ in range(depth):
        value = {"down": value}
    return value


def test_deep_and_wide_metadata_survives() -> None:
    """A hundred levels, ten thousand keys, a megabyte of text."""
    for value in (nested(100), {f"key {number}": number for number in range(10_000)}, {"text": "x" * 1_000_000}):
        assert unpack(*pack(value)) == value


@pytest.mark.parametrize(
    "value, reason",
    [
        (nested(5_000), "nested too deeply|Recursion"),
        (nested(300), "Recursion limit"),
        ({"n": 10**5_000}, "digits"),
        ({1: "number as key"}, "not text"),
        ({"a": {"b": {1, 2}}}, "at /a/b is a set"),
        ({"a/b": [time(1)]}, "at /a~1b/0 is a time"),
        ({"a": "\ud800"}, "surrogates"),
    ],
)
def test_what_cannot_be_held_is_refused(value: dict[str, object], reason: str) -> None:
    """DataError that says where, never a crash of the interpreter or of a library."""
    with pytest.raises(DataError, match=reason):
        pack(value)


@pytest.mark.parametrize(
    "text", ["", "{", "nan", '{"a": 01}', "[" * 3_000 + "1234567890123456789" + "]" * 3_000, "\ud800"]
)
def test_what_is_not_json_is_a_value_error(text: str) -> None:
    """One class of error, whichever parser noticed."""
    with pytest.raises(ValueError):
        loads(text)


def test_long_integers_keep_every_digit() -> None:
    """Where orjson alone would make them floats."""
    assert loads('{"a": 18446744073709551616, "b": [-9223372036854775809]}') == {"a": 2**64, "b": [-(2**63) - 1]}
    assert loads('{"a": 12345678901234567890123.0}') == {"a": 1.2345678901234568e22}
