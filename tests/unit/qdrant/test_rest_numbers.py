"""Float32 as JSON for Qdrant: the shortest text is read back as the very same number.

Qdrant's JSON parser makes a float64 of a number, which is then rounded to float32: two roundings, which could end on a
neighbour. They never do: `python tests/unit/qdrant/test_rest_numbers.py` tries every float32 there is (minutes); the
test tries a share of them.
"""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ALL = 0x7F800000
"""Bit patterns of the float32 values from 0.0 up; infinity is the first that is not counted."""
CLOSEST = (0x08898B53, 0x15AE43FD)
"""Those whose text comes nearest to the middle between two float32 values, but for integers, which are exact."""
_PLAIN = 1e-13, 1e22
"""Between these the parser multiplies or divides once, by a power of ten that float64 holds exactly: its result is the
nearest float64. Elsewhere it may be two steps off."""


def misread(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Which of these numbers would not come back."""
    numbers = bits.view(np.float32)
    text = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode()
    read = pc.cast(pc.split_pattern(pa.array([text], pa.large_string()), ",").values, pa.float64()).to_numpy()
    wrong = read.astype(np.float32) != numbers
    unsure = (numbers < _PLAIN[0]) | (numbers > _PLAIN[1])
    for end in (0.0, 1e300):
        moved = np.nextafter(np.nextafter(read, end), end)
        wrong |= unsure & (moved.astype(np.float32) != numbers)
    return np.array([number for number in numbers[wrong] if np.float32(parsed(number)) != number], np.float32)


def parsed(number: np.float32) -> float:
    """What Qdrant's parser makes of a number's text: its digits as an integer, times or by a power of ten."""
    digits, _, exponent = orjson.dumps(number, option=orjson.OPT_SERIALIZE_NUMPY).partition(b"e")
    whole, _, fraction = digits.partition(b".")
    power = int(exponent or 0) - len(fraction)
    return int(whole + fraction) * float(f"1e{power}") if power >= 0 else int(whole + fraction) / float(f"1e{-power}")


def test_the_shortest_text_of_a_float32_is_exact() -> None:
    """Every 4099th float32, each power of two with its neighbours, and the two that come closest to a mistake."""
    powers = np.arange(0x00800000, ALL, 0x00800000, dtype=np.uint32)
    some = (np.arange(1, ALL, 4099, dtype=np.uint32), powers - 1, powers, powers + 1, np.array(CLOSEST, np.uint32))
    assert misread(np.concatenate(some)).tolist() == []


if __name__ == "__main__":
    step = 1 << 22
    for start in range(1, ALL, step):
        found = misread(np.arange(start, min(start + step, ALL), dtype=np.uint32))
        assert not found.size, found
        print(f"\r{start / ALL:.0%}", end="", flush=True)
    print("\rEvery float32 comes back.")
