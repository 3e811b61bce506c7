"""Rows taken from a socket, whatever pieces they arrive in."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

from vecferry.connectors.mariadb import packets


class Pieces(io.RawIOBase):
    """A socket on which so many bytes arrive at a time; whoever reads behind the last one would wait for ever."""

    def __init__(self, data: bytes, sizes: random.Random) -> None:
        self._data, self._sizes = data, sizes

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        assert self._data, "it waits for what nobody sends"
        size = min(len(room), self._sizes.choice([1_000, 70_000, 200_000, 400_000]))
        piece, self._data = self._data[:size], self._data[size:]
        room[: len(piece)] = piece
        return len(piece)


def packet(body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + b"\0" + body


@pytest.mark.parametrize("seed", range(60))
def test_what_has_arrived_already_is_never_waited_for(seed: int) -> None:
    """A buffered reader with more room before it than it has a buffer gives what it has, and then waits for more."""
    sizes = random.Random(seed)
    bodies = [number.to_bytes(2, "big") * 500 for number in range(sizes.randrange(1, 1500))]
    file = io.BufferedReader(
        Pieces(b"h" + b"".join(map(packet, bodies)) + packet(b"\xfe\0\0\0\0"), sizes), packets._PIECE
    )
    assert file.read(1) == b"h"
    reader, found = packets._Packets(file.readinto1), list[bytes]()
    while reader.last is None:
        starts, ends = reader.rows(10_000, 400_000)
        found += [bytes(reader.data[start:end]) for start, end in zip(starts, ends, strict=True)]
    assert found == bodies
