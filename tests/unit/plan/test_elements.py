"""Number types change without a loss that nobody named, whatever the kind of vector, the slice and the gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vecferry import arrow
from vecferry.model import CollectionSpec, Element, IdKind, Record, VectorKind, VectorSpec
from vecferry.planning.elements import cast, holds, retyped, retyped_spec
from vecferry.testing.contracts.compare import assert_same

ONE, ROWS = "one", "rows"


def spec_of(element: Element, kind: IdKind = IdKind.TEXT) -> CollectionSpec:
    vectors = (
        VectorSpec(name=ONE, dim=2, element=element),
        VectorSpec(name=ROWS, dim=2, element=element, kind=VectorKind.MULTI),
        VectorSpec(name="words", kind=VectorKind.SPARSE),
    )
    return CollectionSpec(name="c", id_kind=kind, vectors=vectors)


def records(element: Element) -> list[Record]:
    kind = np.dtype(element.value)
    rows = np.array([[1, 2], [3, 4], [5, 6]], kind)
    words = np.array([1, 7], np.uint32), np.array([0.5, 2], np.float32)
    return [
        Record(id="a", vectors={ONE: rows[0], ROWS: rows, "words": words}),
        Record(id="b", vectors={ONE: None, ROWS: None, "words": None}),
        Record(id="c", vectors={ONE: rows[1], ROWS: rows[:0], "words": words}),
        Record(id="d", vectors={ONE: rows[2], ROWS: rows[1:], "words": None}),
    ]


@pytest.mark.parametrize("before", list(Element))
@pytest.mark.parametrize("after", list(Element))
def test_numbers_that_both_types_have_stay_what_they_are(before: Element, after: Element) -> None:
    """Dense and multi-vectors, missing ones, empty ones, and slices of a batch."""
    source = spec_of(before)
    wanted = retyped_spec(source, spec_of(after))
    whole = arrow.from_records(source, records(before))
    for start, length in ((0, 4), (1, 3), (2, 1)):
        found = retyped(whole.slice(start, length), source, wanted)
        arrow.validate(found, wanted)
        assert_same(records(after)[start : start + length], arrow.to_records(found, wanted), kinds=False)


def test_what_a_type_has_not_becomes_the_nearest() -> None:
    """Rounded, not cut; beyond the range, the last; never infinite."""
    values = np.array([1.7, -5, 300, 2.5, 1e30, np.nan], np.float32)
    assert cast(values, Element.UINT8).tolist() == [2, 0, 255, 2, 255, 0]
    assert cast(values, Element.INT8).tolist() == [2, -5, 127, 2, 127, 0]
    assert cast(np.array([70_000, -1e30, 0.1], np.float32), Element.FLOAT16).tolist() == [
        65504.0,
        -65504.0,
        float(np.float16(0.1)),
    ]


def test_which_type_holds_which() -> None:
    """Every number of the narrow one, tried."""
    for wide in Element:
        for narrow in Element:
            if np.dtype(narrow.value).kind == "f":
                numbers = np.array([0.1, -3.3, 60_000], narrow.value)
            else:
                numbers = np.arange(np.iinfo(narrow.value).min, np.iinfo(narrow.value).max + 1).astype(narrow.value)
            same = cast(numbers, wide).astype(np.float64) == numbers.astype(np.float64)
            assert holds(wide, narrow) == bool(same.all()), (wide, narrow)


def test_ids_get_a_kind_each_where_the_target_mixes_them() -> None:
    """A record says of itself what its collection said before."""
    source = spec_of(Element.FLOAT32)
    wanted = retyped_spec(source, replace(source, id_kind=IdKind.MIXED))
    found = arrow.to_records(retyped(arrow.from_records(source, records(Element.FLOAT32)), source, wanted), wanted)
    assert [(one.id, one.id_kind) for one in found] == [(text, IdKind.TEXT) for text in "abcd"]
