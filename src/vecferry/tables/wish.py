"""What a person says of a table, and the form that becomes of it: what is not said is guessed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from vecferry.errors import ConfigError
from vecferry.model import Metric
from vecferry.tables.check import check
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.guess import guess, other_columns
from vecferry.tables.model import ForeignKey, Form, Join, Rank, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The fields of a `Form`, as far as somebody cares; see there.

    Attributes:
        document, uri, metadata: null means none, left out means that it is guessed.
        columns: left out: all others.
        embed: parent table -> its columns that stand in each record, by a foreign key of this table: a list (the key is
            `TABLE_COLUMN`), or metadata key -> column.
    """

    key: tuple[str, ...] = ()
    id: str = ""
    vectors: Mapping[str, str] | UnsetType = UNSET
    document: str | UnsetType | None = UNSET
    uri: str | UnsetType | None = UNSET
    metadata: str | UnsetType | None = UNSET
    columns: tuple[str, ...] | UnsetType = UNSET
    names: Mapping[str, str] = field(default_factory=dict)
    ranks: Mapping[str, Rank] = field(default_factory=dict)
    joins: tuple[Join, ...] = ()
    embed: Mapping[str, tuple[str, ...] | Mapping[str, str]] = field(default_factory=dict)
    where: str | None = None
    metric: Metric | None = None


def shape(table: Table, wish: Wish) -> Form:
    """The form of `table` as `wish` wants it.

    Raises:
        ConfigError: it does not fit (`vecferry.tables.check`), or a parent that no foreign key leads to.
    """
    guessed = guess(table)
    key = wish.key or guessed.key
    vectors = guessed.vectors if wish.vectors is UNSET else wish.vectors
    document = guessed.document if wish.document is UNSET else wish.document
    metadata = guessed.metadata if wish.metadata is UNSET else wish.metadata
    uri = None if wish.uri is UNSET else wish.uri
    # a vector column that is not wanted as a vector is left out; a key that does not make the whole id goes along
    used = {*guessed.vectors.values(), *vectors.values(), document, uri, metadata}
    others = other_columns(table, used=used, key=() if wish.id else key) if wish.columns is UNSET else wish.columns
    own = tuple(name for name in others if name != ENVELOPE)
    form = Form(
        key=key,
        id=wish.id,
        vectors=vectors,
        document=document,
        uri=uri,
        metadata=metadata,
        columns=own,
        names={column: name for column, name in wish.names.items() if column in own or column in wish.ranks},
        ranks=wish.ranks,
        joins=(*wish.joins, *_embedded(table, wish)),
        where=wish.where,
        metric=wish.metric,
    )
    check(table, form)
    return form


def _embedded(table: Table, wish: Wish) -> Iterator[Join]:
    for parent, wanted in wish.embed.items():
        found = _key_to(table, parent)
        columns = wanted if isinstance(wanted, Mapping) else {f"{parent}_{column}": column for column in wanted}
        match = dict(zip(found.columns, found.targets, strict=True))
        yield Join(table=found.table, schema=found.schema, match=match, columns=columns)


def _key_to(table: Table, parent: str) -> ForeignKey:
    found = [key for key in table.foreign_keys if key.table == parent]
    if len(found) != 1:
        raise ConfigError(
            f"The table '{table.name}' has {len(found) or 'no'} foreign keys to '{parent}'.",
            hint="Write the join out: joins: [{table: PARENT, match: {COLUMN: KEY}, columns: {NAME: COLUMN}}].",
        )
    return found[0]
