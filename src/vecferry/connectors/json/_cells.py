"""Vectors out of JSON text, into Arrow columns: numbers never become rows of Python objects for longer than one row."""

from __future__ import annotations

import base64
import binascii
import json
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import vector_type
from vecferry.model import Element, VectorKind, VectorSpec

_CODES = {Element.FLOAT32: "f", Element.UINT8: "B", Element.INT8: "b"}
"""Element -> code of `array.array`, which refuses what is no number, and integers out of range."""


class Unfit(ValueError):
    """A record cannot be read as what its collection is; the text says why, for a person."""


def parsed(raw: bytes) -> Any:
    """One JSON value; NaN and Infinity are understood as Python's json writes them."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return json.loads(raw)


def cell(raw: bytes | None, vector: VectorSpec) -> Any:
    """The vector of one record, in a form that `cells` takes; None where there is none.

    Raises:
        Unfit: it is no such vector.
    """
    if raw is None:
        return None
    value = parsed(raw)
    if vector.kind is VectorKind.DENSE:
        return _numbers(value, vector.element, vector.dim)
    if vector.kind is VectorKind.MULTI:
        return [_numbers(row, vector.element, vector.dim) for row in _list(value)]
    if vector.kind is VectorKind.SPARSE:
        return _sparse(value)
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, binascii.Error) as error:
        raise Unfit("its bits are not base64") from error


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit("its vector is not a list of numbers")
    return value


def _numbers(value: Any, element: Element, dim: int | None) -> Any:
    numbers = _list(value)
    if len(numbers) != (dim or 0):
        raise Unfit(f"its vector has {len(numbers)} dimensions, the collection {dim}")
    try:
        if element is Element.FLOAT16:
            return np.array(array("d", numbers), np.float16)
        return array(_CODES[element], numbers)
    except (TypeError, OverflowError) as error:
        raise Unfit(f"its vector holds something that is no {element} number") from error


def _sparse(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != {"indices", "values"}:
        raise Unfit("its sparse vector has not the keys indices and values")
    indices, values = _list(value["indices"]), _list(value["values"])
    if len(indices) != len(values):
        raise Unfit("its sparse vector has other numbers of indices than of values")
    try:
        order = np.argsort(np.array(array("I", indices), np.uint32), kind="stable")
        found = np.array(array("I", indices), np.uint32)[order], np.array(array("f", values), np.float32)[order]
    except (TypeError, OverflowError) as error:
        raise Unfit("its sparse vector holds something that is no number") from error
    if (np.diff(found[0].astype(np.int64)) == 0).any() or not np.isfinite(found[1]).all():
        raise Unfit("its sparse vector names an index twice, or holds NaN or infinity")
    return {"indices": found[0], "values": found[1]}


def not_finite(value: Any, vector: VectorSpec) -> bool:
    """Whether a cell holds NaN or infinity, or a number beyond the range of its element."""
    if value is None or vector.element in {Element.UINT8, Element.INT8} or vector.kind not in _FLOATS:
        return False
    rows = value if vector.kind is VectorKind.MULTI else [value]
    return not all(np.isfinite(np.asarray(row)).all() for row in rows)


_FLOATS = {VectorKind.DENSE, VectorKind.MULTI}


def cells(values: Sequence[Any], vector: VectorSpec) -> Any:
    """The column of a vector, for `vecferry.arrow.build`."""
    if vector.kind is VectorKind.DENSE and all(value is not None for value in values):
        return _matrix(values, vector)
    return pa.array(_plain(values, vector), vector_type(vector))


def _matrix(values: Sequence[Any], vector: VectorSpec) -> NDArray[Any]:
    joined = b"".join([memoryview(value).cast("B") for value in values])
    return np.frombuffer(joined, vector.element.value).reshape(len(values), vector.dim or 0)


def _plain(values: Sequence[Any], vector: VectorSpec) -> Sequence[Any]:
    if vector.kind is VectorKind.MULTI:
        return [None if value is None else [np.asarray(row) for row in value] for value in values]
    if vector.kind is VectorKind.DENSE:
        return [None if value is None else np.asarray(value) for value in values]
    return values
