"""How two versions of one record differ, in words: which fields, by how much; never a vector or a document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.model import Record

COSINE_TOLERANCE = 1e-6
RELATIVE_TOLERANCE = 1e-5
_KEYS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field that differs; `close` for a vector that differs by rounding alone."""

    text: str
    close: bool = False


def differences(source: Record, target: Record) -> list[FieldDifference]:
    """Every field in which `target` is not what `source` says it should be."""
    found = list(_vectors(source, target))
    for field in ("document", "uri"):
        found += _texts(field, getattr(source, field), getattr(target, field))
    found += [FieldDifference(text) for text in _metadata(source.metadata, target.metadata)]
    if source.id_kind is not target.id_kind:
        found.append(FieldDifference(f"id: {source.id_kind} became {target.id_kind}"))
    return found


def _vectors(source: Record, target: Record) -> Iterator[FieldDifference]:
    for name in sorted({*source.vectors, *target.vectors}):
        left, right = source.vectors.get(name), target.vectors.get(name)
        label = f"vector '{name}'" if name else "vector"
        if left is None or right is None:
            if left is not right:
                yield FieldDifference(f"{label}: {'absent in the target' if right is None else 'absent in the source'}")
        elif isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            if difference := _arrays(label, left, right):
                yield difference
        elif _raw(left) != _raw(right):
            yield FieldDifference(f"{label}: differs")


def _raw(value: Any) -> object:
    return tuple(part.tobytes() for part in value) if isinstance(value, tuple) else value


def _arrays(label: str, left: NDArray[Any], right: NDArray[Any]) -> FieldDifference | None:
    if left.shape != right.shape:
        return FieldDifference(f"{label}: shape {_shape(left)} became {_shape(right)}")
    if left.dtype != right.dtype:
        return FieldDifference(f"{label}: {left.dtype} became {right.dtype}")
    if left.tobytes() == right.tobytes():
        return None
    apart = int((left != right).sum()) or int((np.signbit(left) != np.signbit(right)).sum())
    largest = float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max())
    text = f"{label}: {apart} of {left.size} components differ, by at most {largest:.3g}"
    if left.dtype in (np.dtype(np.float32), np.dtype(np.float16)):
        text += f" ({max_ulp(left, right):,} ulp)"
    return FieldDifference(text, close=is_close(left, right))


def _shape(array: NDArray[Any]) -> str:
    return "x".join(str(size) for size in array.shape)


def max_ulp(left: NDArray[Any], right: NDArray[Any]) -> int:
    """The largest distance of two arrays' components, counted in floats that lie between them."""
    width: np.dtype[np.signedinteger[Any]] = np.dtype(f"i{left.dtype.itemsize}")
    lowest = int(np.iinfo(width).min)

    def line(array: NDArray[Any]) -> NDArray[np.int64]:
        bits = np.ascontiguousarray(array).view(width).astype(np.int64)
        return np.where(bits < 0, lowest - bits, bits)  # floats in order of size, -0 beside +0

    return int(np.abs(line(left) - line(right)).max())


def is_close(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Same direction within 1e-6 (1 - cosine), and each component within 1e-5 of the largest one."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()))
    if not lengths:
        return largest == 0.0
    apart = float(np.abs(a - b).max())
    return 1.0 - float(a @ b) / lengths <= COSINE_TOLERANCE and apart <= RELATIVE_TOLERANCE * largest


def _texts(field: str, left: str | None, right: str | None) -> Iterator[FieldDifference]:
    if left == right:
        return
    if left is None or right is None:
        yield FieldDifference(f"{field}: {'absent in the target' if right is None else 'absent in the source'}")
        return
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    sizes = f"{len(left):,} characters became {len(right):,}"
    yield FieldDifference(f"{field}: {sizes}, first difference at character {at + 1:,}")


def _metadata(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> Iterator[str]:
    if left is None or right is None:
        if left is not right:
            yield f"metadata: {'absent in the target' if right is None else 'absent in the source'}"
        return
    yield from _keys("missing in the target", [key for key in left if key not in right])
    yield from _keys("only in the target", [key for key in right if key not in left])
    shared = [key for key in left if key in right]
    drifted = [key for key in shared if _type(left[key]) != _type(right[key])]
    yield from _keys("of another type", [f"{key}: {_type(left[key])} became {_type(right[key])}" for key in drifted])
    same_type = (key for key in shared if key not in drifted)
    yield from _keys("with another value", [key for key in same_type if not _equal(left[key], right[key])])


def _keys(what: str, keys: list[str]) -> Iterator[str]:
    if keys:
        shown = ", ".join(key if len(key) <= 60 else f"{key[:57]}..." for key in keys[:_KEYS_SHOWN])
        more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
        yield f"metadata {what}: {shown}{more}"


def _type(value: Any) -> str:
    if isinstance(value, list):
        return f"list[{','.join(sorted({_type(item) for item in value}))}]"
    return "null" if value is None else type(value).__name__


def _equal(left: Any, right: Any) -> bool:
    """Strict equality: types count all the way down, NaN equals NaN, -0.0 is not 0.0."""
    return repr(left) == repr(right) if not isinstance(left, dict) else _equal_objects(left, right)


def _equal_objects(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return left.keys() == right.keys() and all(_equal(value, right[key]) for key, value in left.items())
