"""Copying one partition: read, write, then commit the checkpoint. The loop that everything else serves.

Delivery is at least once, and that is harmless, since writing a record again changes nothing. The trap: a position
may be committed only when every record up to it is durable in the target, and batches land in any order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace

import pyarrow as pa

from vecferry.arrow import split
from vecferry.engine.crew import Crew, Lane
from vecferry.engine.gathering import gathered
from vecferry.engine.stop import interrupted
from vecferry.errors import DataError, VecferryError
from vecferry.events import Progress, Rejected, Stage
from vecferry.hooks import reach
from vecferry.model import Chunk, Partition, PartitionId, Position, Receipt, Rejection
from vecferry.protocols import Source
from vecferry.state.model import Checkpoint

Admit = Callable[[pa.RecordBatch], tuple[pa.RecordBatch, int, tuple[Rejection, ...]]]
"""What of a batch shall be written, how many records are left alone, and which are set aside."""


def everything(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int, tuple[Rejection, ...]]:
    """Admits all."""
    return batch, 0, ()


def copy_partition(
    source: Source, partition: Partition, checkpoint: Checkpoint, *, lane: Lane, crew: Crew, admit: Admit = everything
) -> Checkpoint:
    """Copy `partition` from behind `checkpoint` to its end, committing as it goes; the last checkpoint.

    Needs nothing but its arguments: it may run on any thread, in any process, on any machine that can open them.

    Raises:
        Interrupted: a stop was requested, or a store did not answer for too long.
        VecferryError: whatever else stopped the crew. In every case what landed is checkpointed first.
    """
    wake = Wake(partition.id, checkpoint, lane, crew)
    try:
        reading = closing(_chunks(source, partition, checkpoint.position, lane, crew))
        with crew.reading, reading as chunks:  # both end before the last batches land: the next one is read meanwhile
            for chunk in gathered(chunks, crew.options):
                reach("chunk.read")
                _check_whole(chunk, lane)
                batch, skipped, aside = admit(chunk.batch)
                wake.begin(chunk.position, skipped, chunk.rejected + aside)
                for piece in split(batch, max_rows=crew.pace.max_rows, max_bytes=crew.pace.max_bytes):
                    wake.add(crew.submit(piece, lane))
                wake.end()
        return wake.finish()
    except BaseException as error:
        first = crew.fail(error)
        with suppress(VecferryError):
            wake.rescue()
        if first is error:
            raise
        raise first from None


def _check_whole(chunk: Chunk, lane: Lane) -> None:
    """Records that the source cannot give are left out where the plan says so; else somebody must hear of them first.

    Raises:
        DataError: the plan does not, so they became so after it was made.
    """
    if chunk.rejected and not lane.quarantine:
        first = chunk.rejected[0]
        raise DataError(
            f"Record '{first.id}' of '{lane.collection}' cannot be read: {first.reason}",
            ids=(first.id,),
            hint="Mend the record in the source, or begin anew (--restart) and accept that it is left out; what is "
            "written stays.",
            collection=lane.collection,
        )


def _chunks(
    source: Source, partition: Partition, after: Position | None, lane: Lane, crew: Crew
) -> Generator[Chunk, None, None]:
    """The chunks behind `after`; a read that breaks off is taken up again behind the last chunk that came."""
    patience = crew.patience(f"Reading '{lane.collection}'", lane)
    while True:
        try:
            for chunk in source.read(partition, after=after):
                patience.reset()
                yield chunk
                after = chunk.position
        except VecferryError as error:
            patience.endure(error)
        else:
            return


@dataclass(slots=True)
class _InFlight:
    """One chunk on its way: its batches, and what was not sent of it."""

    position: Position
    skipped: int
    rejected: tuple[Rejection, ...]
    futures: list[Future[Receipt]] = field(default_factory=list)
    sent: bool = False

    @property
    def landed(self) -> bool:
        return self.sent and all(future.done() and future.exception() is None for future in self.futures)


class Wake:
    """The chunks of one partition that are on their way, oldest first, and the checkpoint that follows them."""

    def __init__(self, partition: PartitionId, checkpoint: Checkpoint, lane: Lane, crew: Crew) -> None:
        self._partition = partition
        self._checkpoint = checkpoint
        self._committed = checkpoint
        self._lane = lane
        self._crew = crew
        self._chunks: deque[_InFlight] = deque()
        self._rejected: list[Rejection] = []
        self._due = time.monotonic() + crew.options.commit_seconds

    def begin(self, position: Position, skipped: int, rejected: tuple[Rejection, ...]) -> None:
        """A chunk was read."""
        self._chunks.append(_InFlight(position, skipped, rejected))

    def add(self, future: Future[Receipt] | None) -> None:
        """One batch of that chunk is on its way; None where the crew stops."""
        if future is None:
            raise self._stopped()
        self._chunks[-1].futures.append(future)
        self._settle()

    def end(self) -> None:
        """Every batch of that chunk is on its way."""
        self._chunks[-1].sent = True
        self._settle()
        self._crew.glance()
        if self._crew.stop.requested:
            raise self._stopped()

    def finish(self) -> Checkpoint:
        """Wait for all, and mark the partition done."""
        self._drain()
        if self._chunks:
            raise self._stopped()
        self._commit(done=True)
        reach("partition.done")
        return self._checkpoint

    def rescue(self) -> None:
        """Something failed: checkpoint what has landed, once what is in flight has."""
        self._drain()
        if self._checkpoint != self._committed:
            self._commit()

    def _drain(self) -> None:
        pending = [future for chunk in self._chunks for future in chunk.futures]
        while pending and not self._crew.stop.now:
            pending = list(wait(pending, timeout=0.1).not_done)
            self._settle()
        self._settle()

    def _settle(self) -> None:
        """Count the chunks that are durable, oldest first, and commit when it is time."""
        while self._chunks and self._chunks[0].landed:
            self._count(self._chunks.popleft())
        if time.monotonic() >= self._due and self._checkpoint != self._committed:
            self._commit()

    def _count(self, chunk: _InFlight) -> None:
        receipts = [future.result() for future in chunk.futures]
        rejected = [*chunk.rejected, *(rejection for receipt in receipts for rejection in receipt.rejected)]
        written, sent = sum(receipt.rows for receipt in receipts), sum(receipt.bytes for receipt in receipts)
        moved = self._checkpoint.plus(written=written, skipped=chunk.skipped, rejected=len(rejected), sent=sent)
        self._rejected += rejected
        passed = moved.read - self._checkpoint.read
        self._checkpoint = replace(moved, position=chunk.position)
        self._tell(passed, sent, rejected)

    def _tell(self, passed: int, sent: int, rejected: list[Rejection]) -> None:
        name, observer = self._lane.collection, self._crew.observer
        for rejection in rejected:
            observer(Rejected(collection=name, id=rejection.id, reason=rejection.reason))
        observer(Progress(stage=Stage.COPY, collection=name, records=passed, bytes=sent))

    def _commit(self, *, done: bool = False) -> None:
        self._checkpoint = replace(self._checkpoint, done=done)
        self._lane.run.commit(self._lane.collection, self._partition, self._checkpoint, self._rejected)
        self._committed, self._rejected = self._checkpoint, []
        self._due = time.monotonic() + self._crew.options.commit_seconds
        reach("checkpoint.committed")

    def _stopped(self) -> BaseException:
        return self._crew.error or interrupted(f"Stopped on request while copying '{self._lane.collection}'.")
