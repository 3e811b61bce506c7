"""The HTML page: one file, no script, nothing fetched, every value escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from vecferry.progress import duration, size
from vecferry.report import plots, text
from vecferry.report.model import CollectionFacts, Report, VerdictKind
from vecferry.report.verdict import LOW_RECALL, given_up
from vecferry.verification.model import Check, Finding, Level, State

LISTED = 200
"""Differences, losses and set-aside records that the page lists of each kind; the JSON file has more."""
_WORST = (State.DIFFERENT, State.NOT_CHECKED, State.OK, State.NOT_APPLICABLE)
_TONE = {
    VerdictKind.PROVEN: "good",
    VerdictKind.RECORDS_PROVEN: "good",
    VerdictKind.DIFFERENT: "bad",
    VerdictKind.INCOMPLETE: "open",
    VerdictKind.NOT_VERIFIED: "open",
}
_HEADLINE = {
    VerdictKind.PROVEN: "Nothing was lost",
    VerdictKind.RECORDS_PROVEN: "No record was lost",
    VerdictKind.DIFFERENT: "Differences found",
    VerdictKind.INCOMPLETE: "Not fully checked",
    VerdictKind.NOT_VERIFIED: "Not verified",
}
MEANING = {
    Level.SCHEMA: "Dimensions, metric, number type, vector names, kind of ids and indexes are as planned.",
    Level.COUNTS: "Both sides hold the same number of records, counted by reading all of them.",
    Level.IDS: "Every id of the source is in the target, and no other.",
    Level.CONTENT: "A keyed digest of every record: vectors to the bit, document, uri, and metadata with its types.",
    Level.ORDER: "The target can give the records back in the source's order.",
    Level.SEARCH: "Exact search finds the same on both sides; then, how much of that the target's own search finds.",
    Level.FILTERS: "Filters made from the collection's metadata match the same number of records on both sides.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A check or a finding with the collection that it belongs to."""

    collection: CollectionFacts
    check: Check
    finding: Finding | None = None


@dataclass(slots=True)
class Group:
    """The same thing said of several collections."""

    facts: tuple[str, ...]
    collections: list[CollectionFacts] = field(default_factory=list)
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, collection: CollectionFacts, count: int) -> None:
        self.collections.append(collection)
        self.count += count


def render(report: Report) -> str:
    """The page as text."""
    environment = _environment()
    return environment.get_template("report.html").render(
        report=report,
        style=Markup(_asset("style.css")),  # noqa: S704 - our own file
        policy=_policy(),
        tone=_TONE[report.verdict.kind],
        headline=headline(report),
        levels=list(Level),
        meaning=MEANING,
        worst=worst,
        differences=list(_differences(report)),
        left_out=_left_out(report),
        losses=_losses(report),
        prefix=common_prefix(report.collections),
        searches=list(_searches(report)),
        listed=LISTED,
        low_recall=LOW_RECALL,
        copied=[c.copied for c in report.collections if c.copied is not None],
        most=max((c.records for c in report.collections), default=0) or 1,
        throughput=plots.throughput(report.run) if report.run else None,
        time_line=plots.time_line(report.run) if report.run else (),
        slowest=plots.longest_latency(report.collections),
        stages=[stage for stage in plots.STAGES if report.seconds.get(stage)],
    )


def headline(report: Report) -> str:
    """The verdict in three words; what was given up or set aside is never passed over."""
    proven = report.verdict.kind in {VerdictKind.PROVEN, VerdictKind.RECORDS_PROVEN}
    if proven and (given_up(report.collections) or any(c.rejections for c in report.collections)):
        return "Nothing was lost but what was accepted"
    return _HEADLINE[report.verdict.kind]


def worst(collection: CollectionFacts, level: Level) -> Check | None:
    """The check of a level that a reader must know of, None where there was none."""
    checks = (
        [check for check in collection.verification.checks if check.level is level] if collection.verification else []
    )
    return min(checks, key=lambda check: _WORST.index(check.state), default=None)


def _checks(report: Report) -> Iterator[Row]:
    for collection in report.collections:
        for check in collection.verification.checks if collection.verification else ():
            yield Row(collection, check)


def _differences(report: Report) -> Iterator[Row]:
    return (Row(row.collection, row.check, finding) for row in _checks(report) for finding in row.check.findings)


def _left_out(report: Report) -> list[Group]:
    """Everything that was not looked at, with the reason; equal reasons of several collections stand together."""
    groups: dict[tuple[str, ...], Group] = {}
    for row in _checks(report):
        reasons = dict(row.check.skipped)
        if row.check.state is State.NOT_CHECKED and not reasons:
            reasons = {row.check.note: 0}
        for reason, count in reasons.items():
            group = groups.setdefault((row.check.level, reason), Group((row.check.level.value, reason)))
            group.add(row.collection, count)
    return list(groups.values())


def _losses(report: Report) -> list[Group]:
    """What the target holds in another form; the same of several collections stands together."""
    groups: dict[tuple[str, ...], Group] = {}
    for collection in report.collections:
        for cell in collection.losses:
            facts = (cell.shape, cell.verdict.value, cell.meaning, cell.policy.value if cell.policy else "")
            group = groups.setdefault(facts, Group(facts))
            group.add(collection, cell.count)
            group.examples += cell.examples[: 2 - len(group.examples)]
    return sorted(groups.values(), key=lambda group: group.facts[1] not in {"lossy", "impossible"})


def common_prefix(collections: Sequence[CollectionFacts]) -> str:
    """The namespace that all source names share, with its last slash; names are shown without it."""
    parents = {name.rpartition("/")[0] for name in (c.source for c in collections) if name}
    return f"{parents.pop()}/" if len(parents) == 1 and "" not in parents else ""


def _searches(report: Report) -> Iterator[Row]:
    return (row for row in _checks(report) if row.check.level is Level.SEARCH and row.check.figures)


@cache
def _asset(name: str) -> str:
    return files("vecferry.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """A Content-Security-Policy that allows this page's own style sheet, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_asset("style.css").encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    names = ("report.html", "plots.html")
    environment = Environment(
        loader=DictLoader({name: _asset(f"{name}.j2") for name in names}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": text.shown,
        "number": text.number,
        "figure": text.figure,
        "percent": text.percent,
        "ms": text.milliseconds,
        "when": text.when,
        "words": text.words,
        "duration": duration,
        "size": size,
    }
    return environment
