"""Small chunks put together: a source reads what suits its own cache or quota, a target wants larger batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import pyarrow as pa

from vecferry.engine.model import Options
from vecferry.model import Chunk


def gathered(chunks: Iterable[Chunk], options: Options) -> Iterator[Chunk]:
    """The same records in chunks of at least a quarter of a batch, or of what came within `commit_seconds`.

    A chunk that is large enough passes through without a copy.
    """
    least_bytes = min(options.batch_bytes // 4, options.memory_bytes // 8)
    held: list[Chunk] = []
    size = rows = 0
    due = 0.0
    for chunk in chunks:
        due = due if held else time.monotonic() + options.commit_seconds
        held.append(chunk)
        size, rows = size + chunk.batch.nbytes, rows + chunk.batch.num_rows
        if size >= least_bytes or rows >= options.batch_rows // 4 or time.monotonic() >= due:
            yield _joined(held)
            held, size, rows = [], 0, 0
    if held:
        yield _joined(held)


def _joined(chunks: list[Chunk]) -> Chunk:
    """Chunks that follow each other, as one."""
    if len(chunks) == 1:
        return chunks[0]
    batch = pa.concat_batches([chunk.batch for chunk in chunks])
    return Chunk(batch, chunks[-1].position, tuple(found for chunk in chunks for found in chunk.rejected))
