"""SQL text that makes tables: our own for a spec, a source's very table, its keys and its vector index. Pure.

Our own table, for a collection of texts as ids and one vector without a name:

    CREATE TABLE `chunks` (
      `_vf_no` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,       -- the key that a vector index can have
      `id` VARCHAR(768) COLLATE utf8mb4_nopad_bin NOT NULL UNIQUE,        -- 'a', 'A' and 'a ' are three ids
      `embedding` VECTOR(768) NOT NULL,
      `document` LONGTEXT, `uri` LONGTEXT, `metadata` JSON, `_vf` JSON)

A vector index takes a primary key of at most 256 bytes, so ids that are texts stand beside a number. Numbers and UUIDs
are their table's primary key themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vecferry.connectors.mariadb.catalog import EUCLIDEAN
from vecferry.connectors.mariadb.facts import DISTANCES, ID_CHARS
from vecferry.connectors.mariadb.names import MAX_NAME, fits, qualified, quote
from vecferry.errors import ConfigError, Unsupported
from vecferry.model import CollectionSpec, Element, IdKind, VectorKind, VectorSpec
from vecferry.tables import Column, ForeignKey, Form, Index, Table
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.expression import MARIADB, one_piece

NUMBER = "_vf_no"
"""Primary key of a table of ours whose ids are texts: the order in which records came."""
EMBEDDING = "embedding"
_TAKEN = frozenset({NUMBER, "id", "document", "uri", "metadata", ENVELOPE})
_BINARY = "utf8mb4_nopad_bin"
_ID_TYPES = {IdKind.INT: "bigint unsigned", IdKind.UUID: "uuid"}
_ENGINE = "ENGINE = InnoDB DEFAULT CHARSET = utf8mb4"
_TYPE = re.compile(
    r"[a-z][a-z0-9_]*( precision)?(\(\d+(,\d+)?\)|\('(?:[^'\\]|'')*'(?:,'(?:[^'\\]|'')*')*\))?( unsigned)?( zerofill)?"
)
_COLLATION = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


# --------------------------------------------------------------------------- our own table


def own(spec: CollectionSpec, database: str) -> tuple[Table, Form]:
    """The table that we make for a collection that was none here, and how its rows are records.

    Raises:
        ConfigError: a vector without dimension.
        Unsupported: a vector of a kind that MariaDB has not.
    """
    vectors = {vector.name: column for vector, column in zip(spec.vectors, _names(spec.vectors), strict=True)}
    numbered = spec.id_kind not in _ID_TYPES
    key = Column(name="id", type=_ID_TYPES.get(spec.id_kind, f"varchar({ID_CHARS})"), nullable=False)
    columns = [replace(key, collation=_BINARY) if numbered else key]
    if numbered:
        columns.insert(0, Column(name=NUMBER, type="bigint unsigned", nullable=False, identity=True))
    columns += [_vector(spec, vector, vectors[vector.name]) for vector in spec.vectors]
    columns += [Column(name=name, type="longtext") for name in ("document", "uri")]
    columns += [Column(name=name, type="json") for name in ("metadata", ENVELOPE)]
    table = Table(
        name=spec.name,
        namespace=(database,),
        columns=tuple(columns),
        primary_key=(NUMBER,) if numbered else ("id",),
        unique=(("id",),) if numbered else (),
    )
    return table, Form(key=("id",), vectors=vectors, document="document", uri="uri", metadata="metadata")


def _names(vectors: Sequence[VectorSpec]) -> Iterator[str]:
    """A column for each vector: its own name where MariaDB takes it, which knows no upper and lower case there."""
    taken = set(_TAKEN)
    for number, vector in enumerate(vectors):
        name = vector.name or EMBEDDING
        if not fits(name) or name.lower() in taken:
            name = next(f"{EMBEDDING}_{n}" for n in range(number, number + 1000) if f"{EMBEDDING}_{n}" not in taken)
        taken.add(name.lower())
        yield name


def _vector(spec: CollectionSpec, vector: VectorSpec, name: str) -> Column:
    if vector.kind is not VectorKind.DENSE or vector.element is not Element.FLOAT32:
        raise Unsupported(
            f"MariaDB has no {vector.kind} vectors of {vector.element} ('{vector.name}' of {spec.name}).",
            hint="It holds dense float32 vectors: choose them in the plan, or archive the collection with files:DIR.",
        )
    if vector.metric not in DISTANCES:
        raise Unsupported(
            f"MariaDB cannot search by {vector.metric}.", hint="Choose cosine or l2 in the plan (--metric)."
        )
    if not vector.dim:
        raise ConfigError(
            f"The vector '{vector.name}' of {spec.name} has no dimension yet.",
            hint="MariaDB fixes the dimension when a table is made; an empty source cannot tell it.",
        )
    return Column(name=name, type=f"vector({vector.dim})", nullable=False)


# --------------------------------------------------------------------------- any table


def create(table: Table) -> str:
    """The statement that makes `table` with its keys and plain indexes, without vector indexes and foreign keys.

    Raises:
        ConfigError: a type, default or expression that is none.
    """
    lines = [*(_column(column) for column in table.columns), *_keys(table)]
    return f"CREATE TABLE {qualified((*table.namespace, table.name))} ({', '.join(lines)}) {_options(table)}"


def _column(column: Column) -> str:
    collation = f" COLLATE {_checked(_COLLATION, column.collation)}" if column.collation else ""
    words = [quote(column.name), _checked(_TYPE, column.type) + collation]
    hidden = ["INVISIBLE"] if column.hidden else []
    if column.generated:
        kept = "STORED" if column.stored else "VIRTUAL"
        return " ".join((*words, f"GENERATED ALWAYS AS ({expression(column.default or 'NULL')}) {kept}", *hidden))
    words.append("NULL" if column.nullable else "NOT NULL")
    if column.identity:
        words.append("AUTO_INCREMENT")
    elif column.default is not None:
        words.append(f"DEFAULT {expression(column.default)}")
    if column.on_update is not None:
        words.append(f"ON UPDATE {expression(column.on_update)}")
    return " ".join((*words, *hidden))


def _keys(table: Table) -> Iterator[str]:
    if table.primary_key:
        yield f"PRIMARY KEY ({_list(table.primary_key)})"
    yield from (f"UNIQUE KEY ({_list(key)})" for key in table.unique)
    for index in table.indexes:
        if index.method == "vector" or not index.columns:
            continue
        kind = {"fulltext": "FULLTEXT ", "spatial": "SPATIAL "}.get(index.method, "UNIQUE " if index.unique else "")
        lengths = (index.options.get(name, "") for name in index.columns)
        parts = (
            f"{quote(name)}({int(length)})" if length.isdigit() else quote(name)
            for name, length in zip(index.columns, lengths, strict=True)
        )
        yield f"{kind}KEY {quote(index.name)} ({', '.join(parts)})"


def _options(table: Table) -> str:
    collation = table.options.get("collation")
    return f"ENGINE = InnoDB COLLATE = {_checked(_COLLATION, collation)}" if collation else _ENGINE


def expression(text: str) -> str:
    """SQL of a default or a generated column, seen to be one expression: nothing behind it, no comment in it.

    Raises:
        ConfigError: it is not; it came from a card that somebody else may have written.
    """
    if not text.strip():
        raise _unfit(text)
    return one_piece(text, MARIADB)


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise _unfit(text)
    return text


def _unfit(text: str) -> ConfigError:
    return ConfigError(
        f"'{text[:80]}' is no part of a MariaDB table that can be made.",
        hint="Make the table yourself and let vecferry write into it, or leave `table` out of the target's config.",
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(quote, names))


# --------------------------------------------------------------------------- what comes after the load


def vector_index(table: Table, index: Index) -> str:
    """The statement that builds a vector index."""
    options = f" M = {int(index.options['m'])}" if "m" in index.options else ""
    distance = _checked(_COLLATION, index.opclass or EUCLIDEAN)
    return (
        f"ALTER TABLE {qualified((*table.namespace, table.name))} "
        f"ADD VECTOR INDEX {quote(index.name)} ({quote(index.columns[0])}){options} DISTANCE = {distance}"
    )


def foreign_key(table: Table, key: ForeignKey, *, named: bool) -> str:
    """The statement that adds a foreign key, under its own name or one that MariaDB chooses.

    Its other table stands in the same database as ours.
    """
    name = f"CONSTRAINT {quote(key.name)} " if named and key.name else ""
    return (
        f"ALTER TABLE {qualified((*table.namespace, table.name))} ADD {name}"
        f"FOREIGN KEY ({_list(key.columns)}) REFERENCES {qualified((*table.namespace, key.table))} "
        f"({_list(key.targets)})"
    )


def index_name(column: str) -> str:
    """A name for the vector index of a column."""
    return f"{column[: MAX_NAME - 4]}_idx"
