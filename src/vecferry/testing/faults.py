"""Faults as data: what goes wrong, where, and at which time it comes by. Then resume, and compare with a quiet run.

    Fault("batch.written", Action.KILL, nth=3)            kill -9 when the third batch is durable
    Fault("read:id-000042", Action.RAISE)                 the source breaks off at the chunk with this record
    Fault("write:id-000042", Action.RAISE)                the sink refuses the batch with it, nothing is written
    Fault("written:id-000042", Action.RAISE)              the batch is written, the confirmation is lost
    Fault("written:id-000042", Action.DUPLICATE)          the batch is written twice

Places are the points of `vecferry.hooks.POINTS`, or a step of a connector and a record's id. A process of its own runs
under faults by `python -m vecferry.testing.faults 'kill@batch.written#3' -- ARGUMENTS OF vecferry`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event, Lock
from typing import TypeVar
from unittest.mock import patch

import pyarrow as pa

from vecferry import errors, hooks, registry
from vecferry.model import Chunk, Partition, Position, Receipt
from vecferry.protocols import Connector, Database, Sink, Source
from vecferry.url import StoreUrl

STEPS = frozenset({"read", "write", "written"})
"""Steps of a connector: a chunk was read, a batch is about to be written, a batch was written."""
Thing = TypeVar("Thing")
_TEXT = re.compile(r"(?P<action>[a-z]+)(?::(?P<error>[A-Za-z]+))?@(?P<place>.+?)(?:#(?P<nth>\d+))?")


class Action(StrEnum):
    """What happens."""

    KILL = "kill"
    """the process ends as by `kill -9`: no handler runs, nothing is flushed"""
    RAISE = "raise"
    PAUSE = "pause"
    """the thread waits until `Faults.resume`"""
    CUT = "cut"
    """`read` only: the source ends early, as if there were no more records"""
    DUPLICATE = "duplicate"
    """`read`: the chunk comes twice; `written`: the batch is written twice"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, the `nth` time that `place` is reached, once.

    Attributes:
        place: a point of `vecferry.hooks.POINTS`, or `STEP:ID` with a step of `STEPS` and a record's id.
        error: the class that `RAISE` raises.
    """

    place: str
    action: Action
    nth: int = 1
    error: type[errors.VecferryError] = errors.Unavailable

    def __post_init__(self) -> None:
        if self.place not in hooks.POINTS and self.place.partition(":")[0] not in STEPS:
            raise ValueError(f"There is no place '{self.place}'; points: {', '.join(hooks.POINTS)}.")
        wanted = {Action.CUT: ("read:",), Action.DUPLICATE: ("read:", "written:")}.get(self.action)
        if wanted and not self.place.startswith(wanted):
            raise ValueError(f"'{self.action}' can happen at {' and '.join(wanted)} only, not at '{self.place}'.")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """`ACTION[:ERROR]@PLACE[#NTH]`, for a command line."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError(f"'{text}' is not a fault: write ACTION[:ERROR]@PLACE[#NTH].")
        error = getattr(errors, found["error"] or "Unavailable")
        return cls(found["place"], Action(found["action"]), int(found["nth"] or 1), error)

    def __str__(self) -> str:
        error = f":{self.error.__name__}" if self.action is Action.RAISE else ""
        return f"{self.action}{error}@{self.place}#{self.nth}"


@dataclass(slots=True)
class Faults:
    """Faults that are lying in wait, and what became of them. Thread-safe.

    Attributes:
        reached: place -> how often it was reached; fired: the faults that happened, in order.
        paused: set while a thread waits in a `PAUSE`.
    """

    waiting: list[Fault]
    reached: dict[str, int] = field(default_factory=dict)
    fired: list[Fault] = field(default_factory=list)
    paused: Event = field(default_factory=Event)
    _go: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)

    def reach(self, place: str) -> Action | None:
        """A place was reached: kills, raises, or waits if a fault says so; the others are returned to the caller."""
        with self._lock:
            self.reached[place] = number = self.reached.get(place, 0) + 1
            fault = next((fault for fault in self.waiting if (fault.place, fault.nth) == (place, number)), None)
            if fault is None:
                return None
            self.fired.append(fault)
        if fault.action is Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.action is Action.RAISE:
            raise fault.error(f"fault: {fault}")
        if fault.action is Action.PAUSE:
            self.paused.set()
            self._go.wait()
        return fault.action

    def pass_by(self, place: str) -> None:
        """`reach`, where nobody asks what happened."""
        self.reach(place)

    def resume(self) -> None:
        """Let a paused thread, and every later one, go on."""
        self._go.set()

    def reach_step(self, step: str, ids: Sequence[str]) -> Action | None:
        """`reach` for each of `ids` that a fault names."""
        places = {fault.place for fault in self.waiting if fault.place.startswith(f"{step}:")}
        hit = [place for place in sorted(places) if place.partition(":")[2] in ids]
        return next((action for action in [self.reach(place) for place in hit] if action), None)


@contextmanager
def injected(*faults: Fault, scheme: str | None = None) -> Iterator[Faults]:
    """Let `faults` happen in this process: at hook points, and in stores opened by URL (of `scheme` only, if given)."""
    state = Faults(list(faults))
    real = registry.connector

    def connector(wanted: str) -> Connector:
        found = real(wanted)
        return FaultyConnector(found, state) if scheme in (None, wanted) else found

    hooks.install(state.pass_by)
    try:
        with patch.object(registry, "connector", connector):
            yield state
    finally:
        hooks.install(None)
        state.resume()


class FaultyConnector:
    """A connector whose sources and sinks meet faults. Everything else, powers included, is the real one's."""

    def __init__(self, connector: Connector, faults: Faults) -> None:
        self._connector = connector
        self._faults = faults

    def open(self, url: StoreUrl) -> Database:
        database = self._connector.open(url)
        faults, source, sink = self._faults, database.source, database.sink
        return _overridden(
            database,
            source=lambda name: faulty_source(source(name), faults),
            sink=lambda spec: faulty_sink(sink(spec), faults),
        )


def faulty_source(source: Source, faults: Faults) -> Source:
    """`source`, whose `read` meets the `read:ID` faults."""
    real = source.read

    def read(partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        for chunk in real(partition, after=after):
            action = faults.reach_step("read", chunk.batch.column("id").to_pylist())
            if action is Action.CUT:
                return
            yield chunk
            if action is Action.DUPLICATE:
                yield chunk

    return _overridden(source, read=read)


def faulty_sink(sink: Sink, faults: Faults) -> Sink:
    """`sink`, whose `write` meets the `write:ID` and `written:ID` faults."""
    real = sink.write

    def write(batch: pa.RecordBatch) -> Receipt:
        ids = batch.column("id").to_pylist()
        faults.reach_step("write", ids)
        receipt = real(batch)
        if faults.reach_step("written", ids) is Action.DUPLICATE:
            real(batch)
        return receipt

    return _overridden(sink, write=write)


def _overridden(thing: Thing, **methods: object) -> Thing:
    """`thing` itself, with some methods replaced: so it keeps every power that it has."""
    for name, method in methods.items():
        object.__setattr__(thing, name, method)
    return thing


def main(arguments: Sequence[str]) -> None:
    """Run the command line under the faults that stand before `--`."""
    from vecferry.cli import main as run

    cut = list(arguments).index("--")
    sys.argv = ["vecferry", *arguments[cut + 1 :]]
    with injected(*map(Fault.parse, arguments[:cut])):
        run()


if __name__ == "__main__":
    main(sys.argv[1:])
