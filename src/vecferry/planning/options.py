"""What a person may ask of a plan, as one frozen value. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vecferry.errors import ConfigError
from vecferry.layouts import layout as find_layout
from vecferry.model import FieldIndex, IdRule, IndexKind, JsonObject, Keep
from vecferry.planning.model import IfExists, OnConflict, Policy
from vecferry.planning.presets import Preset, TableWish
from vecferry.transforms.model import Recipe

AUTO = "auto"
NONE = "none"


class Order(StrEnum):
    """Which unit is moved first."""

    LARGEST = "largest"
    SMALLEST = "smallest"
    VALUE = "value"
    """numbers before texts, each in their order; rows without a value come last"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The wishes that make a plan.

    Attributes:
        collections: names with `*`, `old=new`, `old-*=new-*`; none means all.
        layout: name of a layout, or `auto`: the one whose traces the records bear.
        policies: `SHAPE` or `COLLECTION:SHAPE` -> what to do about that cell.
        indexes: `auto` (from profiled keys), `none`, or a list of `KEY` and `KEY:KIND`.
        tenant: metadata key that separates tenants; its index is built as a tenant index.
        target_config: settings under the target's own names (Qdrant: hnsw_config, quantization_config, on_disk,
            on_disk_payload, shard_number, replication_factor, write_consistency_factor).
        name: how a target collection is called; `{name}`, `{tenant}`, `{database}`, `{namespace}` are filled in.
        id_rule: how ids that the target cannot hold are rewritten.
        transforms: what is changed on the way; whoever plans shows the source through it (`vecferry.migration.views`).
        preset: how the tables of a SQL store are read, and what becomes of them (`vecferry.planning.tabled`).
        tables: what that preset says of each table that was found, by qualified name; nobody asks for it directly.
        made: the preset by which new tables of a SQL target are made (`vecferry.planning.made`).
        unit: a column (or the metadata key that it is) whose values are units: each is moved and proven on its own.
        order, first: the units named in `first` are moved first, the others behind them in this order; by default the
            largest first. A run that is resumed goes on in its own order where neither says another.
        stays: units that are not moved; `*` for every one that is there when the run begins.
    """

    collections: tuple[str, ...] = ()
    layout: str = AUTO
    exact_vectors: Keep = Keep.RESTORE
    policies: Mapping[str, Policy] = field(default_factory=dict)
    if_exists: IfExists = IfExists.ASK
    on_conflict: OnConflict = OnConflict.REFUSE
    indexes: str | tuple[str, ...] = AUTO
    tenant: str | None = None
    target_config: JsonObject = field(default_factory=dict)
    name: str = "{name}"
    id_rule: IdRule = field(default_factory=IdRule)
    transforms: Recipe = field(default_factory=Recipe)
    preset: Preset | None = None
    tables: Mapping[str, TableWish] = field(default_factory=dict)
    made: Preset | None = None
    unit: str | None = None
    order: Order | None = None
    first: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse now what would be refused after a whole inspection.

        Raises:
            ConfigError: no such layout; lists those that there are. Or a transform that cannot be done.
        """
        if self.layout != AUTO:
            find_layout(self.layout)
        self.transforms.check()


def parse_policies(texts: tuple[str, ...]) -> dict[str, Policy]:
    """`SHAPE=POLICY` and `COLLECTION:SHAPE=POLICY`, as `--accept` takes them.

    Raises:
        ConfigError: no such policy, or no `=`.
    """
    policies = {}
    for text in texts:
        key, separator, value = text.rpartition("=")
        if not separator or value not in set(Policy):
            known = ", ".join(policy for policy in Policy if policy is not Policy.REFUSE)
            raise ConfigError(f"'{text}' accepts nothing.", hint=f"Write SHAPE=POLICY, with one of: {known}.")
        policies[key] = Policy(value)
    return policies


def parse_index(text: str, guess: IndexKind | None) -> FieldIndex:
    """`KEY` or `KEY:KIND`; without a kind, `guess` (from the profile) or a keyword index.

    Raises:
        ConfigError: no such kind.
    """
    key, _, kind = text.rpartition(":")
    if key and kind in set(IndexKind):
        return FieldIndex(key=key, kind=IndexKind(kind))
    if not text or text.endswith(":"):
        raise ConfigError(f"'{text}' names no metadata key.", hint=f"Write KEY or KEY:KIND ({', '.join(IndexKind)}).")
    return FieldIndex(key=text, kind=guess or IndexKind.KEYWORD)
