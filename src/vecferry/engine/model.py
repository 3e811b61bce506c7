"""What the engine is told and what it gives back, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec

MIB = 1 << 20
_DEFAULTS = "Leave it out to have the default."


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How hard the engine pushes, and when it gives up. None of it changes what ends up in the target.

    Attributes:
        batch_bytes, batch_rows: the largest batch that is sent; a target's own limits may make it smaller.
        jobs: batches in flight at a time, at most.
        readers: partitions of one collection read at a time. One reader feeds several writers on a small machine;
            a remote source may want more.
        rate: records per second, at most; None for no limit.
        memory_bytes: Arrow bytes read and not yet durable, at most (one chunk may exceed it, alone).
        target_seconds: batches that take longer than this are made smaller.
        deadline_seconds: how long one batch is tried again before the run stops as resumable.
        commit_seconds: how often a partition's checkpoint is committed, at most; what a killed process repeats.
        quarantine: a record that the target refuses is kept aside even where no cell of the plan says so.
    """

    batch_bytes: int = 4 * MIB
    batch_rows: int = 4096
    jobs: int = 4
    readers: int = 1
    rate: float | None = None
    memory_bytes: int = 32 * MIB
    target_seconds: float = 2.0
    deadline_seconds: float = 300.0
    commit_seconds: float = 0.5
    quarantine: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_bytes", "batch_rows", "jobs", "readers", "memory_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}.", hint=_DEFAULTS)
        for name in ("target_seconds", "deadline_seconds", "commit_seconds"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, and is {getattr(self, name)}.", hint=_DEFAULTS)
        if self.rate is not None and self.rate <= 0:
            raise ConfigError(f"rate must be above 0 records per second, not {self.rate}.", hint=_DEFAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionResult:
    """One collection, copied. Figures are totals over every process that worked on the run.

    Attributes:
        target: what the target really made.
        records: durable in the target; skipped: left alone there on request; rejected: in quarantine.
        bytes: what the sink says it sent.
        seconds: by stage, `copy` and `index`.
    """

    source: str
    target: CollectionSpec
    records: int
    skipped: int
    rejected: int
    bytes: int
    kept: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A whole run, copied and served, not verified. `resumed` records were there before this process began."""

    run: str
    resumed: int
    collections: tuple[CollectionResult, ...]

    @property
    def records(self) -> int:
        return sum(collection.records for collection in self.collections)

    @property
    def kept(self) -> int:
        return sum(collection.kept for collection in self.collections)

    @property
    def skipped(self) -> int:
        return sum(collection.skipped for collection in self.collections)

    @property
    def rejected(self) -> int:
        return sum(collection.rejected for collection in self.collections)

    @property
    def bytes(self) -> int:
        return sum(collection.bytes for collection in self.collections)

    @property
    def seconds(self) -> dict[str, float]:
        """By stage, over all collections."""
        stages = dict.fromkeys(stage for collection in self.collections for stage in collection.seconds)
        return {stage: sum(c.seconds.get(stage, 0.0) for c in self.collections) for stage in stages}
