"""SQL text that makes tables: our own for a spec, a source's very table, its keys and the side table of cards. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vecferry.connectors.postgres.facts import IDENTIFIER_BYTES
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Element, IdKind, VectorKind, VectorSpec
from vecferry.tables import Column, ForeignKey, Form, Table
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.types import vector_type

CARDS = "_vecferry_cards"
"""Side table of every schema that holds a collection of ours: table -> its card and the form of its records."""
OWN_COLUMNS = ("id", "document", "uri", "metadata", ENVELOPE)
SPARSE_DIM = 1_000_000_000
"""The most dimensions of a sparsevec; a sparse vector of ours does not say how many it has."""
_ID_TYPES = {IdKind.INT: "bigint", IdKind.UUID: "uuid"}


def quote(name: str) -> str:
    """`name` as an identifier.

    Raises:
        ConfigError: PostgreSQL would cut it short, or cannot hold it.
    """
    if len(name.encode()) > IDENTIFIER_BYTES or "\0" in name or not name:
        raise ConfigError(
            f"PostgreSQL takes no name such as '{name[:80]}'.",
            hint=f"Names have 1 to {IDENTIFIER_BYTES} bytes and no NUL. Give it another: --collection OLD=NEW.",
        )
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a string constant, whatever `standard_conforming_strings` says."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def in_query(text: str) -> str:
    """SQL text as part of a statement with parameters, for psycopg: a percent sign of a name is doubled."""
    return text.replace("%", "%%")


def qualified(table: Table) -> str:
    """The table's name with its schema."""
    return ".".join(map(quote, (*table.namespace, table.name)))


def names(columns: Sequence[str]) -> str:
    """Column names, quoted, with commas."""
    return ", ".join(map(quote, columns))


# --------------------------------------------------------------------------- our own table


def own(spec: CollectionSpec, namespace: tuple[str, ...]) -> tuple[Table, Form]:
    """The table that we make for a collection that was none here, and how its rows are records.

    Raises:
        ConfigError: a vector without dimension, or of a kind that pgvector has not.
    """
    vectors = _vector_columns(spec.vectors)
    columns = [
        Column(
            name="id",
            type=_ID_TYPES.get(spec.id_kind, "text"),
            nullable=False,
            collation=None if spec.id_kind in _ID_TYPES else "C",
        ),
        *(Column(name=vectors[vector.name], type=vector_column(vector)) for vector in spec.vectors),
        Column(name="document", type="text"),
        Column(name="uri", type="text"),
        Column(name="metadata", type="jsonb"),
        Column(name=ENVELOPE, type="jsonb"),
    ]
    table = Table(name=spec.name, namespace=namespace, columns=tuple(columns), primary_key=("id",))
    return table, Form(key=("id",), vectors=vectors, document="document", uri="uri", metadata="metadata")


def is_own(table: Table, form: Form) -> bool:
    """Whether `form` reads `table` by its envelope: ids escaped, metadata as it is.

    That is a table as `own` makes it, or one of an application's that got an envelope beside its columns.
    """
    texts = form.document is not None and form.metadata is not None
    return ENVELOPE in table.names and texts and not form.columns and len(form.key) == 1 and not form.id


def _vector_columns(vectors: Sequence[VectorSpec]) -> dict[str, str]:
    """By vector name, the column: its own name where that is free and fits."""
    taken, found = set(OWN_COLUMNS), dict[str, str]()
    for number, vector in enumerate(vectors):
        name = vector.name or "embedding"
        if name in taken or len(name.encode()) > IDENTIFIER_BYTES or "\0" in name:
            name = f"vector_{number}"
        taken.add(name)
        found[vector.name] = name
    return found


def vector_column(vector: VectorSpec) -> str:
    """The type of a vector's column: numbers that are no floats are widened.

    Raises:
        ConfigError: no dimension, or a multi-vector.
    """
    if vector.kind is VectorKind.SPARSE:
        return f"sparsevec({vector.dim or SPARSE_DIM})"
    if vector.kind is VectorKind.MULTI:
        raise ConfigError(
            f"pgvector has no multi-vectors ('{vector.name}').", hint="Leave the vector out, or move it elsewhere."
        )
    if not vector.dim:
        raise ConfigError(
            f"The vector '{vector.name}' has no dimension yet.",
            hint="A column has one from the start; an empty source cannot tell it.",
        )
    if vector.kind is VectorKind.BITS:
        if vector.dim == 1:
            raise ConfigError(f"'{vector.name}' is one bit, which reads as a flag.", hint="Keep it in the metadata.")
        return f"bit({vector.dim})"
    return f"{'halfvec' if vector.element is Element.FLOAT16 else 'vector'}({vector.dim})"


# --------------------------------------------------------------------------- statements


def type_sql(kind: str, extension: str) -> str:
    """A column's type, pgvector's with the schema that the extension lives in."""
    found = vector_type(kind)
    if found is None or found[0] == "bit":
        return kind
    return f"{quote(extension)}.{found[0]}" + (f"({found[1]})" if found[1] else "")


def create(table: Table, extension: str) -> str:
    """`CREATE TABLE` with its keys; its other indexes and its foreign keys come after the load."""
    parts = [_column(column, extension) for column in table.columns]
    if table.primary_key:
        parts.append(f"PRIMARY KEY ({names(table.primary_key)})")
    parts += [f"UNIQUE ({names(key)})" for key in table.unique]
    return f"CREATE TABLE {qualified(table)} ({', '.join(parts)})"


def _column(column: Column, extension: str) -> str:
    text = f"{quote(column.name)} {type_sql(column.type, extension)}"
    if column.collation:
        text += f" COLLATE {collation(column.collation)}"
    if column.identity:
        text += " GENERATED BY DEFAULT AS IDENTITY"
    elif column.generated:
        text += f" GENERATED ALWAYS AS ({column.default}) STORED"
    elif column.default is not None:
        text += f" DEFAULT {column.default}"
    return text if column.nullable else f"{text} NOT NULL"


def collation(name: str) -> str:
    """A collation's name, which may stand in a schema."""
    return ".".join(quote(part.strip('"')) for part in name.split("."))


def foreign_key(table: Table, key: ForeignKey) -> str:
    """The statement that gives a table one of its foreign keys."""
    name = f"CONSTRAINT {quote(key.name)} " if key.name else ""
    parent = ".".join(map(quote, filter(None, (key.schema, key.table))))
    return (
        f"ALTER TABLE {qualified(table)} ADD {name}FOREIGN KEY ({names(key.columns)})"
        f" REFERENCES {parent} ({names(key.targets)})"
    )


def cards(schema: str) -> str:
    """The side table of cards."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quote(schema)}.{quote(CARDS)} "
        '(collection text COLLATE "C" PRIMARY KEY, card json NOT NULL, form json NOT NULL)'
    )


def sequences(table: Table) -> Iterator[str]:
    """Statements that make each counter go on behind the largest number in its column; an empty table changes none."""
    for column in table.columns:
        if column.identity:
            where = literal(qualified(table)), literal(column.name)
            sequence = f"pg_get_serial_sequence({where[0]}, {where[1]})"
            yield (
                f"SELECT setval({sequence}, greatest(m.n, coalesce(pg_sequence_last_value({sequence}::regclass), 0)))"  # noqa: S608 # quoted
                f" FROM (SELECT max({quote(column.name)}) AS n FROM {qualified(table)}) AS m WHERE m.n > 0"
            )
