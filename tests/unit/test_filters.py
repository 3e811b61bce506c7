"""The reference evaluator: what each node of the filter tree means, chosen once for all stores."""

import math

import pytest

from vecferry.filters import And, Compare, Contains, Exists, Not, OneOf, Op, Or, matches

RECORD = {"n": 1, "f": 1.0, "t": True, "s": "1", "l": [1, "a", True], "o": {"n": 1}, "nan": math.nan, "null": None}


@pytest.mark.parametrize(
    "node, expected",
    [
        (Compare("n", Op.EQ, 1), True),
        (Compare("n", Op.EQ, 1.0), True),
        (Compare("f", Op.EQ, 1), True),
        (Compare("n", Op.EQ, True), False),
        (Compare("t", Op.EQ, 1), False),
        (Compare("t", Op.EQ, True), True),
        (Compare("s", Op.EQ, 1), False),
        (Compare("s", Op.EQ, "1"), True),
        (Compare("l", Op.EQ, 1), False),
        (Compare("o", Op.EQ, 1), False),
        (Compare("missing", Op.EQ, 1), False),
        (Compare("nan", Op.EQ, math.nan), False),
        (Compare("n", Op.GT, 0), True),
        (Compare("n", Op.GT, 1), False),
        (Compare("n", Op.GTE, 1), True),
        (Compare("n", Op.LT, 1.5), True),
        (Compare("n", Op.LTE, 0.5), False),
        (Compare("t", Op.GT, 0), False),
        (Compare("s", Op.GT, 0), False),
        (Compare("s", Op.LT, "2"), False),
        (Compare("nan", Op.GT, 0), False),
        (Compare("null", Op.LTE, 0), False),
        (OneOf("n", (2, 1)), True),
        (OneOf("n", ()), False),
        (OneOf("t", (1, "x")), False),
        (OneOf("l", (1,)), False),
        (Contains("l", "a"), True),
        (Contains("l", 1), True),
        (Contains("l", True), True),
        (Contains("l", 2), False),
        (Contains("s", "1"), False),
        (Exists("n"), True),
        (Exists("null"), False),
        (Exists("missing"), False),
        (And(()), True),
        (Or(()), False),
        (Not(Compare("missing", Op.EQ, 1)), True),
        (And((Exists("n"), Not(Exists("missing")))), True),
        (Or((Exists("missing"), Exists("n"))), True),
    ],
)
def test_the_meaning_of_a_node(node, expected):
    """A comparison never matches a missing key, another type, or a list."""
    assert matches(node, RECORD) is expected
    assert matches(Not(node), RECORD) is not expected


def test_a_record_without_metadata_has_no_keys():
    """None is like an object without keys."""
    assert not matches(Exists("n"), None)
    assert matches(Not(Exists("n")), None)
