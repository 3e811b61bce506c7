"""Vectors out of JSON text, into Arrow columns: numbers never become rows of Python objects for longer than one row."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import vector_type
from vecferry.model import Element, VectorKind, VectorSpec

_CODES = {Element.UINT8: "B", Element.INT8: "b"}
"""Element -> code of `array.array`, which refuses what is no number, and integers out of range."""


class Unfit(ValueError):
    """A record cannot be read as what its collection is; the text says why, for a person."""


def parsed(raw: bytes) -> Any:
    """One JSON value; NaN and Infinity are understood as Python's json writes them."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return json.loads(raw)


def cell(value: Any, vector: VectorSpec) -> Any:
    """The vector of one record, out of its parsed JSON, in a form that `cells` takes; None where there is none.

    Raises:
        Unfit: it is no such vector.
    """
    if value is None:
        return None
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


def _numbers(value: Any, element: Element, dim: int | None) -> bytes:
    """The bytes of one row of numbers."""
    numbers = _list(value)
    if len(numbers) != (dim or 0):
        raise Unfit(f"its vector has {len(numbers)} dimensions, the collection {dim}")
    try:
        if element is Element.FLOAT32:
            return _floats(len(numbers)).pack(*numbers)
        if element is Element.FLOAT16:
            return np.array(array("d", numbers), np.float16).tobytes()
        return array(_CODES[element], numbers).tobytes()
    except OverflowError as error:
        raise Unfit(PAST_RANGE) from error
    except (TypeError, struct.error) as error:
        raise Unfit(f"its vector holds something that is no {element} number") from error


@lru_cache(maxsize=64)
def _floats(dim: int) -> struct.Struct:
    """Packs a row of float32: a third of the time that an array takes."""
    return struct.Struct(f"{dim}f")


PAST_RANGE = "its vector holds NaN, infinity or a number past the range of its type"


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


def unfit_rows(values: Sequence[Any], vector: VectorSpec) -> list[int]:
    """Which cells hold NaN or infinity, or a number beyond the range of their element."""
    if vector.element in {Element.UINT8, Element.INT8} or vector.kind not in _FLOATS:
        return []
    if _whole(values, vector):
        rows: list[int] = np.flatnonzero(~np.isfinite(_matrix(values, vector)).all(axis=1)).tolist()
        return rows
    return [row for row, value in enumerate(values) if value is not None and not _finite(value, vector)]


def _finite(value: Any, vector: VectorSpec) -> bool:
    parts = value if vector.kind is VectorKind.MULTI else [value]
    return all(np.isfinite(np.frombuffer(part, vector.element.value)).all() for part in parts)


def _whole(values: Sequence[Any], vector: VectorSpec) -> bool:
    """Whether the cells make a matrix; not without a dimension, as Arrow divides by it."""
    return bool(vector.kind is VectorKind.DENSE and vector.dim and values) and all(one is not None for one in values)


_FLOATS = {VectorKind.DENSE, VectorKind.MULTI}


def cells(values: Sequence[Any], vector: VectorSpec) -> Any:
    """The column of a vector, for `vecferry.arrow.build`."""
    if _whole(values, vector):
        return _matrix(values, vector)
    return pa.array(_plain(values, vector), vector_type(vector))


def _matrix(values: Sequence[Any], vector: VectorSpec) -> NDArray[Any]:
    return np.frombuffer(b"".join(values), vector.element.value).reshape(len(values), vector.dim or 0)


def _plain(values: Sequence[Any], vector: VectorSpec) -> Sequence[Any]:
    dtype = vector.element.value
    if vector.kind is VectorKind.MULTI:
        return [None if value is None else [np.frombuffer(row, dtype) for row in value] for value in values]
    if vector.kind is VectorKind.DENSE:
        return [None if value is None else np.frombuffer(value, dtype) for value in values]
    return values
