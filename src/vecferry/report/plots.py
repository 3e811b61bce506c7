"""The geometry of the report's plots, as shares of a drawing 100 wide: the macros in templates/plots draw it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vecferry.report.model import CollectionFacts, Moment, Rate, RunFacts

STAGES = ("inspect", "backup", "copy", "index", "verify", "parity")
_ROWS = 40
HEIGHT = 40.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve of records per second. Points are in a drawing of 100 x `HEIGHT`, y downwards."""

    stage: str
    line: str
    area: str


@dataclass(frozen=True, slots=True)
class Throughput:
    """Curves under one scale. `tops` are the labels of the y axis from the top down, `ends` those of the x axis."""

    curves: tuple[Curve, ...]
    tops: tuple[float, ...]
    ends: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the time line."""

    stage: str
    x: float
    width: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """A collection on the time line."""

    collection: str
    spans: tuple[Span, ...]


def throughput(run: RunFacts) -> Throughput | None:
    """Records per second over time, of the stages that move or read records; None where too little was seen."""
    stages = [stage for stage in ("copy", "verify") if sum(rate.stage == stage for rate in run.rates) >= 4]
    if not stages:
        return None
    shown = [rate for rate in run.rates if rate.stage in stages]
    begin, end = min(r.at for r in shown), max(r.at + r.width for r in shown)
    top = nice(max(r.records / r.width for r in shown))
    curves = tuple(_curve(stage, [r for r in shown if r.stage == stage], begin, end, top) for stage in stages)
    return Throughput(curves, (top, top / 2, 0.0), (begin, (begin + end) / 2, end))


def nice(value: float) -> float:
    """The next round number from `value` up: 1, 2, 2.5, 4, 5, 6 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 2.5, 4, 5, 6, 8) if step * power >= value), 10 * power)


def _curve(stage: str, rates: Sequence[Rate], begin: float, end: float, top: float) -> Curve:
    """Steps: a slice's rate holds over the whole slice, and a slice without records is a gap at zero."""
    points: list[tuple[float, float]] = []
    last = rates[0].at
    for rate in rates:
        if rate.at > last + 1e-9:
            points += [(last, 0.0), (rate.at, 0.0)]
        height = rate.records / rate.width
        points += [(rate.at, height), (rate.at + rate.width, height)]
        last = rate.at + rate.width
    placed = [(100 * (x - begin) / (end - begin), HEIGHT * (1 - y / top)) for x, y in points]
    line = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in placed)
    return Curve(stage, line, f"M{placed[0][0]:.2f} {HEIGHT:g}L{line[1:]}L{placed[-1][0]:.2f} {HEIGHT:g}Z")


def time_line(run: RunFacts) -> tuple[Row, ...]:
    """What happened when, a row per collection; stages of the run as a whole stand in a row without a name."""
    if not run.moments:
        return ()
    end = max(moment.end for moment in run.moments) or 1.0
    names = list(dict.fromkeys(moment.collection for moment in run.moments))[:_ROWS]
    rows = [(name, [moment for moment in run.moments if moment.collection == name]) for name in names]
    return tuple(Row(name, tuple(_span(moment, end) for moment in moments)) for name, moments in rows)


def _span(moment: Moment, end: float) -> Span:
    width = 100 * (moment.end - moment.begin) / end
    return Span(moment.stage, min(100 * moment.begin / end, 99.6), max(width, 0.4), moment.end - moment.begin)


def longest_latency(collections: Sequence[CollectionFacts]) -> float:
    """The scale of the latency bars."""
    sides = [s for c in collections if c.comparison for s in (c.comparison.source, c.comparison.target) if s]
    return max((side.p95_ms for side in sides), default=1.0) or 1.0
