"""Observers for a person and for a machine: live bars on a terminal, log lines in a pipe, JSON lines in a file."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TextIO

import orjson

from vecferry import events
from vecferry.errors import ConfigError
from vecferry.events import Event, Observer, Stage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_EVERY = 2.0
"""Seconds between two log lines of one collection."""
_VERB = {
    Stage.INSPECT: "inspect",
    Stage.BACKUP: "back up",
    Stage.COPY: "copy",
    Stage.INDEX: "build index",
    Stage.VERIFY: "verify",
    Stage.PARITY: "compare search",
}


@contextmanager
def observer(console: Console, *, quiet: bool, log: Path | None) -> Iterator[Observer]:
    """The observer that suits `console` (standard error) and the options; it is finished when the block ends."""
    with ExitStack() as stack:
        seen: list[Observer] = []
        if not quiet:
            seen.append(stack.enter_context(bars(console)) if console.is_terminal else Lines(sys.stderr))
        if log is not None:
            seen.append(json_lines(stack.enter_context(_opened(log))))

        def observe(event: Event) -> None:
            _tell(seen, event)

        with events.listening(observe):
            yield observe


def _opened(log: Path) -> TextIO:
    try:
        return log.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The log {log} cannot be written: {error.strerror}.", hint="Choose another file with --log."
        ) from error


def _tell(observers: list[Observer], event: Event) -> None:
    for observe in observers:
        observe(event)


def json_lines(stream: TextIO) -> Observer:
    """One JSON object a line: the event's type under `event`, then its fields."""

    def observe(event: Event) -> None:
        record = {"event": type(event).__name__, **dataclasses.asdict(event)}
        stream.write(orjson.dumps(record).decode() + "\n")
        stream.flush()

    return observe


class Tally:
    """How far one collection is in one stage."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.records = 0
        self.began = self.spoke = time.monotonic()

    def rate(self) -> float:
        """Records per second since the beginning."""
        return self.records / max(time.monotonic() - self.began, 1e-9)

    def left(self) -> str:
        """Time left, as words."""
        if not self.total or not self.records:
            return ""
        return f", {duration((self.total - self.records) / self.rate())} left"


class Lines:
    """Plain log lines: the start and the end of every stage, and progress every few seconds."""

    def __init__(self, stream: TextIO, *, every: float = LINE_EVERY) -> None:
        self._stream = stream
        self._pace = ""
        self._every = every
        self._tallies: dict[tuple[Stage, str], Tally] = {}
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            line = self._line(event)
        if line:
            print(line, file=self._stream, flush=True)

    def _line(self, event: Event) -> str | None:
        if isinstance(event, events.StageStarted):
            self._tallies[event.stage, event.collection] = Tally(event.records)
            return None
        if isinstance(event, events.Progress):
            return self._progress(event)
        if isinstance(event, events.Eased):
            self._pace = f"; {pace(event)}"
            return None
        if isinstance(event, events.StageFinished) and event.collection:
            size = f": {event.records:,} records" if event.records else ""
            return f"{_VERB[event.stage]} {event.collection}{size} in {duration(event.seconds)}"
        return sentence(event)

    def _progress(self, event: events.Progress) -> str | None:
        tally = self._tallies.setdefault((event.stage, event.collection), Tally(None))
        tally.records += event.records
        if time.monotonic() - tally.spoke < self._every:
            return None
        tally.spoke = time.monotonic()
        total = f" of {tally.total:,}" if tally.total else ""
        how_far = f"{tally.records:,}{total} records, {tally.rate():,.0f}/s{tally.left()}{self._pace}"
        return f"{_VERB[event.stage]} {event.collection}: {how_far}"


def pace(event: events.Eased) -> str:
    """How fast the source may be read, and why not faster."""
    p95, bound = (f"{seconds * 1000:.1f}" for seconds in (event.p95, event.bound))
    return f"pace {event.per_second:,.0f}/s, source's p95 {p95} of {bound} ms"


def sentence(event: Event) -> str | None:
    """What a person should read of an event that is no progress; None where nothing is to be said."""
    match event:
        case events.RunStarted(resumed=True):
            return f"Resuming run {event.run}: {event.done:,} of {event.records:,} records are there already."
        case events.Retried():
            return f"{event.collection}: {event.error} Trying again in {event.wait:.1f} s (attempt {event.attempt})."
        case events.Rejected():
            return f"{event.collection}: record {event.id!r} set aside: {event.reason}"
        case events.Notice():
            return f"{event.collection}: {event.message}" if event.collection else event.message
    return None


@contextmanager
def bars(console: Console) -> Iterator[Observer]:
    """Live bars on a terminal, one for each collection and stage."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[amount]}", justify="right"),
        TextColumn("{task.fields[rate]}", justify="right"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, refresh_per_second=8) as progress:
        yield _Drawer(progress)


class _Drawer:
    """Draws one bar for each collection and stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[Stage, str], tuple[TaskID, Tally]] = {}
        self._pace = ""
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case events.Eased():
                    self._pace = f" ({pace(event)})"
                case events.StageStarted(collection=name) if name:
                    self._start(event)
                case events.Progress():
                    self._advance(event)
                case events.StageFinished():
                    self._finish(event)
                case _:
                    self._say(event)

    def _start(self, event: events.StageStarted) -> None:
        name = f"{_VERB[event.stage]} [bold]{_escape(event.collection)}[/]"
        task = self._progress.add_task(name, total=event.records or None, amount="", rate="")
        self._tasks[event.stage, event.collection] = (task, Tally(event.records))

    def _advance(self, event: events.Progress) -> None:
        if (event.stage, event.collection) not in self._tasks:
            self._start(events.StageStarted(stage=event.stage, collection=event.collection))
        task, tally = self._tasks[event.stage, event.collection]
        tally.records += event.records
        rate = f"{tally.rate():,.0f}/s{self._pace}"
        self._progress.update(task, completed=tally.records, amount=f"{tally.records:,}", rate=rate)

    def _finish(self, event: events.StageFinished) -> None:
        if found := self._tasks.get((event.stage, event.collection)):
            done = found[1].records or 1
            self._progress.update(found[0], total=done, completed=done, rate=duration(event.seconds))

    def _say(self, event: Event) -> None:
        if said := sentence(event):
            self._progress.console.print(said, markup=False, highlight=False)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def duration(seconds: float) -> str:
    """A length of time as a person says it: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 9.95:  # from here on it would be written as 10.0
        return f"{max(seconds, 0):.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(number: float) -> str:
    """A number of bytes as a person says it."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < (999.5 if unit == "B" else 999.95):  # past that it would be written as 1000
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
