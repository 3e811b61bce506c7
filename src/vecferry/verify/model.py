"""What verification finds, as frozen values. "Not checked" is never shown as "ok". No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """What a check looks at (docs/explanation/verification.md has the table of what catches what)."""

    SCHEMA = "schema"
    COUNTS = "counts"
    IDS = "ids"
    CONTENT = "content"
    ORDER = "order"
    SEARCH = "search"
    FILTERS = "filters"


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    DIFFERENT = "different"
    NOT_CHECKED = "not-checked"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionVerification:
    """All checks of one collection."""

    source: str
    target: str
    records: int
    checks: tuple[Check, ...]

    @property
    def differences(self) -> int:
        return sum(check.differences for check in self.checks)


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
        states = [check.state for collection in self.collections for check in collection.checks]
        return bool(states) and all(state is State.OK for state in states)


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
