"""A PostgreSQL database as a store: list, describe, open, drop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vecferry.catalog import find
from vecferry.connectors.postgres import cards, catalog
from vecferry.connectors.postgres.access import Access, Connection, pooled
from vecferry.connectors.postgres.cards import Kept
from vecferry.connectors.postgres.catalog import Extension, Found
from vecferry.connectors.postgres.collection import Collection, collection, counted
from vecferry.connectors.postgres.ddl import qualified, quote
from vecferry.connectors.postgres.facts import LIMITS
from vecferry.connectors.postgres.sink import PostgresSink
from vecferry.connectors.postgres.source import PostgresSource
from vecferry.connectors.postgres.wishes import configured
from vecferry.errors import AlreadyExists, AuthFailed, ConfigError, Unsupported
from vecferry.events import Notice, tell
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, StoreIdentity
from vecferry.tables import Form, Table, guess
from vecferry.tables.check import check
from vecferry.tables.types import vector_type
from vecferry.url import StoreUrl

_COUNTED = 50_000_000
"""Estimated rows past which a list of collections does not count them one by one."""
_SAMPLED = 1_000
Path = tuple[str, ...]


class PostgresDatabase:
    """An open database."""

    def __init__(self, access: Access) -> None:
        """Open it and prove that it answers.

        Raises:
            ConfigError, Unavailable, AuthFailed, NotFound: with a message that says what to do.
        """
        self._access = access
        self._used: dict[Path, Form] = {}
        self._told: set[str] = set()
        with access.transaction() as connection:
            self._version = connection.info.parameter_status("server_version") or ""
            self._extension = _extension(connection)
            self._schema = _current_schema(connection)
        self._pages = pooled(access)
        for warning in self.warnings:
            tell(Notice(level="warning", message=warning))

    @property
    def identity(self) -> StoreIdentity:
        """Host, port and database; the versions of the server and of pgvector."""
        pgvector = f" (pgvector {self._extension.version})" if self._extension else ""
        return StoreIdentity(
            kind="postgresql",
            where=self._access.where,
            version=f"{self._version.partition(' ')[0]}{pgvector}",
            transport="pages" if self._pages else "copy",
        )

    @property
    def limits(self) -> Limits:
        """PostgreSQL's limits."""
        return LIMITS

    @property
    def home(self) -> tuple[str, ...]:
        """The schema that a collection without one goes into: the URL's, else the session's own."""
        return (self._access.schemas or (self._schema,))[:1]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about this connection."""
        if not self._pages:
            return ()
        said = "is a pooler in transaction mode: tables are read page by page, each page in a state of its own."
        return (f"{self._access.where} {said} For one consistent state connect directly, or in session mode (5432).",)

    def address(self) -> StoreUrl:
        """The URL that this database was opened by; passwords are references in it."""
        return self._access.url

    # ----------------------------------------------------------------------- tables and collections

    def tables(self) -> list[Table]:
        """Every table and view that the URL means and we may read."""
        with self._access.transaction() as connection:
            return [found.table for found in self._found(connection) if found.readable]

    def use(self, name: str, form: Form) -> None:
        """From now on the table `name` is the collection that `form` makes of it.

        Raises:
            NotFound, AuthFailed, ConfigError: see `Tabular.use`.
        """
        with self._access.transaction() as connection:
            table = self._one(connection, name).table
        check(table, form)
        self._used[_path(table)] = form

    def collections(self) -> Iterator[CollectionSpec]:
        """Tables and views with vectors, and those given to `use`, by schema and name."""
        with self._access.transaction() as connection:
            found = [one for one in self._found(connection) if one.readable]
            kept = self._cards(connection, found)
            for one in found:
                if self._is_collection(one.table, kept):
                    made = self._collection(connection, one, found, kept)
                    if made is not None:
                        yield made.spec

    def source(self, name: str) -> PostgresSource:
        """The reading side of a table or view.

        Raises:
            NotFound: there is none; lists near names.
            AuthFailed: we may not read it.
            ConfigError: nothing tells its rows apart.
        """
        with self._access.transaction() as connection:
            found = self._found(connection)
            one = self._one(connection, name)
            made = self._collection(connection, one, found, self._cards(connection, [one]), strict=True)
        if made is None:
            raise _keyless(one.table)
        if made.assumed and made.spec.qualified_name not in self._told:
            self._told.add(made.spec.qualified_name)
            told = "No index tells the metric of {}: {} is taken.".format(*_assumed(made))
            tell(Notice(level="warning", message=told))
        return PostgresSource(self._access, made, self._extension, pages=self._pages)

    def sink(self, spec: CollectionSpec) -> PostgresSink:
        """The writing side; nothing is touched before `prepare`."""
        return PostgresSink(self._access, spec, home=self.home)

    def configured(self, spec: CollectionSpec) -> CollectionSpec:
        """`spec` with its settings checked.

        Raises:
            ConfigError: a setting that there is not, or a value that it does not take.
        """
        return configured(spec)

    def drop(self, name: str) -> None:
        """Remove a table with everything in it, and its card. A view is not removed.

        Raises:
            Unsupported: it is a view.
            ConnectorError: something else depends on it.
        """
        path = tuple(name.split("/", 1)) if "/" in name else (*self.home, name)
        with self._access.transaction(write=True) as connection:
            found = catalog.find(connection, schemas=path[:1], tables=path[1:])
            if found and found[0].table.view:
                raise Unsupported(f"'{name}' is a view.", store=self._access.store, hint="Remove it with SQL.")
            if found:
                connection.execute(f"DROP TABLE {qualified(found[0].table)}".encode())
                cards.forget(connection, *path)

    def rename(self, name: str, new: str) -> None:
        """Give a table or view another name in its schema; its card, its keys and who refers to it go along.

        Raises:
            NotFound: it is not there.
            AlreadyExists: the new name is taken.
        """
        with self._access.transaction(write=True) as connection:
            table = self._one(connection, name).table
            (schema,) = table.namespace
            if catalog.find(connection, schemas=(schema,), tables=(new,)):
                raise AlreadyExists(
                    f"There is a table '{new}' already.", store=self._access.store, hint="Rename or drop it with SQL."
                )
            kind = "VIEW" if table.view else "TABLE"
            connection.execute(f"ALTER {kind} {qualified(table)} RENAME TO {quote(new)}".encode())
            kept = cards.read(connection, schema, table.name)
            if kept is not None:
                cards.write(connection, schema, new, kept)
                cards.forget(connection, schema, table.name)

    def close(self) -> None:
        """Close the connections."""
        self._access.close()

    # ----------------------------------------------------------------------- parts

    def _found(self, connection: Connection) -> list[Found]:
        return catalog.find(connection, schemas=self._access.schemas, tables=self._access.tables)

    def _one(self, connection: Connection, name: str) -> Found:
        """The table that `name` means."""
        found = {_path(one.table): one for one in self._found(connection)}
        offered = [path for path, one in found.items() if self._offers(one.table)]
        meant = find(found if name not in {"/".join(p) for p in offered} else offered, name, store=self._access.store)
        one = found[meant]
        if not one.readable:
            grant = f"GRANT USAGE ON SCHEMA {quote(meant[0])} TO …; GRANT SELECT ON {qualified(one.table)} TO …;"
            raise AuthFailed(
                f"This role may not read '{name}'.", store=self._access.store, hint=f"As its owner: {grant}"
            )
        return one

    def _offers(self, table: Table) -> bool:
        return _path(table) in self._used or any(vector_type(column.type) for column in table.columns)

    def _is_collection(self, table: Table, kept: Mapping[Path, Kept]) -> bool:
        return self._offers(table) or _path(table) in kept

    def _cards(self, connection: Connection, found: list[Found]) -> dict[Path, Kept]:
        schemas = {one.table.namespace[0] for one in found}
        return {
            (schema, name): kept
            for schema in sorted(schemas)
            for name, kept in cards.read_all(connection, schema).items()
        }

    def _collection(
        self, connection: Connection, one: Found, found: list[Found], kept: Mapping[Path, Kept], *, strict: bool = False
    ) -> Collection | None:
        """The collection of a table; None where nothing tells its rows apart."""
        card = kept.get(_path(one.table))
        form = self._used.get(_path(one.table)) or (card.form if card else guess(one.table))
        if not form.key:
            return None
        if strict:
            check(one.table, form)
        parents = {(other.table.namespace[0], other.table.name): other.table for other in found if other.readable}
        dims = _dims(connection, one.table, form, self._extension)
        made = collection(one, form, kept=card, dims=dims, parents=parents)
        if one.estimate > _COUNTED:
            return made
        row = connection.execute(f"SELECT count(*) FROM {made.rows}".encode()).fetchone()  # noqa: S608 (quoted)
        return counted(made, int(row[0]) if row else None)


def _path(table: Table) -> Path:
    return (*table.namespace, table.name)


def _assumed(made: Collection) -> tuple[str, str]:
    """(what, which metric) of the vectors whose metric nothing tells."""
    chosen = [vector for vector in made.spec.vectors if vector.name in made.assumed]
    metrics = " and ".join(sorted({vector.metric.value for vector in chosen}))
    names = [f"'{vector.name}'" for vector in chosen if vector.name]
    return " ".join((made.spec.qualified_name, *names)), metrics


def _keyless(table: Table) -> ConfigError:
    name = ".".join(_path(table))
    what = "view" if table.view else "table"
    fix = (
        ""
        if table.view
        else f" ALTER TABLE {qualified(table)} ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY; or"
    )
    return ConfigError(
        f"Nothing tells the rows of the {what} '{name}' apart: it has no key.",
        hint=f"Give it one:{fix} name the columns that do in the plan: key: [column].",
    )


def _extension(connection: Connection) -> Extension | None:
    try:
        return catalog.extension(connection, "")
    except Unsupported:
        return None


def _current_schema(connection: Connection) -> str:
    row = connection.execute("SELECT coalesce(current_schema(), 'public')").fetchone()
    return str(row[0]) if row else "public"


def _dims(connection: Connection, table: Table, form: Form, extension: Extension | None) -> dict[str, int]:
    """The commonest dimension, among the first rows, of vector columns whose type says none."""
    found: dict[str, int] = {}
    for name in form.vectors.values():
        kind, dim = vector_type(table.column(name).type) or ("", None)
        if dim is None and kind in {"vector", "halfvec"} and extension is not None:
            dims = f"SELECT {quote(extension.schema)}.vector_dims(t.{quote(name)}) AS n FROM {qualified(table)} t"  # noqa: S608
            some = f"{dims} WHERE t.{quote(name)} IS NOT NULL LIMIT {_SAMPLED}"
            statement = f"SELECT n FROM ({some}) s GROUP BY n ORDER BY count(*) DESC, n LIMIT 1"  # noqa: S608
            row: Any = connection.execute(statement.encode()).fetchone()
            if row:
                found[name] = int(row[0])
    return found


class PostgresConnector:
    """Opens databases of a PostgreSQL server."""

    def open(self, url: StoreUrl) -> PostgresDatabase:
        """See `Connector.open`."""
        if url.transport:
            raise ConfigError(
                f"'{url.scheme}+{url.transport}' is no way to PostgreSQL.",
                hint="Write postgresql://HOST:PORT/DATABASE.",
            )
        access = Access(url)
        try:
            return PostgresDatabase(access)
        except BaseException:
            access.close()
            raise


CONNECTOR = PostgresConnector()
