"""The table behind a sink: made, made again as its source had it, or adopted; with its card. In one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import psycopg

from vecferry.catalog import fit, merged_card
from vecferry.connectors.postgres import cards, catalog
from vecferry.connectors.postgres.access import Connection
from vecferry.connectors.postgres.cards import Kept
from vecferry.connectors.postgres.collection import metric_of
from vecferry.connectors.postgres.ddl import CARDS, create, is_own, literal, own, qualified, quote, vector_column
from vecferry.connectors.postgres.indexing import again
from vecferry.connectors.postgres.parents import adopt_parent, is_made, refuse_shared
from vecferry.errors import Conflict, Unsupported
from vecferry.model import Card, CollectionSpec, Element, VectorKind, VectorSpec
from vecferry.tables import Column, Form, Table, guess
from vecferry.tables.check import check
from vecferry.tables.expression import POSTGRES, one_piece
from vecferry.tables.keys import id_kind
from vecferry.tables.types import is_text, vector_type


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table that is ready to be written.

    Attributes:
        spec: what the store really has; `uid` is the table's oid.
        extension: the schema that pgvector lives in.
        restored: it is a source's own table, made again with that one's indexes.
        adopted: somebody else made it; its indexes are theirs.
    """

    spec: CollectionSpec
    table: Table
    form: Form
    extension: str
    restored: bool = False
    adopted: bool = False


def prepare(connection: Connection, spec: CollectionSpec, namespace: tuple[str, ...], store: str) -> Prepared:
    """Make the table of `spec` in `namespace`, or check that the one there fits.

    Raises:
        Conflict: the table there has another dimension, metric, vector or kind of ids, no key, or columns that must be
            filled and that we do not know.
        Unsupported: the database has no pgvector, and we may not create it; or its encoding is not UTF-8.
    """
    if spec.name == CARDS:
        raise Conflict(f"'{CARDS}' is the table of our cards.", store=store, hint="Choose another target name.")
    extension = _extension(connection, store)
    (schema,) = namespace
    see_extension(connection, extension)
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"vecferry {schema}.{spec.name}"])
    found = catalog.find(connection, schemas=[schema], tables=[spec.name])
    if not found:
        made = _make(connection, spec, schema, extension, store)
    else:
        table, kept = found[0].table, cards.read(connection, schema, spec.name)
        made = _join(table, kept, spec, extension, store) if kept else _adopt(table, spec, extension, store)
        made = replace(made, spec=_with_card(made.spec, kept.card if kept else None, adopted=made.adopted))
    assert made.spec.card is not None
    cards.write(connection, schema, spec.name, Kept(made.spec.card, made.form))
    return replace(made, spec=replace(made.spec, uid=_oid(connection, made.table)))


def _with_card(spec: CollectionSpec, known: Card | None, *, adopted: bool) -> CollectionSpec:
    """`spec` with the card that goes into the side table."""
    card = replace(spec.card or Card(), id_kind=spec.id_kind, vectors=spec.vectors, adopted=adopted)
    return replace(spec, card=merged_card(known, card) if known is not None else card)


def _oid(connection: Connection, table: Table) -> str:
    row = connection.execute(f"SELECT {literal(qualified(table))}::regclass::oid::text".encode()).fetchone()
    return str(row[0]) if row else ""


# --------------------------------------------------------------------------- pgvector


def _extension(connection: Connection, store: str) -> str:
    """The schema of pgvector, which is created where that is allowed."""
    _check_encoding(connection, store)
    if (schema := _extension_schema(connection)) is not None:
        return schema
    connection.execute("SAVEPOINT extension")
    try:
        connection.execute("CREATE EXTENSION vector")
    except psycopg.Error as error:
        connection.execute("ROLLBACK TO SAVEPOINT extension")
        said = error.diag.message_primary or str(error)
        raise Unsupported(
            f"The database of {store} has no pgvector, and this role cannot create it: {said}.",
            store=store,
            hint="Have it installed on the server (Debian: postgresql-17-pgvector), then run there, as a superuser or "
            "the database's owner: CREATE EXTENSION vector;",
        ) from error
    return _extension_schema(connection) or "public"


def _extension_schema(connection: Connection) -> str | None:
    row = connection.execute(
        "SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    ).fetchone()
    return str(row[0]) if row else None


def see_extension(connection: Connection, extension: str) -> None:
    """Let types and operator classes of pgvector be named without their schema, until this transaction ends."""
    path = f", {quote(extension)}"
    connection.execute("SELECT set_config('search_path', current_setting('search_path') || %s, true)", [path])


def _check_encoding(connection: Connection, store: str) -> None:
    row = connection.execute("SHOW server_encoding").fetchone()
    if row is not None and row[0] != "UTF8":
        raise Unsupported(
            f"The database of {store} keeps its text as {row[0]}, which cannot hold every text.",
            store=store,
            hint="Use a database of encoding UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;",
        )


# --------------------------------------------------------------------------- a table that is not there


def _make(connection: Connection, spec: CollectionSpec, schema: str, extension: str, store: str) -> Prepared:
    restored = _restored(spec, schema)
    table, form = restored or own(spec, (schema,))
    if not _schema_exists(connection, schema):
        connection.execute(f"CREATE SCHEMA {quote(schema)}".encode())
    try:
        connection.execute(create(table, extension).encode())
    except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedTable) as error:
        raise _unknown(table, error) from error
    adopt_parent(connection, table, spec, store)
    made = replace(spec, name=table.name, namespace=table.namespace)
    came_home = restored is not None and not is_made(spec)
    return Prepared(_with_card(made, None, adopted=False), table, form, extension, restored=came_home)


def _unknown(table: Table, error: psycopg.Error) -> Conflict:
    """The error of a table with types, collations or defaults that this database has not."""
    return Conflict(
        f"The table '{table.name}' cannot be made as it was: {error.diag.message_primary}.",
        hint="Create in this database what its columns are made of (types, functions, extensions, collations), or the "
        "table itself as you want it: it is then filled as it is.",
    )


def _schema_exists(connection: Connection, schema: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is not None


def _restored(spec: CollectionSpec, schema: str) -> tuple[Table, Form] | None:
    """The source's very table, where the spec comes from one and its records still have such ids."""
    if (given := told(spec)) is None:
        return None
    table, form = given
    if not form.key or not _holds_ids(table, form, spec):
        return None
    table = replace(table, name=spec.name, namespace=(schema,), primary_key=table.primary_key or form.key)
    keys = [set(key) for key in (table.primary_key, *table.unique)]
    if set(form.key) not in keys:  # what tells records apart has to, so that writing one again changes nothing
        table = replace(table, unique=(*table.unique, form.key))
    return fitted(table, form, spec)


def _holds_ids(table: Table, form: Form, spec: CollectionSpec) -> bool:
    """Whether the key of a table takes ids of the spec's kind; a text beside an envelope takes any."""
    any_kind = is_own(table, form) and is_text(table.column(form.key[0]).type)
    return any_kind or id_kind(table, form) is spec.id_kind


def told(spec: CollectionSpec) -> tuple[Table, Form] | None:
    """The table and form that a spec's settings tell of, None where they tell of none.

    Raises:
        ConfigError: its types, defaults or indexes are no single pieces of SQL.
    """
    table, form = spec.config.get("table"), spec.config.get("form")
    if not isinstance(table, Mapping) or not isinstance(form, Mapping):
        return None
    made = Table.from_json(table)
    for column in made.columns:
        one_piece(column.type, POSTGRES)
        one_piece(column.default or "", POSTGRES)
    for index in made.indexes:
        again(made, index)
    return made, Form.from_json(form)


def fitted(table: Table, form: Form, spec: CollectionSpec) -> tuple[Table, Form]:
    """`table` with the vectors that the spec has now: some may have been left out, added, or embedded anew."""
    gone = {column for name, column in form.vectors.items() if name not in {vector.name for vector in spec.vectors}}
    columns = {column.name: column for column in table.columns if column.name not in gone}
    vectors = {name: column for name, column in form.vectors.items() if column not in gone}
    changed = set(gone)
    for vector in spec.vectors:
        column = vectors.setdefault(vector.name, vector.name or "embedding")
        kind = vector_column(vector)
        known = columns.get(column)
        if known is None or not _holds(known.type, kind):
            columns[column] = replace(known, type=kind) if known else Column(name=column, type=kind)
            changed.add(column)
    indexes = tuple(index for index in table.indexes if not changed & set(index.columns))
    return replace(table, columns=tuple(columns.values()), indexes=indexes), replace(form, vectors=vectors)


def _holds(column: str, wanted: str) -> bool:
    """Whether a vector column of one type takes what one of another holds."""
    here, asked = vector_type(column), vector_type(wanted)
    if here is None or asked is None or here[0] != asked[0]:
        return False
    return here[0] == "sparsevec" or here[1] is None or here[1] == asked[1]


# --------------------------------------------------------------------------- a table that is there


def _join(table: Table, kept: Kept, spec: CollectionSpec, extension: str, store: str) -> Prepared:
    """A table of ours, or one that we adopted before."""
    refuse_shared(spec, table, store)
    known = replace(spec, id_kind=kept.card.id_kind, vectors=kept.card.vectors)
    vectors = fit(known, spec, store=store)
    check(table, kept.form)
    made = replace(spec, namespace=table.namespace, vectors=vectors)
    return Prepared(
        made,
        _numbered(table, spec),
        kept.form,
        extension,
        restored=not is_made(spec) and _restored(spec, table.namespace[0]) is not None,
        adopted=kept.card.adopted,
    )


def _numbered(table: Table, spec: CollectionSpec) -> Table:
    """`table` with the indexes that it shall have, where the spec tells of the source's very table."""
    given = told(spec)
    return table if given is None else replace(table, indexes=given[0].indexes)


def _adopt(table: Table, spec: CollectionSpec, extension: str, store: str) -> Prepared:
    """Somebody else's table: read by the form that the plan gives, or at a glance."""
    refuse_shared(spec, table, store)
    given = spec.config.get("form")
    form = Form.from_json(given) if isinstance(given, Mapping) else guess(table)
    _check_key(table, form, store)
    known = replace(spec, id_kind=id_kind(table, form), vectors=_vectors(table, form, spec))
    vectors = fit(known, spec, store=store)
    check(table, form)
    _check_columns(table, form, store)
    made = replace(spec, namespace=table.namespace, vectors=vectors)
    return Prepared(made, table, form, extension, adopted=True)


def _check_key(table: Table, form: Form, store: str) -> None:
    keys = [set(key) for key in (table.primary_key, *table.unique) if key]
    if table.view or set(form.key) not in keys:
        what = "is a view" if table.view else f"has no unique key over {', '.join(form.key) or 'any column'}"
        raise Conflict(
            f"The table '{table.name}' in {store} {what}; records could not be replaced by their ids.",
            store=store,
            hint="Give it a primary key (ALTER TABLE … ADD PRIMARY KEY (…)), or choose another target name.",
        )


def _check_columns(table: Table, form: Form, store: str) -> None:
    """Columns that have to be filled, and with what nobody said."""
    known = {*form.key, *form.vectors.values(), *form.columns, form.document, form.uri, form.metadata}
    empty = [
        column.name
        for column in table.columns
        if column.name not in known and not (column.nullable or column.default or column.generated or column.identity)
    ]
    if empty:
        raise Conflict(
            f"The table '{table.name}' in {store} must have a value in '{empty[0]}', and records have none.",
            store=store,
            hint=f'Give it a default: ALTER TABLE … ALTER "{empty[0]}" SET DEFAULT …, or choose another target name.',
        )


def _vectors(table: Table, form: Form, spec: CollectionSpec) -> tuple[VectorSpec, ...]:
    """The vectors of a table; without an index they have the metric that is asked for."""
    asked = {vector.name: vector for vector in spec.vectors}
    found = []
    for name, column in form.vectors.items():
        kind, dim = vector_type(table.column(column).type) or ("vector", None)
        wanted = asked.get(name, VectorSpec(name=name))
        found.append(
            VectorSpec(
                name=name,
                kind={"sparsevec": VectorKind.SPARSE, "bit": VectorKind.BITS}.get(kind, VectorKind.DENSE),
                dim=wanted.dim if kind == "sparsevec" else dim,
                metric=metric_of(table, column) or wanted.metric,
                element=Element.FLOAT16 if kind == "halfvec" else wanted.element if kind != "vector" else _wide(wanted),
            )
        )
    return tuple(found)


def _wide(wanted: VectorSpec) -> Element:
    """The number type of a `vector` column: that of the records, which it widens; halves have a type of their own."""
    return Element.FLOAT32 if wanted.element is Element.FLOAT16 else wanted.element
