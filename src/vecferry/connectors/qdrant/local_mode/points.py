"""Points of qdrant-client's local mode, read from their pickles without running anything that a pickle asks for. Pure.

`pickles` resolves the few names that qdrant-client has ever written to stand-ins that only hold data. What
comes out is measured on the way to JSON, so that a small pickle cannot unfold into a huge value.

| written by          | names in it                                                                           |
|---------------------|---------------------------------------------------------------------------------------|
| 1.1 and later       | `PointStruct`, `SparseVector` (pydantic 1 and 2 keep their state differently)         |
| before 1.7, as well | `datetime`, `date`, `time`, `timedelta`, `timezone`, `UUID`, `Decimal`, NumPy scalars |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID

import numpy as np

from vecferry.connectors.qdrant.local_mode.pickles import Names, loads, unreadable
from vecferry.model import VectorKind, VectorSpec

_MODELS = "qdrant_client.http.models.models"
_DTYPE = re.compile(r"[fiub](1|2|4|8)")
_MAX_DEPTH = 200
_NODES_PER_BYTE = 16
"""A value that is used twice is one in the pickle and two in the record: how far that may go."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector as it was written."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Point:
    """One point as it was written. `vector` is a list, a list of lists, a `Sparse`, or a dict of those by name."""

    id: int | str
    vector: Any
    payload: dict[str, Any]


def read_point(raw: bytes) -> Point:
    """The point in a pickle of `PointStruct`.

    Raises:
        CorruptData: torn, not a point, or it asks for something that qdrant-client never wrote.
    """
    model = loads(raw, _STAND_INS)
    if not isinstance(model, _PointModel):
        raise unreadable(f"A stored point is a pickled {type(model).__name__}, not a point.")
    payload = model.fields.get("payload")
    return Point(
        id=_point_id(model.fields.get("id")),
        vector=_vector(model.fields.get("vector")),
        payload={} if payload is None else _Unfolding(1000 + _NODES_PER_BYTE * len(raw)).object(payload, 0),
    )


def read_id(raw: bytes) -> int | str:
    """The id in the pickle that is a point's key; a UUID comes in its canonical form.

    Raises:
        CorruptData: not an id.
    """
    return _point_id(loads(raw, _STAND_INS))


def check_vectors(point: Point, vectors: Sequence[VectorSpec]) -> None:
    """Check that a point's vectors are those of its collection.

    Raises:
        CorruptData: an unknown name, another kind of vector, or another dimension.
    """
    known = {vector.name: vector for vector in vectors}
    for name, value in (point.vector if isinstance(point.vector, dict) else {"": point.vector}).items():
        vector = known.get(name)
        if vector is None:
            raise unreadable(f"it has a vector '{name}' that its collection does not have")
        rows = value if vector.kind is VectorKind.MULTI else [value]
        if isinstance(value, Sparse) != (vector.kind is VectorKind.SPARSE):
            raise unreadable(f"its vector '{name}' is of another kind")
        if not isinstance(value, Sparse) and any(type(row) is not list or len(row) != vector.dim for row in rows):
            raise unreadable(f"its vector '{name}' has not {vector.dim} dimensions")


class _Model:
    """Holds the fields of a pydantic model, of version 1 or 2."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        fields = state.get("__dict__") if isinstance(state, dict) else None
        if not isinstance(fields, dict):
            raise unreadable("A stored point has no fields.")
        self.fields = fields


class _PointModel(_Model):
    __slots__ = ()


class _SparseModel(_Model):
    __slots__ = ()


class _Uuid:
    """A UUID, from the one number that its state holds."""

    __slots__ = ("text",)

    def __setstate__(self, state: Any) -> None:
        self.text = str(UUID(int=state["int"]))


class _Dtype:
    """The name of a NumPy number type; what else its state says is not needed."""

    __slots__ = ("name",)

    def __init__(self, name: str, *_: Any) -> None:
        if not _DTYPE.fullmatch(name):
            raise unreadable(f"A stored point holds a NumPy value of type {name!r}.")
        self.name = name

    def __setstate__(self, _: Any) -> None: ...


def _scalar(dtype: Any, raw: Any) -> int | float | bool:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise unreadable("A stored point holds a NumPy value that is no number.")
    value: int | float | bool = np.frombuffer(raw, f"<{dtype.name}", count=1)[0].item()
    return value


def _decimal(text: Any) -> str:
    return str(text)


_STAND_INS: Names = {
    (_MODELS, "PointStruct"): _PointModel,
    (_MODELS, "SparseVector"): _SparseModel,
    ("builtins", "set"): set,  # protocols below 4 have no opcode for a set
    ("__builtin__", "set"): set,
    ("datetime", "datetime"): datetime,
    ("datetime", "date"): date,
    ("datetime", "time"): time,
    ("datetime", "timedelta"): timedelta,
    ("datetime", "timezone"): timezone,
    ("uuid", "UUID"): _Uuid,
    ("decimal", "Decimal"): _decimal,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}
"""`set` and the classes of `datetime` stand for themselves: they take data, check it, and do nothing else."""


class _Unfolding:
    """Turns what was read into JSON values, and stops when there are far more of them than the pickle has bytes."""

    def __init__(self, nodes: int) -> None:
        self._left = nodes

    def object(self, value: Any, depth: int) -> dict[str, Any]:
        """`value` as an object with text keys."""
        if not isinstance(value, dict) or not all(type(key) is str for key in value):
            raise unreadable("The payload of a stored point is no JSON object.")
        return {key: self.json(item, depth + 1) for key, item in value.items()}

    def json(self, value: Any, depth: int) -> Any:
        """`value` as JSON has it, by the rules with which qdrant-client shows it."""
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise unreadable("A stored point unfolds into far more than it stores, or is nested too deep.")
        if value is None or isinstance(value, str | int | float):
            return value
        if isinstance(value, dict):
            return self.object(value, depth)
        if isinstance(value, list | tuple | set):
            return [self.json(item, depth + 1) for item in value]
        return _text(value)


def _text(value: Any) -> str:
    """What JSON has no form for, as qdrant-client shows it."""
    if isinstance(value, datetime | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, _Uuid):
        return value.text
    if isinstance(value, bytes):
        return value.decode("utf-8")
    raise unreadable(f"The payload of a stored point holds a {type(value).__name__}.")


def _point_id(value: Any) -> int | str:
    if isinstance(value, _Uuid):
        return value.text
    if type(value) is int and 0 <= value < 1 << 64:
        return value
    try:
        return str(UUID(value))
    except (ValueError, TypeError, AttributeError):
        raise unreadable(f"A stored point has the id {str(value)[:100]!r}.") from None


def _vector(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _vector(one) for name, one in value.items()}
    if isinstance(value, _SparseModel):
        return Sparse(_numbers(value.fields.get("indices")), _numbers(value.fields.get("values")))
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [_numbers(row) for row in value]
    return _numbers(value)


def _numbers(value: Any) -> list[Any]:
    if type(value) is not list or not set(map(type, value)) <= {int, float}:
        raise unreadable("A vector of a stored point is no list of numbers.")
    return value
