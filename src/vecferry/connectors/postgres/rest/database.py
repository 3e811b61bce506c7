"""A Supabase project over its REST interface as a store: list, describe, open. Nothing is ever written."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NoReturn

import orjson

from vecferry.catalog import find
from vecferry.connectors.postgres.cards import Kept, decoded
from vecferry.connectors.postgres.catalog import Found
from vecferry.connectors.postgres.collection import Collection, collection, counted
from vecferry.connectors.postgres.ddl import CARDS
from vecferry.connectors.postgres.facts import LIMITS
from vecferry.connectors.postgres.rest import query
from vecferry.connectors.postgres.rest.address import Address
from vecferry.connectors.postgres.rest.api import Api
from vecferry.connectors.postgres.rest.parents import Parents
from vecferry.connectors.postgres.rest.schema import tables
from vecferry.connectors.postgres.rest.source import KeyedRestSource, RestSource
from vecferry.errors import AuthFailed, ConfigError, NotFound, Unsupported
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, StoreIdentity
from vecferry.tables import Form, Table, guess
from vecferry.tables.check import check
from vecferry.tables.types import vector_type
from vecferry.url import StoreUrl

_LOG = logging.getLogger("vecferry.postgres")
_SAMPLED = 20
_DIRECT = "Use the database itself: postgresql://HOST:5432/postgres (in the project's page: Connect)."
Path = tuple[str, ...]


class SupabaseDatabase:
    """An open project."""

    def __init__(self, address: Address) -> None:
        """Open it and prove that it answers.

        Raises:
            ConfigError, Unavailable, AuthFailed: with a message that says what to do.
        """
        self._address, self._api = address, Api(address)
        self._used: dict[Path, Form] = {}
        try:
            self._found()
        except BaseException:
            self._api.close()
            raise
        for warning in self.warnings:
            _LOG.warning(warning)

    @property
    def identity(self) -> StoreIdentity:
        """The project; its database is PostgreSQL."""
        return StoreIdentity(kind="postgresql", where=self._address.where, transport="rest")

    @property
    def limits(self) -> Limits:
        """PostgreSQL's limits."""
        return LIMITS

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about this connection."""
        where = self._address.where
        found = []
        if self._address.partial:
            found.append(
                f"The key for {where} is one for visitors ({self._address.role}): row-level security may hide rows "
                "from it without a word. Use the service key."
            )
        paged = f"{where} is read page by page, each page in a state of its own. For one consistent state use postgresql://."
        return (*found, *self._address.warnings, paged)

    def address(self) -> StoreUrl:
        """The URL that this project was opened by; keys are references in it."""
        return self._address.url

    # ----------------------------------------------------------------------- tables and collections

    def tables(self) -> list[Table]:
        """Every table and view that the URL means and the key may read."""
        return list(self._found().values())

    def use(self, name: str, form: Form) -> None:
        """From now on the table `name` is the collection that `form` makes of it.

        Raises:
            NotFound, ConfigError: see `Tabular.use`.
            Unsupported: the form wants what only SQL can do.
        """
        table = self._one(self._found(), name)
        check(table, form)
        _refuse_sql(table, form)
        self._used[_path(table)] = form

    def collections(self) -> Iterator[CollectionSpec]:
        """Tables and views with vectors, and those given to `use`, by name; without those that have no key."""
        cards, found = self._cards(), self._found()
        for table in found.values():
            offered = self._offers(table) or table.name in cards
            if offered and (made := self._collection(table, cards, found)) is not None:
                yield made.spec

    def source(self, name: str) -> RestSource:
        """The reading side of a table or view.

        Raises:
            NotFound: there is none; lists near names.
            ConfigError: nothing tells its rows apart.
        """
        found = self._found()
        table = self._one(found, name)
        made = self._collection(table, self._cards(), found)
        if made is None:
            raise ConfigError(
                f"Nothing tells the rows of '{name}' apart: the REST interface names no primary key of it.",
                hint="Give it one with SQL, or name the columns that do in the plan: key: [column].",
            )
        for vector in made.assumed:
            _LOG.warning(
                "The REST interface tells no metric: cosine is taken for '%s' in %s.", vector, made.spec.qualified_name
            )
        parents = Parents(self._api, made.form, {one.name: one for one in found.values()})
        kind = RestSource if made.form.id else KeyedRestSource
        return kind(self._api, made, parents, page_rows=self._address.page_rows)

    def sink(self, spec: CollectionSpec) -> NoReturn:
        """There is none.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(
            f"'{spec.name}' cannot be written over Supabase's REST interface.", store=self._api.store, hint=_DIRECT
        )

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    # ----------------------------------------------------------------------- parts

    def _found(self) -> dict[Path, Table]:
        every = tables(self._api.description(), self._address.schema, store=self._api.store)
        wanted = self._address.tables
        return {_path(one): one for one in every if one.name != CARDS and (not wanted or one.name in wanted)}

    def _one(self, found: Mapping[Path, Table], name: str) -> Table:
        offered = [path for path, table in found.items() if self._offers(table)]
        known = offered if name in {"/".join(path) for path in offered} else found
        return found[find(known, name, store=self._api.store)]

    def _offers(self, table: Table) -> bool:
        return _path(table) in self._used or any(vector_type(column.type) for column in table.columns)

    def _cards(self) -> dict[str, Kept]:
        """By table, the cards of those that we wrote by way of postgresql://; none where they are not exposed."""
        try:
            rows = self._api.rows(CARDS, {"select": "collection,card::text,form::text"})
        except (NotFound, AuthFailed):
            return {}
        return {row["collection"]: decoded(row["collection"], row["card"], row["form"]) for row in rows}

    def _collection(self, table: Table, cards: Mapping[str, Kept], every: Mapping[Path, Table]) -> Collection | None:
        """The collection of a table; None where nothing tells its rows apart."""
        kept = cards.get(table.name)
        form = self._used.get(_path(table)) or (kept.form if kept else guess(table))
        if not form.key:
            return None
        dims = dict(self._dims(table, form))
        found = Found(table=table, oid=0, estimate=-1, readable=True)
        parents = {(one.namespace[0], one.name): one for one in every.values()}
        made = collection(found, form, kept=kept, dims=dims, parents=parents)
        made = replace(made, spec=replace(made.spec, uid=""))
        return counted(made, self._api.count_if_quick(table.name, {"select": query.name(form.key[0])}))

    def _dims(self, table: Table, form: Form) -> Iterator[tuple[str, int]]:
        """(column, the commonest dimension among its first rows) of vectors whose type says none."""
        for column in form.vectors.values():
            kind, dim = vector_type(table.column(column).type) or ("", None)
            if dim is None and kind in {"vector", "halfvec"}:
                name = query.name(column)
                rows = self._api.rows(table.name, {"select": f"v:{name}", name: "not.is.null", "limit": _SAMPLED})
                lengths = Counter(len(orjson.loads(row["v"])) for row in rows)
                yield from ((column, length) for length, _ in lengths.most_common(1))


def _path(table: Table) -> Path:
    return (*table.namespace, table.name)


def _refuse_sql(table: Table, form: Form) -> None:
    elsewhere = [join for join in form.joins if join.schema not in {"", *table.namespace}]
    wants = {"where": form.where, "joins with another schema": elsewhere, "ranks": form.ranks}
    for what, given in wants.items():
        if given:
            raise Unsupported(f"The REST interface cannot do {what}, which '{table.name}' is given.", hint=_DIRECT)


class SupabaseConnector:
    """Opens projects over REST."""

    def open(self, url: StoreUrl) -> SupabaseDatabase:
        """See `Connector.open`."""
        return SupabaseDatabase(Address(url))


CONNECTOR = SupabaseConnector()
