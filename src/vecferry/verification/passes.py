"""One collection opened on both sides with readers of its own, and both sides scanned at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import randbits
from tempfile import TemporaryDirectory

import pyarrow as pa

from vecferry.arrow import schema
from vecferry.engine.stop import Stop
from vecferry.errors import DataError, Interrupted, NotFound
from vecferry.events import Observer, Progress, Stage
from vecferry.limits import Limits
from vecferry.model import Chunk, CollectionSpec, Partition, Position
from vecferry.planning.elements import comparable_spec, retyped
from vecferry.protocols import Database, Predictive, Source
from vecferry.verification.elsewhere import Elsewhere, Helper, Job
from vecferry.verification.lookup import pick
from vecferry.verification.model import VerifyOptions
from vecferry.verification.sample import Sample
from vecferry.verification.scan import Side, scan
from vecferry.verification.tries import Tries

SAMPLED = 1000
"""Records that questions are drawn from."""


class Absent:
    """A collection that the target does not have, read as an empty one, so that every record counts as missing."""

    def __init__(self, spec: CollectionSpec) -> None:
        self._spec = spec

    def describe(self) -> CollectionSpec:
        return self._spec

    def partitions(self) -> list[Partition]:
        return []

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        raise AssertionError(partition, after)  # there are no partitions

    def close(self) -> None:
        """Nothing is held."""


class Todo:
    """The partitions that nobody reads yet; whoever is free takes the next one. Thread-safe."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        self._left = deque(partitions)

    def take(self) -> Partition | None:
        """A partition, None where none is left."""
        try:
            return self._left.popleft()
        except IndexError:
            return None


@dataclass(slots=True)
class Pass:
    """One collection under verification."""

    name: str
    """as the caller names it in the source"""
    target_name: str
    source: Source
    target: Source
    raw_spec: CollectionSpec
    """the source's, as it is"""
    source_spec: CollectionSpec
    """the source's, with the vectors of the target, their names and number types: what is compared"""
    target_spec: CollectionSpec
    limits: Limits
    """the target's"""
    options: VerifyOptions
    folder: Path
    stop: Stop
    tries: Tries
    observer: Observer
    set_aside: pa.Array
    sample: Sample
    left: Side
    right: Side
    rest: Side
    """what this process reads of the target where another one reads it too"""
    elsewhere: Elsewhere | None = None
    """the process that scans the target, where that is worth one"""
    predicted: Predictive | None = None
    """what knows how records come back from the target, where anything does"""
    others: int = 0
    """records of others in a target that is shared, once both sides were read"""

    @property
    def shared(self) -> bool:
        """Whether the target may hold records that the source has not."""
        return self.target_name in self.options.shared

    def wanted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` without the records that the plan set aside, with the target's number types."""
        batch = pick(batch, self.set_aside, keep=False) if len(self.set_aside) else batch
        return retyped(batch, self.raw_spec, self.source_spec)

    def expected(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, CollectionSpec]:
        """What the target should give back for a batch of the source."""
        batch = self.wanted(batch)
        if self.predicted is not None and batch.num_rows:
            batch = self.predicted.expect(batch)
        return batch, _spec_of(batch, self.target_spec, self.source_spec)

    def found(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, CollectionSpec]:
        """A batch of the target, as it is."""
        return batch, self.target_spec

    def scan(self) -> None:
        """Read both sides to the end, at the same time; a failure of one stops the other.

        Where another process reads the target, this one helps it once the source is read.
        """
        seed, stop = randbits(64), self.stop.child()
        tries = self.tries.under(stop)
        todo = Todo(tries.call("listing partitions", self.target.partitions))
        with ThreadPoolExecutor(2, thread_name_prefix="verify") as pool:
            jobs = [
                pool.submit(self._scan_source, todo, seed, tries),
                pool.submit(self._scan_target, todo, seed, tries, stop),
            ]
            for job in jobs:
                job.add_done_callback(lambda done: stop.request() if done.exception() else None)
            try:
                wait(jobs)
            except BaseException:  # Ctrl-C: the threads would go on to the end
                stop.request()
                raise
        errors = [error for job in jobs if (error := job.exception()) is not None]
        # The one that failed first stopped the other; its own error says more than "stopped".
        for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
            raise error

        if self.elsewhere is not None:
            self.right.absorb(self.rest)

    def close(self) -> None:
        """Let go of all files."""
        for side in (self.left, self.right, self.rest):
            side.close()

    def _scan_source(self, todo: Todo, seed: int, tries: Tries) -> None:
        scan(self.source, self.left, seed=seed, view=self.expected, tries=tries, seen=self._saw)
        if self.elsewhere is not None:
            self._read_target(self.rest, todo, seed, tries)

    def _scan_target(self, todo: Todo, seed: int, tries: Tries, stop: Stop) -> None:
        if self.elsewhere is None:
            self._read_target(self.right, todo, seed, tries)
            return
        empty = self.right
        job = Job(self.target_name, self.name, empty, seed, self.options.deadline_seconds)
        self.right = self.elsewhere.scan(job, todo.take, stop=stop, observer=self.observer)
        empty.close()

    def _read_target(self, side: Side, todo: Todo, seed: int, tries: Tries) -> None:
        partitions = iter(todo.take, None)
        scan(self.target, side, seed=seed, view=self.found, tries=tries, seen=_ignore, partitions=partitions)

    def _saw(self, chunk: Chunk) -> None:
        self.sample.add(self.wanted(chunk.batch))
        self.observer(Progress(stage=Stage.VERIFY, collection=self.name, records=chunk.batch.num_rows))


def _ignore(_: Chunk) -> None:
    """Progress is told by the source's side alone."""


def _spec_of(batch: pa.RecordBatch, *candidates: CollectionSpec) -> CollectionSpec:
    """The spec whose batches look like this one."""
    for spec in candidates:
        if batch.schema.equals(schema(spec)):
            return spec
    raise DataError(
        f"The expected read-back of {candidates[-1].qualified_name} is no batch of source or target.",
        hint="This is a fault of the target's connector (its `expect`): please report it.",
    )


@dataclass(frozen=True, slots=True)
class Both:
    """Two stores that are compared: what is asked for, who is told, who may stop it, and who helps to read the target.

    `helper` reads the target in a process of its own where that is worth one; who made it closes it. None: never.
    """

    source: Database
    target: Database
    options: VerifyOptions
    observer: Observer
    stop: Stop
    helper: Helper | None

    @contextmanager
    def open(self, pair: tuple[str, str]) -> Iterator[Pass]:
        """Open both sides of one pair of collections; a target that is not there counts as empty.

        Raises:
            NotFound: the source has no such collection.
        """
        with ExitStack() as stack:
            temporary = TemporaryDirectory(prefix="vecferry-verify-", dir=self.options.folder)
            folder = Path(stack.enter_context(temporary))
            source = stack.enter_context(closing(self.source.source(pair[0])))
            target = stack.enter_context(closing(_target(self.target, pair[1], source.describe())))
            spec = target.describe()
            helper = None if isinstance(target, Absent) else self.helper
            reader = None if helper is None else helper.start(spec.count or 0)
            sink = stack.enter_context(closing(self.target.sink(spec)))
            one = self._pass(pair, source, target, folder)
            one.predicted = sink if isinstance(sink, Predictive) and not isinstance(target, Absent) else None
            one.elsewhere = reader
            stack.callback(one.close)
            yield one

    def _pass(self, pair: tuple[str, str], source: Source, target: Source, folder: Path) -> Pass:
        raw_spec, target_spec, options = source.describe(), target.describe(), self.options
        names = ("source", "target", "rest")
        left, right, rest = (Side(folder / name, limit=options.spill_bytes, by=options.by) for name in names)
        return Pass(
            name=pair[0],
            target_name=pair[1],
            source=source,
            target=target,
            raw_spec=raw_spec,
            source_spec=comparable_spec(raw_spec, target_spec),
            target_spec=target_spec,
            limits=self.target.limits,
            options=options,
            folder=folder,
            stop=self.stop,
            tries=Tries(pair[0], stop=self.stop, deadline_seconds=options.deadline_seconds, observer=self.observer),
            observer=self.observer,
            set_aside=pa.array(list(options.set_aside.get(pair[0], {})), pa.string()),
            sample=Sample(max(SAMPLED, options.queries), seed=options.seed),
            left=left,
            right=right,
            rest=rest,
        )


def _target(database: Database, name: str, source: CollectionSpec) -> Source:
    try:
        return database.source(name)
    except NotFound:
        return Absent(replace(source, name=name, namespace=(), count=0, card=None, config={}))
