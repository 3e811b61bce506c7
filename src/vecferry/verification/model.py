"""What verification finds, as frozen values. "Not checked" is never shown as "ok". No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vecferry.model import CollectionSpec
from vecferry.planning.breakdown import Breakdown
from vecferry.planning.model import Profile


class Level(StrEnum):
    """What a check looks at (docs/explanation/verification.md has the table of what catches what)."""

    SCHEMA = "schema"
    COUNTS = "counts"
    IDS = "ids"
    CONTENT = "content"
    ORDER = "order"
    SEARCH = "search"
    FILTERS = "filters"


DATA_LEVELS = frozenset({Level.SCHEMA, Level.COUNTS, Level.IDS, Level.CONTENT, Level.ORDER})
"""What proves that the records arrived; the other levels ask whether the target answers like the source."""


REORDERED = "reordered"
"""Figure of an order check: records of a synchronised collection that come in another order, which is told, and is no
difference."""


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    DIFFERENT = "different"
    NOT_CHECKED = "not-checked"
    """left out, or not gone through to the end; `Check.note` says why"""
    NOT_APPLICABLE = "not-applicable"
    """the source has nothing of the kind (no order, no metadata), so that nothing could be lost"""


class Difference(StrEnum):
    """What is wrong with one record."""

    MISSING = "missing"
    """in the source, not in the target"""
    EXTRA = "extra"
    """in the target, not in the source: reported, never deleted without being asked"""
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference. `what` names the fields that differ and how; never vectors or whole documents."""

    difference: Difference
    id: str
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of one collection.

    Attributes:
        scanned: source records or queries that the check went through; compared: those it had a partner for.
        skipped: reason -> number of things not looked at.
        differences: how many, in all; `findings` holds at most the first 1,000.
        figures: numbers of the check, such as recall@10 or max_score_difference.
        note: one sentence for a person, above all why a check was not made.
    """

    level: Level
    state: State
    scanned: int = 0
    compared: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    differences: int = 0
    findings: tuple[Finding, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """It was gone through to the end, and found no difference."""
        return self.state in (State.OK, State.NOT_APPLICABLE) or REORDERED in self.figures


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionVerification:
    """All checks of one collection."""

    source: str
    target: str
    records: int
    checks: tuple[Check, ...]
    breakdowns: tuple[Breakdown, ...] = ()
    """the records of both sides by each metadata key that was asked for"""

    @property
    def differences(self) -> int:
        """Differences of all checks, each counted once.

        One missing record is one difference, although it shows in the counts, and although the searches and filters
        that should find it come out otherwise too: those count only where the records are all the same.
        """
        by_level = dict.fromkeys(Level, 0)
        for check in self.checks:
            by_level[check.level] += check.differences
        by_level[Level.COUNTS] -= min(by_level[Level.COUNTS], by_level[Level.IDS])
        data = sum(by_level[level] for level in DATA_LEVELS)
        return data or sum(by_level.values())

    @property
    def identical(self) -> bool:
        """Every data level was gone through to the end and found no difference."""
        data = [check for check in self.checks if check.level in DATA_LEVELS]
        return all(check.finished for check in data) and {check.level for check in data} == DATA_LEVELS

    def check(self, level: Level) -> Check | None:
        """The first check of `level`, or None."""
        return next((check for check in self.checks if check.level is level), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All checks of all collections."""

    collections: tuple[CollectionVerification, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    """`verify` (schema, counts, ids, content, order) and `parity` (search, filters) apart."""

    @property
    def differences(self) -> int:
        return sum(collection.differences for collection in self.collections)

    @property
    def ok(self) -> bool:
        """No difference found, and nothing that a full verification looks at was left out."""
        states = {check.state for collection in self.collections for check in collection.checks}
        return State.OK in states and states <= {State.OK, State.NOT_APPLICABLE}

    @property
    def identical(self) -> bool:
        """Every record of every collection was compared, and is in the target as it should be."""
        return bool(self.collections) and all(collection.identical for collection in self.collections)

    @property
    def sound(self) -> bool:
        """Every record is as it should be, and no search or filter that could be asked answers otherwise.

        Unlike `ok` this holds too where a store cannot be asked for a search or a filter at all.
        """
        return self.ok or (self.identical and not self.differences)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How to verify. The defaults are a full verification.

    Attributes:
        levels: what to look at; a level left out is reported as not checked.
        queries: how many searches the search parity makes; k: how many neighbours each asks for.
        seed: of the sample of queries and predicates; the same seed and data give the same questions.
        max_findings: how many differences each check lists by id (it counts all of them).
        spill_bytes: memory for the digests of each side, past which they go to files in `folder`
            (a temporary one by default). Disk: about 56 bytes and the id's text per record and side.
        deadline_seconds: how long one read is tried again before the verification gives up.
        profiles: source collection -> its profile, if there is one: predicates are drawn from it.
        promised: target collection -> the spec that its sink was asked to prepare: what the schema is held against.
        by: metadata keys by whose values the records of both sides are counted, as they are read.
        set_aside: source collection -> {record id: reason}: records that the plan kept out of the target.
        shared: target collections that may hold records of others too, because they were appended to, or brought up to
            date without deleting: such records are counted, and are no differences.
        reordered: target collections that were brought up to date, where what is written keeps the place that it had:
            records in another order than the source's are counted, and are no differences.
    """

    levels: frozenset[Level] = frozenset(Level)
    queries: int = 100
    k: int = 10
    predicates: int = 24
    seed: int = 20_261_121
    max_findings: int = 1000
    spill_bytes: int = 4 << 20
    folder: Path | None = None
    deadline_seconds: float = 300.0
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    promised: Mapping[str, CollectionSpec] = field(default_factory=dict)
    set_aside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    reordered: frozenset[str] = frozenset()
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRepair:
    """What `repair` did to one collection.

    Attributes:
        rewritten: records written again from the source (missing or changed ones).
        deleted: records removed from the target, because that was asked for.
        extra_left: records that stand only in the target and were left there.
        set_aside: records that a run left out on purpose (`VerifyOptions.set_aside`), and that were left out again.
        refused: id -> reason, for records that the target would not take.
    """

    source: str
    target: str
    rewritten: int = 0
    deleted: int = 0
    extra_left: int = 0
    set_aside: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairResult:
    """What `repair` did, and the fresh verification that followed."""

    collections: tuple[CollectionRepair, ...]
    after: Verification

    @property
    def repaired(self) -> int:
        return sum(collection.rewritten + collection.deleted for collection in self.collections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One side of a comparison: milliseconds per query, and queries per second with `workers` at a time."""

    store: str
    p50_ms: float
    p95_ms: float
    queries_per_second: float
    queries: int
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The same queries against source and target. A side that cannot be asked is None, and `note` says why."""

    collection: str
    source: Latency | None
    target: Latency | None
    note: str = ""
