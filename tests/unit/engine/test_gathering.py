"""Small chunks are put together, and nothing of them is lost or moved."""

from __future__ import annotations

from itertools import count

import pytest

from tests.unit.engine.support import batch_of
from vecferry.engine import Options
from vecferry.engine.gathering import gathered
from vecferry.model import Chunk, Position, Rejection

ROWS = 10
SIZE = batch_of(ROWS).nbytes


def chunks(number: int) -> list[Chunk]:
    return [
        Chunk(batch_of(ROWS), Position(str(place)), (Rejection(f"bad-{place}", "torn"),) if place % 2 else ())
        for place in range(number)
    ]


def test_chunks_are_joined_up_to_a_quarter_of_a_batch_with_the_last_position_and_every_rejection() -> None:
    """Seven chunks, three to a batch's quarter: 3, 3 and 1, in order."""
    joined = list(gathered(chunks(7), Options(batch_bytes=4 * (3 * SIZE - 1), commit_seconds=1e9)))
    assert [chunk.batch.num_rows for chunk in joined] == [30, 30, 10]
    assert [chunk.position for chunk in joined] == ["2", "5", "6"]
    assert [[rejection.id for rejection in chunk.rejected] for chunk in joined] == [["bad-1"], ["bad-3", "bad-5"], []]
    assert joined[0].batch.column("id").to_pylist() == batch_of(ROWS).column("id").to_pylist() * 3


def test_a_large_chunk_passes_through_as_it_is() -> None:
    """No copy is made of what is large enough already."""
    given = chunks(3)
    assert [chunk is own for chunk, own in zip(gathered(given, Options(batch_bytes=SIZE)), given, strict=True)] == [
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "options", [Options(batch_rows=4 * ROWS), Options(memory_bytes=8 * SIZE), Options(commit_seconds=0)]
)
def test_rows_memory_and_time_bound_what_is_held(options: Options) -> None:
    """A limit on rows, on memory, or on time lets each chunk pass as it comes."""
    assert [chunk.position for chunk in gathered(chunks(3), options)] == ["0", "1", "2"]


def test_time_is_counted_from_the_first_chunk_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that moves by 1 s a look, 3 s are over at the second chunk of each group."""
    clock = count()
    monkeypatch.setattr("vecferry.engine.gathering.time.monotonic", lambda: float(next(clock)))
    joined = gathered(chunks(6), Options(commit_seconds=2))
    assert [chunk.position for chunk in joined] == ["1", "3", "5"]
