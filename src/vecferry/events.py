"""One typed event for every thing that happens. Bars, logs, the ledger's history and later the server consume them.

Events are frozen and flat; they never hold a secret, a vector or a document. `at` is wall-clock time, seconds since
the epoch; durations are seconds of a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """The steps of a migration, in order; `seconds` in results and reports has these keys."""

    INSPECT = "inspect"
    BACKUP = "backup"
    COPY = "copy"
    INDEX = "index"
    VERIFY = "verify"
    PARITY = "parity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened."""

    at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(Event):
    """`records` is what the stage will go through, None where it cannot know."""

    stage: Stage
    collection: str = ""
    records: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """`records` more records of this collection have passed this stage (durable, for COPY)."""

    stage: Stage
    collection: str
    records: int
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished(Event):
    stage: Stage
    collection: str = ""
    records: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    run: str
    resumed: bool
    records: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    run: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(Event):
    """A retryable error; the same batch goes again after `wait` seconds."""

    collection: str
    partition: str
    attempt: int
    wait: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced(Event):
    """The engine changed how hard it pushes."""

    in_flight: int
    batch_bytes: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Eased(Event):
    """How fast the source may be read, so that its own searches stay quick.

    `per_second`: records; it was made less `cuts` times. `p95` of the latest searches, `p95_of_all` of those since
    reading began, `idle` before that, and the `bound` that is kept: in seconds. `reason` where the pace has changed.
    """

    collection: str
    per_second: float
    p95: float
    p95_of_all: float
    idle: float
    bound: float
    cuts: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """One record went to quarantine."""

    collection: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitChanged(Event):
    """A unit of a collection (the records with one value of a column) has another state now.

    `unit` is the value as JSON text; `state` one of pending, in_progress, completed, failed, stays.
    """

    collection: str
    unit: str
    state: str
    total: int
    moved: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """Something a person should know; `level` is info or warning."""

    message: str
    level: str = "info"
    collection: str = ""


Observer = Callable[[Event], None]


def silent(_: Event) -> None:
    """The observer that looks away."""


_listener: Observer = silent


def tell(event: Event) -> None:
    """Tell whoever listens in this process: for what happens where no observer was handed down, as in opening a URL."""
    _listener(event)


@contextmanager
def listening(observer: Observer) -> Iterator[None]:
    """Hear what is told during the block."""
    global _listener  # one per process, on purpose: it is for a command line
    before, _listener = _listener, observer
    try:
        yield
    finally:
        _listener = before
