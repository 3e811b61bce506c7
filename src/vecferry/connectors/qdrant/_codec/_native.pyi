"""The loops over bytes in C (`_native/`), where a compiler was at hand (docs/adr/0030); Python does it without."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecferry.connectors.qdrant._codec.columns import Keys, TextBuffers

def entries(number: int, texts: list[bytes | None], depth: int, /) -> tuple[list[bytes | None], list[int]]:
    """(map entries of each JSON object, the rows that `values.entries` must do: None stands there)."""

def points(
    data: bytes,
    at: int,
    result: int,
    most: int,
    keys: Keys,
    vectors: tuple[tuple[str, int], ...],
    float_text: Callable[[float], bytes],
    /,
) -> (
    tuple[
        int,
        list[str],
        list[str | None] | None,
        list[dict[str, object] | None] | None,
        TextBuffers,
        TextBuffers,
        TextBuffers,
        bytes,
        bytes,
        bytes,
        tuple[tuple[bytes, bytes], ...],
    ]
    | None
):
    """At most `most` points of an answer (field `result`) from byte `at` on; None where Python must read them.

    Returns:
        (the byte behind them; ids as text; ids under the layout's own key; further notes of each envelope; document;
        uri; metadata; seq, int64; which have a seq, one byte each; lengths, float64, where there is one vector (those
        of several are further notes); vectors, each as (float32, which records have it, one byte each)).
        `float_text` gives the canonical JSON of a float.
    """

def squares(values: NDArray[np.float32], dim: int, sums: NDArray[np.float64], /) -> None:
    """The sum of each row's squares, into `sums`; `values` are contiguous rows of `dim` numbers."""

def scaled(
    values: NDArray[np.float32], dim: int, by: NDArray[np.float64], out: NDArray[np.float32], divide: bool, /
) -> None:
    """Each row divided by, or times, its number, into `out`."""
