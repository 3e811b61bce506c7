"""What the ledger remembers, as frozen values. No I/O, and nothing here imports SQLAlchemy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vecferry.model import Partition, PartitionId, Position, Rejection, StoreIdentity
from vecferry.tags import canonical


class Outcome(StrEnum):
    """How a run ended, or why it does not go on. An `INTERRUPTED` or `FAILED` run is resumable."""

    DONE = "done"
    DIFFERENT = "different"
    """copied and verified, and verification found differences"""
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DROPPED = "dropped"
    """given up on request, a new run of the same job took its place"""

    @property
    def resumable(self) -> bool:
        return self in {Outcome.INTERRUPTED, Outcome.FAILED}


class Step(StrEnum):
    """How far one collection of a run has come; each step is marked after what it names is durable."""

    PLANNED = "planned"
    CHECKED = "checked"
    """append: no id of the source is in the target yet"""
    PREPARED = "prepared"
    COPIED = "copied"
    FINISHED = "finished"
    VERIFIED = "verified"

    def reached(self, other: Step) -> bool:
        """True where `other` lies behind us, or is where we stand."""
        order = list(Step)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One collection of a job: its qualified names on both sides, its partitions, and its units, if it has any."""

    source: str
    target: str
    partitions: tuple[Partition, ...]
    units: tuple[Unit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a run shall do, in plain values (the ledger knows nothing of plans).

    Attributes:
        key: which job this is (`job_key`): two runs with one key are the same work.
        facts: everything that decides what ends up in the target, as readable name -> readable value. Their hash is
            the plan's fingerprint; where they differ, resuming is refused and the differences are listed.
        request: the options that the user gave, as readable name -> value; compared like `facts`.
        plan: the plan as JSON, for whoever resumes or reports.
    """

    key: str
    source: str
    target: str
    collections: tuple[Target, ...]
    facts: Mapping[str, str]
    plan: str
    request: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of `facts`, 64 hexadecimal digits."""
        return hashlib.blake2b(canonical(dict(self.facts)), digest_size=32).hexdigest()


def job_key(source: StoreIdentity, target: StoreIdentity, names: Mapping[str, str]) -> str:
    """The key of the job that moves collections `names` (qualified source name -> qualified target name)."""
    parts = [source.kind, source.where, target.kind, target.where, sorted(names.items())]
    return hashlib.blake2b(canonical(parts), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far one partition has come. Totals since the run began, so that committing twice changes nothing.

    Attributes:
        position: go on strictly after this; None before the first commit.
        read: records of the source behind `position`; read == written + skipped + rejected.
        bytes: what the sink says it sent.
    """

    position: Position | None = None
    read: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    bytes: int = 0
    done: bool = False

    def plus(self, *, written: int, skipped: int, rejected: int, sent: int) -> Checkpoint:
        """This checkpoint with so many more records counted; the position stays."""
        return replace(
            self,
            read=self.read + written + skipped + rejected,
            written=self.written + written,
            skipped=self.skipped + skipped,
            rejected=self.rejected + rejected,
            bytes=self.bytes + sent,
        )


class UnitState(StrEnum):
    """Where one unit of a collection stands; a unit is the records with one value of a column."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    """copied, and compared record by record"""
    FAILED = "failed"
    """`error` says why; the same command tries it again"""
    STAYS = "stays"
    """not moved, on request: its records are served where they are"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit of a collection.

    Attributes:
        value: canonical JSON text of the column's value: `7`, `"alice"`, `null`.
        total: records of the source with that value when the unit was planned, or last looked at.
        moved: those that the target holds, counted when a batch of the unit was committed, exact once it is completed.
        started, finished: seconds since the epoch.
        paused: somebody asked that it be left alone for now.
    """

    collection: str
    value: str
    state: UnitState = UnitState.PENDING
    total: int = 0
    moved: int = 0
    started: float | None = None
    finished: float | None = None
    error: str = ""
    paused: bool = False

    @property
    def settled(self) -> bool:
        """Nothing is to be done about it."""
        return self.state in {UnitState.COMPLETED, UnitState.STAYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionState:
    """One collection of a run.

    Attributes:
        fresh: the target held nothing when this run began, so every record in it is ours.
        seconds: stage -> seconds spent on it, over all processes that worked on this run and could still say so.
    """

    source: str
    target: str
    step: Step
    fresh: bool
    seconds: Mapping[str, float]
    checkpoints: Mapping[PartitionId, Checkpoint]

    @property
    def total(self) -> Checkpoint:
        """All checkpoints added up; `done` where every partition is."""
        parts = list(self.checkpoints.values())
        return Checkpoint(
            read=sum(part.read for part in parts),
            written=sum(part.written for part in parts),
            skipped=sum(part.skipped for part in parts),
            rejected=sum(part.rejected for part in parts),
            bytes=sum(part.bytes for part in parts),
            done=all(part.done for part in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One run as `vecferry status` shows it. `running` is True while a live process holds it, `paused` or not."""

    id: str
    key: str
    source: str
    target: str
    fingerprint: str
    plan: str
    request: Mapping[str, str]
    created: float
    finished: float | None
    outcome: Outcome | None
    error: str
    running: bool
    holder: str
    collections: tuple[CollectionState, ...]
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IdProof:
    """That the ids of a collection fall on distinct target ids: records seen, those rewritten, under which rule."""

    rule: str
    records: int
    rewritten: int
    at: float


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One record that did not reach the target, as the ledger remembers it."""

    collection: str
    partition: str
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One event of the bounded history: when, which class, its fields as JSON."""

    at: float
    kind: str
    body: str
