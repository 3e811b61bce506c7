"""A table as its catalog says it, and the form in which its rows are records. Frozen values that JSON can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from vecferry.errors import ConfigError
from vecferry.model import Metric
from vecferry.tables.types import vector_type

SPREAD = "metadata."
"""Prefix of a metadata key that comes from the JSON column and would otherwise read as a column's name."""


class _Data:
    """A frozen value that becomes JSON and comes back equal."""

    __slots__ = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data: dicts, lists, text, numbers, booleans, null."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The value that `as_json` gave.

        Raises:
            ConfigError: not such a value: an unknown type, a field that is missing.
        """
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"This is no {cls.__name__.lower()}: {error}.",
                hint="Leave what vecferry wrote as it is; a form of your own belongs in a preset.",
            ) from error


# --------------------------------------------------------------------------- what a catalog says


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(_Data):
    """One column.

    Attributes:
        type: the store's own type text: `bigint`, `vector(1536)`, `jsonb`, `longtext`. A MariaDB column with the check
            JSON_VALID has the type `json`.
        generated: computed from other columns; read, never written.
        identity: numbered by the store (serial, identity, AUTO_INCREMENT); after a load its counter has to follow.
        default: the SQL of its default, None where it has none.
        collation: where it differs from the table's.
        number: its type holds vectors elsewhere, and numbers here: MariaDB's `bit`.
        stored: it is generated when a row is written, not when it is read; what MariaDB tells apart.
        hidden: `SELECT *` leaves it out (MariaDB's INVISIBLE).
        on_update: the SQL of what it becomes whenever its row changes (MariaDB).
    """

    name: str
    type: str
    nullable: bool = True
    generated: bool = False
    identity: bool = False
    default: str | None = None
    collation: str | None = None
    number: bool = False
    stored: bool = False
    hidden: bool = False
    on_update: str | None = None

    @property
    def vector(self) -> tuple[str, int | None] | None:
        """What vectors it holds (`vecferry.tables.types.vector_type`); None where it holds none."""
        return None if self.number else vector_type(self.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey(_Data):
    """`columns` of this table name a row of `schema.table` by its `targets`, pair by pair."""

    columns: tuple[str, ...]
    schema: str
    table: str
    targets: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(_Data):
    """One index that is no key.

    Attributes:
        columns: names; empty where an expression is indexed.
        expression: the SQL of it.
        method: `btree`, `hnsw`, `ivfflat`, `gin`, MariaDB: `btree`, `vector`, `fulltext`.
        opclass: PostgreSQL's operator class (`vector_cosine_ops`: the only witness of a metric); MariaDB's DISTANCE.
        options: `m`, `ef_construction`, `lists`, `M` …, as the store writes them.
        where: the condition of a partial index.
        definition: the statement that makes it again, as the store tells it; None where it tells none.
    """

    name: str
    columns: tuple[str, ...] = ()
    expression: str | None = None
    method: str = "btree"
    opclass: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    unique: bool = False
    definition: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(_Data):
    """What a catalog says of one table or view.

    Attributes:
        namespace: (schema,) on PostgreSQL, (database,) on MariaDB.
        columns: in the table's order.
        primary_key: its columns in the key's order; empty where there is none.
        unique: further keys over columns that are never null come first.
        partitions: qualified names of the leaves; `partitioned_by`: the text of the key (`RANGE (created_at)`).
        rls: row-level security is on: another role may see fewer rows.
        options: of the table itself, as the store names them: engine, charset, collation.
    """

    name: str
    namespace: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    partitions: tuple[str, ...] = ()
    partitioned_by: str = ""
    rls: bool = False
    view: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns, in their order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column `name`.

        Raises:
            ConfigError: it has none of that name; lists those that it has.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ConfigError(
            f"The table '{'.'.join((*self.namespace, self.name))}' has no column '{name}'.",
            hint=f"Its columns are: {', '.join(self.names)}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent(_Data):
    """A row that every row of a table refers to, in a table of its own which is made where it is missing.

    Attributes:
        column: of the child; its default is the parent's key, so that whoever writes the child need not know it.
        row: column of `table` -> its value, as text; the primary key among them.
    """

    column: str
    table: Table
    row: Mapping[str, str]

    def owns(self, child: Table) -> bool:
        """Whether a row of `child` refers to this one where nothing else is said."""
        (key,) = self.table.primary_key
        default = next((column.default for column in child.columns if column.name == self.column), None)
        return self.row[key] in (default or "")


# --------------------------------------------------------------------------- how a row is a record


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(_Data):
    """A parent row whose columns stand in each of its children's records.

    A LEFT JOIN over the parent's key: a child without a parent keeps its record, with nulls.

    Attributes:
        table, schema: the parent; an empty schema means the child's own.
        match: child column -> parent column; the parent's columns are a key of it.
        columns: metadata key -> parent column.
    """

    table: str
    schema: str = ""
    match: Mapping[str, str]
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank(_Data):
    """A number that the table does not hold: the place of a row among those with the same `within`, from 0.

    `by` must tell every two of them apart, so its last column is one of a key.
    """

    within: tuple[str, ...]
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form(_Data):
    """How a row becomes a record and comes back; a part of the plan and of the card.

    Attributes:
        key: the id columns. One: the id is its value (int, uuid or text by its type), and it is no metadata; several:
            a composite id (`vecferry.tables.keys`), and they stand in `columns` too, to be filtered by.
        id: where ids have a shape of their own: a template over columns and ranks, `md5({url})_{chunk_number}` or
            `doc_{BUID}_{BMID}_{chunk}`; ids are texts then, `key` stays what the table is read
            by, and its columns stand in `columns`.
        vectors: vector name ("" the only one) -> column.
        document, uri: columns of text.
        metadata: the JSON column that *is* the record's metadata: its keys are spread.
        columns: every other column that goes along, a metadata key each.
        names: column or rank -> metadata key, where it is not its own name.
        ranks: name -> rank; a metadata key each, computed, never written back.
        joins: parents whose columns stand in the record; never written back.
        where: SQL condition over the table's columns; only such rows are records.
        metric: where no index tells it, or another is wanted.
        by: the column whose values are units: each is read in partitions of its own (`vecferry.tables.units`).
    """

    key: tuple[str, ...] = ()
    id: str = ""
    vectors: Mapping[str, str] = field(default_factory=dict)
    document: str | None = None
    uri: str | None = None
    metadata: str | None = None
    columns: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    ranks: Mapping[str, Rank] = field(default_factory=dict)
    joins: tuple[Join, ...] = ()
    where: str | None = None
    metric: Metric | None = None
    by: str | None = None

    def name(self, column: str) -> str:
        """The metadata key of a column or rank."""
        return self.names.get(column, column)

    @property
    def own(self) -> dict[str, str]:
        """By metadata key, the column: of what the table itself holds, in the table's order."""
        return {self.name(column): column for column in self.columns}

    @property
    def borrowed(self) -> tuple[str, ...]:
        """Metadata keys that are computed or a parent's: read, and taken out again on the way home."""
        return (*map(self.name, self.ranks), *(key for join in self.joins for key in join.columns))

    @property
    def keys(self) -> tuple[str, ...]:
        """Every metadata key that does not come out of the JSON column."""
        return (*map(self.name, self.columns), *self.borrowed)
