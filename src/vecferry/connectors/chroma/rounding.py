"""How a server rounds vectors under cosine, and what is done about it. Pure.

A server scales a vector to length 1 and multiplies it with its length again to answer, which changes its last digits.
What it answers is known beforehand, bit for bit; where the bits themselves are wanted, they travel in the envelope.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def rounded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a server gives back of vectors under cosine, shape (rows, dim): direction times length, bit for bit.

    hnswlib scales a vector to length 1 when it takes it, Chroma keeps the length beside it. The squares are summed one
    after the other in float32, which `cumsum` does and `sum` does not. Measured on 1.5.9; tests/integration/
    test_chroma_http.py holds it against the server.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.cumsum(vectors * vectors, axis=1, dtype=np.float32)[:, -1:]
        length = np.sqrt(squared)
        return vectors * (np.float32(1) / (length + np.float32(1e-30))) * length


def rounds(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of these vectors a server does not give back bit for bit, shape (rows,)."""
    changed: NDArray[np.bool_] = (rounded(vectors).view(np.int32) != vectors.view(np.int32)).any(axis=1)
    return changed


def restored(vectors: NDArray[np.float32], kept: Mapping[int, bytes]) -> NDArray[np.float32]:
    """`vectors`, shape (rows, dim), with those of which the bits were kept (row -> bits) as they were."""
    whole = {row: bits for row, bits in kept.items() if len(bits) == 4 * vectors.shape[1]}
    found = vectors.copy() if whole else vectors
    for row, bits in whole.items():
        found[row] = np.frombuffer(bits, "<f4")
    return found
