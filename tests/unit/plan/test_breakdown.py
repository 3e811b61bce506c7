"""Records by the values of a metadata key: every record in one row, whatever its value is, in bounded memory."""

import pickle
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from typing import Any

import numpy as np
import pytest

from vecferry.arrow import from_records
from vecferry.model import CollectionSpec, Record, VectorSpec
from vecferry.planning import breakdown
from vecferry.planning.breakdown import Breakdown, Groups, Row
from vecferry.planning.inspect import inspect
from vecferry.registry import open_database
from vecferry.verification.model import State, VerifyOptions
from vecferry.verification.run import verify

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=1),))


def records(values: Sequence[Any]) -> list[Record]:
    """A record per value; `...` stands for no key, None for null, and `()` for no metadata at all."""
    return [
        Record(
            id=f"id-{n}",
            vectors={"": np.ones(1, np.float32)},
            metadata=None if value == () else {"other": 1} if value is ... else {"key": value},
        )
        for n, value in enumerate(values)
    ]


def counted(values: Sequence[Any]) -> Groups:
    groups = Groups(["key"])
    groups.add(from_records(SPEC, records(values)))
    return groups


def table(one: Breakdown) -> list[tuple[Any, ...]]:
    return [(group.value or group.row.value, group.records, group.in_target) for group in one.groups]


def test_every_record_stands_in_one_row() -> None:
    values = [
        "a",
        "b",
        "a",
        "",
        " ",
        "1",
        1,
        1.0,
        True,
        "true",
        None,
        "null",
        ...,
        (),
        [1],
        {"b": 1, "a": 2},
        date(2026, 1, 2),
    ]
    (one,) = counted(values).breakdowns()
    assert one.records == len(values) == sum(group.records for group in one.groups)
    assert one.in_target is None
    assert one.values == 13
    once = ['""', '" "', '"1"', "2026-01-02", "b", '"null"', '"true"', "1", "1.0", "[1]", "true", '{"a":2,"b":1}']
    assert table(one)[0] == ("a", 2, None)
    assert sorted(table(one)[1:13]) == sorted((value, 1, None) for value in once)
    assert table(one)[13:] == [("missing", 2, None), ("null", 1, None)]
    assert {group.row for group in one.groups if group.value == '"null"'} == {Row.VALUE}


def test_both_sides_stand_side_by_side_with_what_differs_first() -> None:
    (one,) = counted(["a", "a", "a", "b", "b", "c", ...]).breakdowns(counted(["a", "a", "a", "b", "d", None]))
    assert (one.records, one.in_target, one.values) == (7, 6, 4)
    assert table(one) == [("b", 2, 1), ("c", 1, 0), ("d", 0, 1), ("a", 3, 3), ("missing", 1, 0), ("null", 0, 1)]
    assert [group.same for group in one.groups] == [False, False, False, True, False, False]


def test_rare_values_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakdown, "LISTED", 2)
    (one,) = counted(["a", "a", "a", "b", "b", "c", "d"]).breakdowns(counted(["a", "a", "a", "b", "b", "c"]))
    assert table(one) == [("d", 1, 0), ("a", 3, 3), ("others", 3, 3)]
    assert (one.values, one.cut) == (4, False)


def test_memory_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakdown, "KEPT", 3)
    (one,) = counted(["a", "b", "c", "d", "e", "a", None, ...]).breakdowns()
    assert one.cut
    assert table(one) == [
        ("a", 2, None),
        ("b", 1, None),
        ("c", 1, None),
        ("others", 2, None),
        ("missing", 1, None),
        ("null", 1, None),
    ]


def test_long_values_stay_apart_and_short() -> None:
    (one,) = counted(["x" * 5_000, "x" * 5_000, "x" * 5_001]).breakdowns()
    assert [group.records for group in one.groups] == [2, 1]
    assert all(len(group.value) < 250 for group in one.groups)


def test_parts_of_a_side_add_up_across_processes() -> None:
    whole, part = counted(["a", "b", None]), counted(["b", "c", ...])
    whole.absorb(pickle.loads(pickle.dumps(part)))
    (one,) = whole.breakdowns()
    assert (one.records, table(one)) == (
        6,
        [("b", 2, None), ("a", 1, None), ("c", 1, None), ("missing", 1, None), ("null", 1, None)],
    )


def seed(url: str, values: Sequence[Any]) -> None:
    with closing(open_database(url)) as database, closing(database.sink(SPEC)) as sink:
        sink.prepare(SPEC)
        sink.write(from_records(SPEC, records(values)))


def test_inspect_and_verify_count_as_they_read() -> None:
    seed("memory:by-here", ["a", "a", "b", None])
    seed("memory:by-there", ["a", "a", "b"])
    with closing(open_database("memory:by-here")) as here, closing(open_database("memory:by-there")) as there:
        found = inspect(here, url="memory:by-here", by=["key", "nobody"])
        assert [table(one) for one in found.profiles[0].breakdowns] == [
            [("a", 2, None), ("b", 1, None), ("null", 1, None)],
            [("missing", 4, None)],
        ]
        proof = verify(here, there, [("docs", "docs")], options=VerifyOptions(by=("key",)))
    (collection,) = proof.collections
    assert table(collection.breakdowns[0]) == [("a", 2, 2), ("b", 1, 1), ("null", 1, 0)]
    assert State.DIFFERENT in {check.state for check in collection.checks}
