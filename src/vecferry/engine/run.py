"""A whole run: every collection prepared, copied, finished, in the order of the plan. Resumes where the ledger says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from vecferry.engine.conflicts import Leave, is_fresh, leaving_alone, refuse_collisions
from vecferry.engine.copy import Admit, copy_partition
from vecferry.engine.crew import Crew, Lane
from vecferry.engine.finishing import wait_for
from vecferry.engine.model import CollectionResult, Options, RunResult
from vecferry.engine.pace import Rate
from vecferry.engine.pausing import Pause, wait_while_paused
from vecferry.engine.retry import retrying
from vecferry.engine.stop import Stop, interrupted
from vecferry.engine.units import Care, Walk, copied
from vecferry.errors import Interrupted, UnitsFailed, UnitsPaused, VecferryError
from vecferry.events import Event, Observer, Progress, Rejected, RunStarted, Stage, StageFinished, StageStarted, silent
from vecferry.hooks import reach
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, Partition, Rejection
from vecferry.planning.model import CollectionPlan, IfExists, OnConflict, Plan, Policy
from vecferry.planning.sieve import Sieve
from vecferry.protocols import Database, Droppable, Sink, Source, require
from vecferry.state.model import Checkpoint, CollectionState, Step
from vecferry.tables.units import unit_of

if TYPE_CHECKING:
    from vecferry.state.run import Run


def migrate_collections(
    plan: Plan,
    source: Database,
    target: Database,
    run: Run,
    *,
    options: Options | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
    care: Care | None = None,
    rate: Rate | None = None,
) -> RunResult:
    """Copy every collection of `plan` that `run` has not finished, and wait until the target serves them.

    Call it inside `vecferry.engine.keeping`, which keeps the run ours and tells the ledger how it ended. A collection
    whose plan says `recreate` is dropped here, once, before its first write; one that is to be kept is not touched, nor
    is one that is to be synchronised, which is the caller's work: it needs a comparison. A collection with units is
    copied unit by unit (`vecferry.engine.units`), each proven by `care` before the next is begun. `rate`, which
    somebody adapts meanwhile, takes the place of that of the options.

    Raises:
        UnitsFailed, UnitsPaused: some units failed or are paused; every other unit and collection is through, indexes
            included.
        Interrupted: stopped on request, or a store failed for too long; the same run goes on later.
        RunLocked: another process took the run over.
        IdCollision: `append`, and the target has some of the ids already; nothing of that collection is written.
        VecferryError: what a store refuses for good. In every case the checkpoints are committed.
    """
    told = _Teller(run, observer)
    states = run.collections()
    done = sum(state.total.read for state in states.values())
    told(RunStarted(run=run.id, resumed=run.resumed, records=plan.records, done=done))
    fitting = _fitting(options or Options(), target.limits)
    with Crew(fitting, target.limits, observer=told, stop=stop, rate=rate) as crew:
        work = [_Collection(c, states[c.source], source, target, run, crew, care) for c in plan.collections]
        for collection in work:
            collection.check()
        results = [collection.migrate() for collection in work]
    for collection in work:
        if collection.failed is not None:
            raise collection.failed
    reach("run.copied")
    return RunResult(run=run.id, resumed=done, collections=tuple(results))


def _fitting(options: Options, limits: Limits) -> Options:
    """`options` for this target: where the order of writing is the order of reading back, one batch at a time."""
    return replace(options, jobs=1, readers=1) if limits.sequential else options


@dataclass(slots=True)
class _Collection:
    """One collection on its way."""

    plan: CollectionPlan
    state: CollectionState
    origin: Database
    target: Database
    run: Run
    crew: Crew
    care: Care | None = None
    failed: UnitsFailed | UnitsPaused | None = None

    def check(self) -> None:
        """Before the first write of the run: what is in the target already, and does it collide?"""
        if self.plan.if_exists is IfExists.KEEP:
            self._mark(Step.FINISHED)
        if self.plan.if_exists is IfExists.SYNC or self.state.step.reached(Step.CHECKED):
            return
        fresh = is_fresh(self.plan, self.target)
        if not fresh and self.plan.on_conflict is OnConflict.REFUSE:
            with closing(self.origin.source(self.plan.source)) as reader:
                refuse_collisions(self.plan, reader, self.target)
        self._mark(Step.CHECKED, fresh=fresh)

    def migrate(self) -> CollectionResult:
        if self.crew.stop.requested:
            raise interrupted(f"Stopped on request before '{self.plan.source}'.")
        self._wait()
        if self.plan.if_exists is IfExists.SYNC:
            return self._result(self.plan.target)
        made = self.plan.signed(self.run.id)
        if not self.state.step.reached(Step.FINISHED):  # preparing again could undo what finishing did
            with closing(self.target.sink(made)) as sink:
                lane = self._lane(sink)
                made = self._prepare(lane)
                self._copy(lane)
                self._finish(lane)
        return self._result(made)

    def _lane(self, sink: Sink) -> Lane:
        allowed = any(cell.policy is Policy.QUARANTINE for cell in self.plan.cells)
        return Lane(
            collection=self.plan.source,
            partition="",
            sink=sink,
            run=self.run,
            quarantine=allowed or self.crew.options.quarantine,
        )

    def _prepare(self, lane: Lane) -> CollectionSpec:
        first = not self.state.step.reached(Step.PREPARED)
        if first and self.plan.if_exists is IfExists.RECREATE:
            self._drop()
        spec = self.plan.signed(self.run.id)
        patience = self.crew.patience(f"Preparing '{self.plan.source}'", lane)
        made = retrying(lambda: lane.sink.prepare(spec), patience)
        if first:
            reach("sink.prepared")
            self._mark(Step.PREPARED)
        return made

    def _drop(self) -> None:
        power = require(
            self.target, Droppable, operation="drop a collection", instead="Remove it yourself, or choose another name."
        )
        power.drop(self.plan.target.qualified_name)
        reach("target.dropped")

    def _copy(self, lane: Lane) -> None:
        if self.state.step.reached(Step.COPIED):
            return
        left = max(0, self.plan.records - self.state.total.read)
        with self._stage(Stage.COPY, left), ExitStack() as stack:
            reader = stack.enter_context(closing(_Reader(self.origin, self.plan.source)))
            leave = stack.enter_context(leaving_alone(self.plan, self.target, fresh=self.state.fresh))
            self._copy_partitions(lane, reader, self._admit(reader.source, leave))
        if self.failed is None:
            self._mark(Step.COPIED)
            reach("collection.copied")

    def _admit(self, reader: Source, leave: Leave) -> Admit:
        """What the plan's policies, and what is in the target already, leave of a batch."""
        sieve = Sieve(self.plan, reader.describe(), self.target.limits)

        def admit(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int, tuple[Rejection, ...]]:
            passed, aside = sieve.apply(batch)
            kept = leave(passed)
            return kept, passed.num_rows - kept.num_rows, aside

        return admit

    def _copy_partitions(self, lane: Lane, reader: _Reader, admit: Admit) -> None:
        def copy(partitions: Sequence[Partition], crew: Crew) -> None:
            todo = [part for part in partitions if not self._checkpoint(part).done]
            source = reader.source
            try:
                _in_parallel(crew, todo, lambda part: self._copy_one(lane, source, part, admit, crew))
            except Interrupted:  # by a pause, perhaps: then what landed before is not copied again
                states = self.run.collections()
                self.state = replace(self.state, checkpoints=states[self.plan.source].checkpoints)
                raise

        wait = partial(self._wait, reader.close)
        plain = [part for part in self.plan.partitions if self.care is None or unit_of(part.id) is None]
        while not copied(self.crew, Pause(self.run.paused), lambda crew: copy(plain, crew)):
            wait()
        if self.care is None or len(plain) == len(self.plan.partitions):
            return
        try:
            Walk(self.plan.source, self.run, self.crew, copy, self.care, wait).go(self.plan.partitions)
        except (UnitsFailed, UnitsPaused) as error:
            self.failed = error

    def _wait(self, let_go: Callable[[], None] | None = None) -> None:
        wait_while_paused(self.run, stop=self.crew.stop, observer=self.crew.observer, let_go=let_go)

    def _checkpoint(self, partition: Partition) -> Checkpoint:
        return self.state.checkpoints.get(partition.id, Checkpoint())

    def _copy_one(self, lane: Lane, reader: Source, partition: Partition, admit: Admit, crew: Crew) -> None:
        copy_partition(
            reader,
            partition,
            self._checkpoint(partition),
            lane=replace(lane, partition=partition.id),
            crew=crew,
            admit=admit,
        )

    def _finish(self, lane: Lane) -> None:
        name, crew = self.plan.source, self.crew
        patience = crew.patience(f"Building the indexes of '{name}'", lane)
        with self._stage(Stage.INDEX, self.plan.records):
            finish = partial(retrying, lane.sink.finish, patience)
            wait_for(finish, lane.sink, name, observer=crew.observer, stop=crew.stop)
        if self.failed is None:
            self._mark(Step.FINISHED)
            reach("collection.finished")

    def _mark(self, step: Step, *, fresh: bool | None = None) -> None:
        self.run.mark(self.plan.source, step, fresh=fresh)
        self.state = replace(self.state, step=step, fresh=self.state.fresh if fresh is None else fresh)

    @contextmanager
    def _stage(self, stage: Stage, records: int) -> Iterator[None]:
        """Tell when a stage begins and ends, and remember its time, however it ends."""
        name, began = self.plan.source, time.monotonic()
        self.crew.observer(StageStarted(stage=stage, collection=name, records=records))
        try:
            yield
        except BaseException:
            with suppress(VecferryError):  # the error that ended the stage is the one to tell
                self.run.spend(name, stage.value, time.monotonic() - began)
            raise
        seconds = time.monotonic() - began
        self.run.spend(name, stage.value, seconds)
        self.crew.observer(StageFinished(stage=stage, collection=name, records=records, seconds=seconds))

    def _result(self, made: CollectionSpec) -> CollectionResult:
        state = self.run.collections()[self.plan.source]
        return CollectionResult(
            source=self.plan.source,
            target=made,
            records=state.total.written,
            skipped=state.total.skipped,
            rejected=state.total.rejected,
            bytes=state.total.bytes,
            kept=self.plan.target.count or 0 if self.plan.if_exists is IfExists.KEEP else 0,
            seconds=state.seconds,
        )


class _Reader:
    """A collection of the source: opened when it is read, closed (`close`) while the run is paused, and at the end."""

    def __init__(self, origin: Database, name: str) -> None:
        self._origin, self._name = origin, name
        self._source: Source | None = None

    @property
    def source(self) -> Source:
        if self._source is None:
            self._source = self._origin.source(self._name)
        return self._source

    def close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()


class _Teller:
    """The observer, one event at a time, with the ledger listening to what is rare."""

    def __init__(self, run: Run, observer: Observer) -> None:
        self._run = run
        self._observer = observer
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if not isinstance(event, Progress | Rejected):
                self._run.note(event)
            self._observer(event)


def _in_parallel(crew: Crew, todo: Sequence[Partition], work: Callable[[Partition], None]) -> None:
    """`work` for each partition, as many at a time as may be read, and one more whose last batches are landing.

    One after the other where one batch is in flight at a time. The first error stops the crew, and so the others.
    """
    if crew.options.jobs == 1:
        for partition in todo:
            work(partition)
        return
    with ThreadPoolExecutor(crew.options.readers + 1) as pool:
        futures = [pool.submit(work, partition) for partition in todo]
    for future in futures:
        future.result()
