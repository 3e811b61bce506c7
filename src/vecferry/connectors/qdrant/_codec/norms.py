"""Lengths of cosine vectors: taken off before writing, put back after reading, bit for bit the same everywhere. Pure.

Qdrant scales cosine vectors to length 1 when they arrive, in float32 arithmetic of its own, and forgets the length. It
leaves alone what is already of length 1 (squared length within 1e-6 of 1). So we scale first, with arithmetic that
gives the same bits on every machine, and Qdrant stores what we sent: what will be read back is known beforehand.

Sums are made by halving, not by `sum` or `einsum`, whose order of additions depends on the CPU. Lengths are rounded
to 12 decimals (5e-10 of a length of 0.001, where half a float32 step is 3e-8): such a number survives Qdrant's JSON
storage, which moves floats of 16 and 17 digits by one unit in the last place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.connectors.qdrant._codec.native import native

_AS_GIVEN = 5e-7
"""Squared lengths this near to 1 count as 1; half of Qdrant's own bound, so that its float32 sum agrees."""
_GRID = 1e12
_EXACT_LOW, _EXACT_HIGH = 1e-3, 9e3
"""Lengths between these are multiples of 1e-12 below 2**53: numbers that any JSON parser reads exactly."""
_SMALLEST_NORMAL = np.finfo(np.float32).tiny
_BLOCK = 128 << 10
"""Numbers worked on at a time: as float64 they stay in the CPU's second-level cache."""
_NARROW = 32


def _blocks(values: NDArray[Any]) -> Iterator[slice]:
    rows = max(1, _BLOCK // max(1, values.shape[1]))
    return (slice(start, start + rows) for start in range(0, len(values), rows))


def scale(values: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(vectors of length 1, their lengths before) of `values`, shape (rows, dim), any number type.

    A zero vector and one that is of length 1 already come back as they are, with length 1.
    """
    out = np.empty(values.shape, np.float32)
    lengths = np.empty(len(values), np.float64)
    if native is not None and values.dtype == np.float32:
        values = np.ascontiguousarray(values)
        native.squares(values, values.shape[1], lengths)
        lengths = _told(lengths)
        native.scaled(values, values.shape[1], lengths, out, True)
        return out, lengths
    for block in _blocks(values):
        wide = values[block].astype(np.float64)
        lengths[block] = _lengths(wide)
        if (lengths[block] == 1.0).all():  # the rule for embeddings that come from a model
            out[block] = values[block]
            continue
        wide /= lengths[block, None]
        out[block] = wide
    return out, lengths


def _lengths(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    return _told(_sums(wide * wide))


def _told(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The length that is written down, from its square."""
    alone = (np.abs(squares - 1.0) <= _AS_GIVEN) | (squares == 0.0)
    return np.where(alone, 1.0, _rounded(np.sqrt(squares)))


def _sums(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each row, added in an order that depends on nothing but the row's width.

    The two halves of a row are added to each other until one number is left; narrow rows are turned, so that numpy
    adds long runs all the way.
    """
    while wide.shape[1] > _NARROW:
        wide = _folded(wide.T).T
    turned = np.ascontiguousarray(wide.T)
    while len(turned) > 1:
        turned = _folded(turned)
    sums: NDArray[np.float64] = turned[0] if len(turned) else np.zeros(len(wide))
    return sums


def _folded(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The second half of the columns added to the first; an odd last one to the first column."""
    half, odd = divmod(len(columns), 2)
    folded: NDArray[np.float64] = columns[:half] + columns[half : 2 * half]
    if odd:
        folded[0] += columns[-1]
    return folded


def _rounded(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.rint(lengths * _GRID) / _GRID
    for row in np.flatnonzero((lengths < _EXACT_LOW) | (lengths >= _EXACT_HIGH)):
        rounded[row] = float(f"{lengths[row]:.15g}")
    return rounded


def sayable(length: float) -> float | str:
    """A length as a JSON value that every parser reads exactly: a number where it can be one, else text."""
    return length if _EXACT_LOW <= length < _EXACT_HIGH else repr(length)


def unscale(stored: NDArray[Any], lengths: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`stored` with its lengths put back, as `dtype`: one float64 product, one rounding."""
    out = np.empty(stored.shape, dtype)
    if native is not None and stored.dtype == np.float32 == dtype:
        native.scaled(np.ascontiguousarray(stored), stored.shape[1], lengths, out, False)
        return out
    for block in _blocks(stored):
        wide = stored[block] * lengths[block, None]
        with np.errstate(over="ignore"):  # such a vector has strayed, and its bits are kept
            out[block] = wide if dtype.kind == "f" else np.rint(wide)
    return out


def strayed(values: NDArray[Any], stored: NDArray[Any], lengths: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which vectors `unscale` would not bring back to within one step of their number type, shape (rows,).

    That happens where a component becomes so small that its type loses digits (below 1.2e-38 for float32).
    """
    suspects: NDArray[np.bool_] = lengths != 1.0
    if values.dtype == np.float32:
        for block in _blocks(stored):
            suspects[block] &= np.abs(stored[block]).min(axis=1, initial=np.inf) < _SMALLEST_NORMAL
    for row in np.flatnonzero(suspects):
        original = values[row]
        back = unscale(stored[row : row + 1], lengths[row : row + 1], values.dtype)[0]
        suspects[row] = not _near(original, back)
    return suspects


def _near(original: NDArray[Any], back: NDArray[Any]) -> bool:
    if original.dtype.kind != "f":
        return bool(np.array_equal(original, back))
    with np.errstate(over="ignore"):  # the neighbour of the largest number is infinity
        low = np.nextafter(original, -np.inf, dtype=original.dtype)
        high = np.nextafter(original, np.inf, dtype=original.dtype)
    near = (low <= back) & (back <= high) & (np.signbit(original) == np.signbit(back)) & np.isfinite(back)
    return bool(near.all())
