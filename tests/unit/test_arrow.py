"""What is not a canonical batch is refused, by name."""

import numpy as np
import pyarrow as pa
import pytest

from vecferry.arrow import build, from_records, validate
from vecferry.errors import DataError
from vecferry.model import CollectionSpec, Element, Record, VectorKind, VectorSpec

DENSE = CollectionSpec(name="x", vectors=(VectorSpec(dim=2),))
SPARSE = CollectionSpec(name="x", vectors=(VectorSpec(kind=VectorKind.SPARSE),))
MULTI = CollectionSpec(name="x", vectors=(VectorSpec(kind=VectorKind.MULTI, dim=2),))
HALF = CollectionSpec(name="x", vectors=(VectorSpec(dim=2, element=Element.FLOAT16),))


def sparse(indices: list[int | None], values: list[float | None]) -> dict[str, object]:
    return {"sparse": [None, {"indices": indices, "values": values}]}


@pytest.mark.parametrize(
    "spec, columns, problem",
    [
        (DENSE, {"vector": np.array([[1, 2], [3, np.nan]], np.float32)}, "1 vectors hold NaN or infinity"),
        (DENSE, {"vector": np.array([[1, 2], [-np.inf, 0]], np.float32)}, "1 vectors hold NaN or infinity"),
        (HALF, {"vector": np.array([[1, 2], [np.inf, 0]], np.float16)}, "1 vectors hold NaN or infinity"),
        (DENSE, {"vector": pa.array([[1, 2], [3, None]], pa.list_(pa.float32(), 2))}, "holds null"),
        (SPARSE, sparse([3, 1], [1, 1]), "indices that do not rise"),
        (SPARSE, sparse([1, 1], [1, 1]), "indices that do not rise"),
        (SPARSE, sparse([1], [1, 1]), "other numbers of indices"),
        (SPARSE, sparse([1], [np.nan]), "hold NaN"),
        (SPARSE, sparse([None], [1]), "holds null"),
        (MULTI, {"multi": [None, [[1, 2], [np.inf, 1]]]}, "multi-vectors hold NaN"),
        (MULTI, {"multi": [None, [[1, 2], [None, 1]]]}, "holds null"),
        (MULTI, {"multi": [None, [[1, 2], None]]}, "holds null"),
    ],
)
def test_a_bad_vector_is_refused_with_its_record(
    spec: CollectionSpec, columns: dict[str, object], problem: str
) -> None:
    """NaN, infinity, nulls inside, sparse indices out of order: the message says what, `ids` says where."""
    batch = build(spec, {"id": ["good", "bad"], **columns})
    with pytest.raises(DataError, match=problem) as caught:
        validate(batch, spec)
    assert caught.value.ids in ((), ("bad",))
    validate(batch.slice(0, 1), spec)


def test_a_null_vector_is_no_bad_vector() -> None:
    """What lies under a null is nobody's business, not even NaN."""
    kind = pa.list_(pa.float32(), 2)
    flat = pa.array([np.nan, np.nan, 1, 2], pa.float32())
    validate(
        build(
            DENSE,
            {
                "id": ["a", "b"],
                "vector": pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=pa.array([True, False])),
            },
        ),
        DENSE,
    )
    validate(build(DENSE, {"id": ["a"]}), DENSE)


@pytest.mark.parametrize("text", ["", None])
def test_a_record_needs_an_id(text: str | None) -> None:
    """An empty id cannot be addressed in any store."""
    with pytest.raises(DataError, match="no id"):
        validate(build(DENSE, {"id": ["a", text]}), DENSE)


def test_another_schema_is_refused() -> None:
    """Both schemas stand in the message."""
    with pytest.raises(DataError, match=r"fixed_size_list<.*>\[2\]"):
        validate(build(DENSE, {"id": ["a"]}), MULTI)


def test_text_that_is_no_unicode_is_refused() -> None:
    """A lone surrogate has no UTF-8 form; it must not turn into a question mark."""
    for record in (
        Record(id="a", vectors={}, metadata={"a": "\ud800"}),
        Record(id="a", vectors={}, metadata={"\ud800": 1}),
    ):
        with pytest.raises(DataError):
            from_records(DENSE, [record])
