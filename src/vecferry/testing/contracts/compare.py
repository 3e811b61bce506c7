"""Are two sets of records the same, bit for bit and type for type? Written apart from `vecferry.digest`, on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vecferry.model import Record

SHOWN = 5


def assert_same(expected: Iterable[Record], found: Iterable[Record], *, kinds: bool = True) -> None:
    """Fail with the first few differences. `kinds=False` leaves the kinds of ids out."""
    problems = list(differences(expected, found, kinds=kinds))
    assert not problems, f"{len(problems)} differences:\n" + "\n".join(problems[:SHOWN])


def differences(expected: Iterable[Record], found: Iterable[Record], *, kinds: bool = True) -> Iterator[str]:
    """One line per record that is missing, extra or changed; the order of records does not matter."""
    left = {_key(record, kinds): record for record in expected}
    right = {_key(record, kinds): record for record in found}
    yield from (f"missing: {key!r}" for key in left.keys() - right.keys())
    yield from (f"extra: {key!r}" for key in right.keys() - left.keys())
    for key in left.keys() & right.keys():
        yield from (f"changed: {key!r}: {what}" for what in _changes(left[key], right[key]))


def _key(record: Record, kinds: bool) -> tuple[str, str | None]:
    return record.id, str(record.id_kind) if kinds and record.id_kind is not None else None


def _changes(left: Record, right: Record) -> Iterator[str]:
    for name in ("document", "uri"):
        a, b = getattr(left, name), getattr(right, name)
        if a != b:
            yield f"{name} {_short(a)} became {_short(b)}"
    if not same(left.metadata, right.metadata):
        yield f"metadata {_short(left.metadata)} became {_short(right.metadata)}"
    for name in left.vectors.keys() | right.vectors.keys():
        a, b = left.vectors.get(name), right.vectors.get(name)
        if not same(a, b):
            yield f"vector '{name}' {_short(a)} became {_short(b)}"


def same(left: Any, right: Any) -> bool:
    """Equal in type and in every bit: 1 is not 1.0 is not True, -0.0 is not 0.0, NaN is NaN, missing is not None."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return bool(left.hex() == right.hex())
    return repr(left) == repr(right)  # not `==`: Decimal("1.0") equals Decimal("1.00"), and Decimal("NaN") not itself


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
