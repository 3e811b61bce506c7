"""Remembers a run's events for its report, in memory that does not grow with the run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from threading import Lock

from vecferry import events
from vecferry.report.model import Moment, Rate, RunFacts, SourcePace

_SLICES = 240
"""Points of a throughput curve, at most; past that, neighbours are joined and slices are twice as wide."""
_NOTES = 100
_ERRORS = 50
_MOMENTS = 2000


class _Curve:
    """Records per slice of time; the slices grow, their number does not."""

    def __init__(self) -> None:
        self.width = 0.25
        self.slices: dict[int, int] = {}

    def add(self, seconds: float, records: int) -> None:
        while seconds >= self.width * _SLICES:
            self.width *= 2
            joined: dict[int, int] = {}
            for place, count in self.slices.items():
                joined[place // 2] = joined.get(place // 2, 0) + count
            self.slices = joined
        place = int(max(0.0, seconds) / self.width)
        self.slices[place] = self.slices.get(place, 0) + records


class Recorder:
    """An observer. Thread-safe. Ask for `facts()` at the end; hand events on with `then`."""

    def __init__(self, then: events.Observer = events.silent) -> None:
        self._then = then
        self._lock = Lock()
        self._began: float | None = None
        self._run, self._resumed = "", 0
        self._open: dict[tuple[str, str], float] = {}
        self._moments: list[Moment] = []
        self._seconds: dict[str, float] = {}
        self._curves: dict[str, _Curve] = {}
        self._retries: Counter[str] = Counter()
        self._slowed = 0
        self._notes: list[str] = []
        self._pace: SourcePace | None = None

    def __call__(self, event: events.Event) -> None:
        with self._lock:
            self._began = event.at if self._began is None else min(self._began, event.at)
            self._remember(event, event.at - self._began)
        self._then(event)

    def facts(self) -> RunFacts:
        """What was seen so far."""
        with self._lock:
            return RunFacts(
                id=self._run,
                resumed=self._resumed,
                started=None if self._began is None else datetime.fromtimestamp(self._began, UTC),
                seconds={stage: round(seconds, 6) for stage, seconds in self._seconds.items()},
                moments=tuple(self._moments),
                rates=tuple(
                    Rate(stage=stage, at=place * curve.width, width=curve.width, records=records)
                    for stage, curve in self._curves.items()
                    for place, records in sorted(curve.slices.items())
                ),
                retries=dict(self._retries),
                slowed=self._slowed,
                notes=tuple(self._notes),
                pace=self._pace,
            )

    def _remember(self, event: events.Event, at: float) -> None:
        match event:
            case events.StageStarted():
                self._open[event.stage, event.collection] = at
            case events.StageFinished():
                self._finished(event, at)
            case events.Progress():
                self._curves.setdefault(event.stage, _Curve()).add(at, event.records)
            case events.Retried():
                error = event.error if event.error in self._retries or len(self._retries) < _ERRORS else "other errors"
                self._retries[error] += 1
            case events.Paced():
                self._slowed += 1
            case events.Eased():
                self._pace = _eased(event, self._pace)
            case events.RunStarted():
                self._run, self._resumed = event.run, event.done
            case events.Notice() if len(self._notes) < _NOTES:
                self._notes.append(f"{event.collection}: {event.message}" if event.collection else event.message)
            case _:
                pass

    def _finished(self, event: events.StageFinished, at: float) -> None:
        begin = self._open.pop((event.stage, event.collection), max(0.0, at - event.seconds))
        self._seconds[event.stage] = self._seconds.get(event.stage, 0.0) + event.seconds
        if len(self._moments) < _MOMENTS:
            self._moments.append(Moment(stage=event.stage, collection=event.collection, begin=begin, end=at))


def _eased(event: events.Eased, before: SourcePace | None) -> SourcePace:
    return SourcePace(
        collection=event.collection,
        per_second=event.per_second,
        least=min(event.per_second, before.least if before else event.per_second),
        most=max(event.per_second, before.most if before else event.per_second),
        p95=event.p95_of_all,
        idle=event.idle,
        bound=event.bound,
        cuts=event.cuts,
    )
