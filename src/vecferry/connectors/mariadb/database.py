"""A database of a MariaDB server, by URL: `mariadb://HOST:PORT/DATABASE?user=NAME`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from vecferry import catalog as names
from vecferry.connectors.mariadb import cards, catalog, home
from vecferry.connectors.mariadb.address import Address
from vecferry.connectors.mariadb.facts import LIMITS
from vecferry.connectors.mariadb.names import qualified
from vecferry.connectors.mariadb.opened import Opened, find, opened
from vecferry.connectors.mariadb.server import Server
from vecferry.connectors.mariadb.sink import MariaSink
from vecferry.connectors.mariadb.source import MariaSource
from vecferry.errors import AlreadyExists, Conflict, NotFound
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, StoreIdentity
from vecferry.tables import Form, Table, guess
from vecferry.tables.check import check
from vecferry.url import StoreUrl


class MariaDatabase:
    """One database. Its collections are the tables with vectors, those with our card, and those given to `use`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._forms: dict[str, Form] = {}

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(
            kind="mariadb", where=self._server.address.where, version=self._server.version, transport="tcp"
        )

    @property
    def limits(self) -> Limits:
        return replace(LIMITS, request_bytes=self._server.max_packet)

    @property
    def home(self) -> tuple[str, ...]:
        """The database that the URL names: every collection lives there."""
        return (self._server.address.database,)

    # ----------------------------------------------------------------------- collections

    def collections(self) -> list[CollectionSpec]:
        """Every collection with its exact count, by name; one without a key is none, and says so when opened."""
        return [MariaSource(self._server, one).describe() for one in self._collections()]

    def _collections(self) -> list[Opened]:
        kept = cards.read_all(self._server)
        found = []
        for table in catalog.load(self._server):
            name = table.name
            form = guess(table)
            if name in self._forms or name in kept or (form.vectors and form.key):
                found.append(opened(table, kept.get(name), self._forms.get(name)))
        return found

    def tables(self) -> list[Table]:
        """Every table and view of the database that we may read, by name."""
        return catalog.load(self._server)

    def use(self, name: str, form: Form) -> None:
        """From now on the table `name` is the collection that `form` makes of it."""
        path = names.find(self._paths(), name, store=self._server.store)
        check(catalog.load(self._server, path[-1])[0], form)
        self._forms[path[-1]] = form

    def source(self, name: str) -> MariaSource:
        path = names.find(self._paths(), name, store=self._server.store)
        return MariaSource(self._server, find(self._server, path[-1], self._forms.get(path[-1])))

    def _paths(self) -> list[tuple[str, ...]]:
        return [(*table.namespace, table.name) for table in self.tables()]

    def sink(self, spec: CollectionSpec) -> MariaSink:
        return MariaSink(self._server, spec)

    def configured(self, spec: CollectionSpec) -> CollectionSpec:
        return home.configured(spec)

    def drop(self, name: str) -> None:
        """Remove a table of records and its card. A view stays, and a table that another database calls by its name."""
        with suppress(NotFound):
            path = names.find(self._paths(), name, store=self._server.store)
            table = catalog.load(self._server, path[-1])
            if table and table[0].view:
                raise Conflict(
                    f"'{name}' in {self._server.store} is a view.", hint="Remove it yourself, if it is in the way."
                )
            self._server.run(f"DROP TABLE {qualified(path)}")
            cards.forget(self._server, path[-1])

    def rename(self, name: str, new: str) -> None:
        """Give a table or view another name; its card and its keys go along.

        MariaDB renames in no transaction, so the card is copied first: at every moment the table has its card, and one
        that a crash left behind goes when the next table is renamed or written.

        Raises:
            NotFound: it is not there.
            AlreadyExists: the new name is taken.
        """
        path = names.find(self._paths(), name, store=self._server.store)
        if catalog.load(self._server, new):
            raise AlreadyExists(
                f"There is a table '{new}' already.", store=self._server.store, hint="Rename or drop it with SQL."
            )
        if (kept := cards.read(self._server, path[-1])) is not None:
            cards.write(self._server, new, kept)
        self._server.run(f"RENAME TABLE {qualified(path)} TO {qualified((*path[:-1], new))}")
        cards.tidy(self._server)

    def close(self) -> None:
        """Let every connection go."""
        self._server.close()


class MariaConnector:
    """Opens `mariadb:` URLs."""

    def open(self, url: StoreUrl) -> MariaDatabase:
        """Connect, and see that it is a MariaDB with vectors.

        Raises:
            ConfigError, AuthFailed, NotFound, Unavailable, Unsupported: with a message that says what to do.
        """
        return MariaDatabase(Server(Address(url)))
