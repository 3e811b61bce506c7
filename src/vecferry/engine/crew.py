"""The threads that write, and what bounds them: bytes in memory, batches in flight, the rate. One crew per process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from vecferry.engine.model import Options
from vecferry.engine.pace import Pace, Rate
from vecferry.engine.pausing import Pause
from vecferry.engine.retry import Patience, retrying
from vecferry.engine.stop import Stop
from vecferry.errors import ConnectorError, DataError, Throttled, VecferryError
from vecferry.events import Observer, Retried, silent
from vecferry.hooks import reach
from vecferry.limits import Limits
from vecferry.model import Receipt, Rejection
from vecferry.protocols import Sink

if TYPE_CHECKING:
    from vecferry.state.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Where a batch goes, and on whose behalf. `quarantine`: a record that the target refuses is kept aside."""

    collection: str
    partition: str
    sink: Sink
    run: Run
    quarantine: bool = False


class Crew:
    """Writes batches on `options.jobs` threads. Who makes it closes it; the first error stops all of it.

    The threads are daemons: a second request to stop must not wait for a target that does not answer.
    """

    def __init__(
        self,
        options: Options,
        limits: Limits,
        *,
        observer: Observer = silent,
        stop: Stop | None = None,
        rate: Rate | None = None,
    ) -> None:
        self.options = options
        self.limits = limits
        self.observer = observer
        self.stop = (stop or Stop()).child()
        self.pace = Pace(options, limits, observer, rate)
        self.memory = Budget(options.memory_bytes)
        self.reading = threading.Semaphore(options.readers)
        self.error: BaseException | None = None
        self.paused = False
        self._pause: Pause | None = None
        self._failing = threading.Lock()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(options.jobs)]
        for thread in self._threads:
            thread.start()

    def another(self, pause: Pause) -> Crew:
        """One for work whose failure, or `pause`, stops nothing else. It stops with this one, and shares its pace."""
        crew = Crew(self.options, self.limits, observer=self.observer, stop=self.stop)
        crew.pace, crew._pause = self.pace, pause
        return crew

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the threads end; what is in flight is waited for, unless the stop is for now."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            while thread.is_alive() and not self.stop.now:
                thread.join(0.1)

    def fail(self, error: BaseException) -> BaseException:
        """Stop everything for `error`, unless there was one before; the first one."""
        with self._failing:
            if self.error is None:
                self.error = error
                self._begin_nothing_new()
            return self.error

    def glance(self) -> None:
        """Stop where a pause is asked for; `paused` tells that from any other stop."""
        if self._pause is None or self.stop.requested or not self._pause():
            return
        with self._failing:
            self.paused = self.error is None
            self._begin_nothing_new()

    def _begin_nothing_new(self) -> None:
        """Request the stop once: the second request would abandon what is in flight."""
        if not self.stop.requested:
            self.stop.request()

    def submit(self, batch: pa.RecordBatch, lane: Lane) -> Future[Receipt] | None:
        """Write `batch` soon; waits for room in memory and for the rate. None where a stop was requested meanwhile."""
        if not self.pace.admit(batch.num_rows, self.stop) or not self.memory.take(batch.nbytes, self.stop):
            return None
        task = _Task(batch, lane, Future())
        self._tasks.put(task)
        return task.future

    def patience(self, what: str, lane: Lane) -> Patience:
        """How long `what` may fail, told to the observer."""

        def told(attempt: int, wait: float, error: VecferryError) -> None:
            self.observer(
                Retried(
                    collection=lane.collection,
                    partition=lane.partition,
                    attempt=attempt,
                    wait=wait,
                    error=error.message,
                )
            )

        return Patience(what, stop=self.stop, deadline_seconds=self.options.deadline_seconds, told=told)

    # ----------------------------------------------------------------------- on a writer's thread

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._carry_out(task)
            del task  # its buffers must not wait here for the next one

    def _carry_out(self, task: _Task) -> None:
        size = task.batch.nbytes
        try:
            if self.stop.requested:
                raise CancelledError
            task.future.set_result(self._write(task.batch, task.lane))
        except CancelledError as error:
            task.future.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - the reader's thread raises it
            self.fail(error)
            task.future.set_exception(error)
        finally:
            self.memory.give_back(size)

    def _write(self, batch: pa.RecordBatch, lane: Lane) -> Receipt:
        """Write `batch`, in halves where the target refuses it as it is, down to the record that is at fault."""
        try:
            return self._send(batch, lane)
        except VecferryError as error:
            if not may_split(error):
                raise
            if batch.num_rows == 1:
                return Receipt(rows=0, bytes=0, rejected=(self._refused(batch, lane, error),))
            if is_too_large(error):
                self.pace.too_large(batch.nbytes)
            half = batch.num_rows // 2
            first, second = (self._write(part, lane) for part in (batch.slice(0, half), batch.slice(half)))
            return Receipt(first.rows + second.rows, first.bytes + second.bytes, first.rejected + second.rejected)

    def _send(self, batch: pa.RecordBatch, lane: Lane) -> Receipt:
        patience = self.patience(f"Writing {batch.num_rows} records of '{lane.collection}'", lane)
        reach("batch.before")
        receipt = retrying(lambda: self._attempt(batch, lane), patience)
        reach("batch.written")
        if receipt.rejected and not lane.quarantine:
            raise _refusal(lane, receipt.rejected[0])
        if receipt.rows + len(receipt.rejected) != batch.num_rows:
            raise ConnectorError(
                f"The target confirmed {receipt.rows} of {batch.num_rows} records of '{lane.collection}' and refused "
                f"{len(receipt.rejected)}: the others are unaccounted for.",
                hint="What lies behind the last checkpoint does not count as copied. Please report this, with the "
                "target's version.",
            )
        return receipt

    def _attempt(self, batch: pa.RecordBatch, lane: Lane) -> Receipt:
        with self.pace.sending(self.stop):
            lane.run.ensure_held()
            began = time.monotonic()
            try:
                receipt = lane.sink.write(batch)
            except Throttled:
                self.pace.throttled()
                raise
        self.pace.landed(time.monotonic() - began)
        return receipt

    def _refused(self, batch: pa.RecordBatch, lane: Lane, error: VecferryError) -> Rejection:
        rejection = Rejection(batch.column("id")[0].as_py(), error.message)
        if not lane.quarantine:
            raise _refusal(lane, rejection) from error
        return rejection


@dataclass(frozen=True, slots=True)
class _Task:
    batch: pa.RecordBatch
    lane: Lane
    future: Future[Receipt]


class Budget:
    """Bytes that may be held at a time. One thing larger than the whole may pass alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._freed = threading.Condition()

    def take(self, size: int, stop: Stop) -> bool:
        """Wait for room for `size` bytes; False where a stop was requested meanwhile."""
        with self._freed:
            while self._held and self._held + size > self._total and not stop.requested:
                self._freed.wait(0.1)
            if stop.requested:
                return False
            self._held += size
            return True

    def give_back(self, size: int) -> None:
        """`size` bytes are held no longer."""
        with self._freed:
            self._held -= size
            self._freed.notify_all()


def is_too_large(error: VecferryError) -> bool:
    """True where a store refused a request for its size: it says so with the fact `too_large`."""
    return isinstance(error, ConnectorError) and bool(error.facts.get("too_large"))


def may_split(error: VecferryError) -> bool:
    """True where one record may be at fault, so that the others of its batch can still be written."""
    return isinstance(error, DataError) or is_too_large(error)


def _refusal(lane: Lane, rejection: Rejection) -> DataError:
    return DataError(
        f"The target refuses record '{rejection.id}' of '{lane.collection}': {rejection.reason}",
        ids=(rejection.id,),
        hint="Mend the record in the source, or let the plan say `quarantine` for such records; then run the same "
        "command again: what is written stays.",
        collection=lane.collection,
    )
