"""What a report says, as frozen values: the JSON file is this, its schema is docs/reference/report.schema.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from vecferry.model import Pin, Rejection, VectorSpec
from vecferry.planning.model import Cell
from vecferry.verification.model import CollectionVerification, Comparison

FORMAT = 1
"""Version of the report's form; it rises when a field changes its meaning or goes away."""


class VerdictKind(StrEnum):
    """What somebody who reads one line of the report should know."""

    PROVEN = "proven"
    """every record was compared and is as it should be, and so are searches and filters"""
    RECORDS_PROVEN = "records-proven"
    """every record was compared and is as it should be; searches or filters were not (all) checked, or what was
    synchronised stands in another order"""
    DIFFERENT = "different"
    INCOMPLETE = "incomplete"
    """no difference was found, but not every record was compared"""
    NOT_VERIFIED = "not-verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The report in one sentence."""

    kind: VerdictKind
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """One of the two stores. The URL holds no secret."""

    url: str
    kind: str
    where: str
    version: str = ""
    transport: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionFacts:
    """One collection: what it is, what became of it.

    Attributes:
        records: in the source; bytes: size of their canonical batches.
        copied: records durable in the target after this run, None where the report is of a verification alone.
        transforms: what was done to the records on the way, one line each.
        losses: what the target could not hold as it is, with the policy that was chosen.
        rejected: records kept out of the target, at most 1,000 of `rejections`.
    """

    source: str
    target: str
    records: int
    bytes: int = 0
    copied: int | None = None
    vectors: tuple[VectorSpec, ...] = ()
    layout: str = ""
    indexes: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()
    losses: tuple[Cell, ...] = ()
    rejections: int = 0
    rejected: tuple[Rejection, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    verification: CollectionVerification | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A stage of one collection on the time line, in seconds since the run began."""

    stage: str
    collection: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Records that passed a stage within one slice of time; `at` and `width` in seconds since the run began."""

    stage: str
    at: float
    width: float
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePace:
    """What became of the pace at which the source was read, so that its own searches stay quick (`--pace`).

    Attributes:
        collection: whose searches were watched.
        per_second: records that might be read at the end; `least` and `most` on the way.
        p95: of the searches while records were read; `idle` before that, `bound` what it might become: in seconds.
        cuts: how often the pace was made less.
    """

    collection: str
    per_second: float
    least: float
    most: float
    p95: float
    idle: float
    bound: float
    cuts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What this process saw of the run. Of a resumed run, earlier processes are not in the time line.

    Attributes:
        resumed: records that were in the target already when this process began.
        retries: error -> how often it was tried again.
        notes: notices of the run, at most 100.
        pace: None where none was kept.
    """

    id: str = ""
    resumed: int = 0
    started: datetime | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    moments: tuple[Moment, ...] = ()
    rates: tuple[Rate, ...] = ()
    retries: Mapping[str, int] = field(default_factory=dict)
    slowed: int = 0
    notes: tuple[str, ...] = ()
    pace: SourcePace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where vecferry ran: figures mean nothing without it."""

    system: str
    processor: str
    cores: int
    memory_bytes: int | None
    python: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A migration, or a verification alone, for somebody who was not there."""

    version: int = FORMAT
    created: datetime
    vecferry: str
    verdict: Verdict
    source: StoreFacts
    target: StoreFacts
    pin: Pin | None = None
    run: RunFacts | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    collections: tuple[CollectionFacts, ...] = ()
    machine: Machine

    @property
    def records(self) -> int:
        """Records in the source."""
        return sum(collection.records for collection in self.collections)

    @property
    def differences(self) -> int | None:
        """Differences of all collections; None where nothing was verified."""
        verified = [c.verification.differences for c in self.collections if c.verification is not None]
        return sum(verified) if verified else None
