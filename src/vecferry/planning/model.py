"""What `inspect` finds and what `plan` decides, as frozen values that a person can read, edit and review. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from vecferry.limits import Shape
from vecferry.model import CollectionSpec, IdRule, Json, Partition, Pin, StoreIdentity
from vecferry.planning.breakdown import Breakdown
from vecferry.tables import Form
from vecferry.transforms.model import Read, Step

# --------------------------------------------------------------------------- what inspect finds


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How often a shape occurs, and where first: up to five record ids, or `id: key`."""

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProfile:
    """One metadata key over a whole collection.

    Attributes:
        types: type name -> records; names: str int float bool null list[str] list[int] … list object tagged.
        values: the most frequent scalar values with their counts, most frequent first, at most 20; a lower bound
            where `distinct` is None.
        distinct: number of different scalar values, None where there are too many to count in bounded memory.
        low, high: bounds of the numbers.
    """

    types: Mapping[str, int]
    values: tuple[tuple[Json, int], ...] = ()
    distinct: int | None = None
    low: float | None = None
    high: float | None = None

    @property
    def records(self) -> int:
        """Records that have the key."""
        return sum(self.types.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """Source ids that fall on one target id, each as `kind id`; twice the same where the source holds an id twice."""

    target: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Smallest, mean and largest of something measured on every record."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One collection, every record of it looked at once.

    Attributes:
        spec: as its source describes it, `count` exact.
        bytes: size of its canonical batches.
        dimensions: vector name -> {dimension: records}.
        norms: vector name -> lengths of its dense vectors (Euclidean).
        rejected: records that the source itself could not read, by reason.
        set_aside: records that a transform cannot be done on, by reason.
        document_bytes: UTF-8 sizes, None where no record has a document.
        id_bytes: UTF-8 sizes of the ids.
        sizes: `id`, `document` or `record` (all of it) -> {power of two: records that are at most that many bytes, and
            more than half of it}.
        largest: the same three -> the five largest, as (bytes, id), largest first.
        collisions: ids that `id_rule` would map to one target id, and ids that occur twice; at most 5.
        untracked_keys: values under keys past the first 10,000 different ones, which are counted but not profiled.
        layout: the framework whose traces the records bear, or `plain`; with the share of records that agree.
        breakdowns: the records by each metadata key that was asked for.
        writer, layout_note: who probably wrote the records, and one sentence about it.
        seconds: time of the scan.
    """

    spec: CollectionSpec
    records: int
    bytes: int
    id_kinds: Mapping[str, int] = field(default_factory=dict)
    dimensions: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    norms: Mapping[str, Range] = field(default_factory=dict)
    shapes: Mapping[Shape, Seen] = field(default_factory=dict)
    keys: Mapping[str, KeyProfile] = field(default_factory=dict)
    rejected: Mapping[str, Seen] = field(default_factory=dict)
    set_aside: Mapping[str, Seen] = field(default_factory=dict)
    document_bytes: Range | None = None
    id_bytes: Range | None = None
    sizes: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    largest: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    id_rule: IdRule = field(default_factory=IdRule)
    collisions: tuple[Collision, ...] = ()
    untracked_keys: int = 0
    layout: str = "plain"
    layout_share: float = 1.0
    writer: str = ""
    layout_note: str = ""
    breakdowns: tuple[Breakdown, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A whole store, looked at."""

    store: StoreIdentity
    url: str
    pin: Pin | None
    profiles: tuple[Profile, ...]
    seconds: float
    presets: tuple[str, ...] = ()
    """presets that the tables of a SQL store fit (`--preset`), the likeliest first"""
    skeleton: str = ""
    """a preset of its tables with vectors, as YAML, for a person to go on with"""

    @property
    def records(self) -> int:
        return sum(profile.records for profile in self.profiles)


# --------------------------------------------------------------------------- what plan decides


class Verdict(StrEnum):
    """What becomes of a shape in the target."""

    EXACT = "exact"
    RESTORABLE = "restorable"
    LOSSY = "lossy"
    IMPOSSIBLE = "impossible"


class Policy(StrEnum):
    """What to do about a lossy or impossible cell."""

    CONVERT = "convert"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


class IfExists(StrEnum):
    """What to do where the target collection is there already and is not this run's own."""

    ASK = "ask"
    APPEND = "append"
    RECREATE = "recreate"
    SYNC = "sync"
    """only what differs is written: what the target lacks, and what is not the same there"""
    REFUSE = "refuse"
    KEEP = "keep"
    """it is what the source holds already: nothing is written, and it is verified again; never asked for"""


class OnConflict(StrEnum):
    """What `append` does with an id that the target has already."""

    REFUSE = "refuse"
    REPLACE = "replace"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One shape of one collection, judged against the target.

    Attributes:
        meaning: one sentence for a person: what happens to these records.
        policy: what will be done; None where nothing needs deciding. `refuse` stops the run before the first write.
        choices: the policies that the plan file may name here.
    """

    shape: str
    verdict: Verdict
    count: int
    examples: tuple[str, ...] = ()
    meaning: str = ""
    policy: Policy | None = None
    choices: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the target will need, and how long. Bytes and seconds; rough, and said to be.

    Attributes:
        texts, tokens: to be embedded, at most; price: for those tokens, in the currency in which it was given.
    """

    seconds: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    texts: int = 0
    tokens: int = 0
    price: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPlan:
    """One collection's way.

    Attributes:
        source: its qualified name in the source; of a split or merge, a name that is only the plan's.
        reads: for a split or merge, the collections of the source that it is made of.
        transforms: what is done to their records on the way.
        target: what the sink will prepare: name, vectors, indexes, config, card.
        partitions: shares with their bounds, stored before the first write.
        stays: units that are not moved, as JSON text (`vecferry.tables.units`).
    """

    source: str
    target: CollectionSpec
    records: int
    bytes: int
    reads: tuple[Read, ...] = ()
    transforms: tuple[Step, ...] = ()
    cells: tuple[Cell, ...] = ()
    partitions: tuple[Partition, ...] = ()
    stays: tuple[str, ...] = ()
    if_exists: IfExists = IfExists.ASK
    on_conflict: OnConflict = OnConflict.REFUSE
    estimate: Estimate = field(default_factory=Estimate)

    def signed(self, run: str) -> CollectionSpec:
        """What a sink is asked to prepare: the target, its card signed by the run that writes it.

        What is kept or synchronised stays signed as it is.
        """
        spec = self.target
        if spec.card is None or self.if_exists in {IfExists.KEEP, IfExists.SYNC}:
            return spec
        return replace(spec, card=replace(spec.card, run=run, indexes=spec.indexes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole migration, before it runs. Written as YAML; its JSON Schema is published in the docs."""

    version: int = 1
    created: datetime
    source_url: str
    target_url: str
    source: StoreIdentity
    target: StoreIdentity
    pin: Pin | None = None
    collections: tuple[CollectionPlan, ...] = ()
    left_out: tuple[str, ...] = ()
    """empty collections whose dimension nobody knows, where the target cannot make a collection without one"""
    tables: Mapping[str, Form] = field(default_factory=dict)
    """how the tables of a SQL store are read, by their qualified names"""

    @property
    def records(self) -> int:
        return sum(collection.records for collection in self.collections)

    @property
    def kept(self) -> tuple[CollectionPlan, ...]:
        """The collections that are there already, and that are not written again."""
        return tuple(collection for collection in self.collections if collection.if_exists is IfExists.KEEP)

    @property
    def synced(self) -> tuple[CollectionPlan, ...]:
        """The collections of which only what differs is written."""
        return tuple(collection for collection in self.collections if collection.if_exists is IfExists.SYNC)
