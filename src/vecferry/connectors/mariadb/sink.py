"""Writing a collection in bulk: make or adopt its table, upsert batches, build the vector index behind the load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from threading import RLock

import pyarrow as pa

from vecferry.catalog import fit
from vecferry.connectors.mariadb import cards, catalog, ddl, home
from vecferry.connectors.mariadb._codec.writing import Writing
from vecferry.connectors.mariadb.facts import DISTANCES
from vecferry.connectors.mariadb.failures import TooLarge
from vecferry.connectors.mariadb.names import qualified, quote, text
from vecferry.connectors.mariadb.opened import Opened, find, opened
from vecferry.connectors.mariadb.server import Server
from vecferry.errors import Conflict, ConnectorError, DataError
from vecferry.model import CollectionSpec, JsonObject, Receipt
from vecferry.tables import ForeignKey, Form, Index, Table

_DELETE = 500
_STATEMENT_BYTES = 2 << 20
"""What one statement has at most, so that the next one stands in the same memory: new pages cost more than the rest."""
_DUPLICATE = 1062
"""MariaDB's number for a key that is there already."""


class MariaSink:
    """The writing side of one collection. `write` is thread-safe: every batch has a connection to itself.

    Guarantee: a batch is one transaction of upserts, durable when `write` returns; writing it again changes nothing. A
    record that MariaDB refuses takes its batch with it, and the engine finds it by halves.
    """

    def __init__(self, server: Server, spec: CollectionSpec) -> None:
        self._server, self._spec = server, spec
        self._writing: Writing | None = None
        self._home: Table | None = None
        self._config: JsonObject = {}
        self._is_new = True
        self._lock = RLock()

    # ----------------------------------------------------------------------- prepare

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        """Make the table, or see that the existing one fits: one of ours, or somebody's whose columns do.

        Raises:
            Conflict: it exists with another dimension, metric or kind of ids, or has no place for the records.
        """
        with self._lock:
            self._home = home.table(spec, self._server.address.database)
            cards.tidy(self._server)
            found = self._existing(spec) or self._make(spec)
            self._check(found, spec)
            self._card(found, spec)
            made = find(self._server, spec.name)
            vectors = spec.vectors if not found.own else fit(found.spec, spec, store=self._server.store)
            self._spec = replace(made.spec, vectors=vectors, id_kind=spec.id_kind, indexes=spec.indexes)
            self._writing = Writing(made.table, made.form, self._spec, own=made.own)
            self._config = spec.config
            (count,) = self._server.one(f"SELECT COUNT(*) FROM {self._place(made.table)}")
            return replace(self._spec, count=int(count or 0), card=spec.card)

    def _existing(self, spec: CollectionSpec) -> Opened | None:
        """The table that is there, as its card has it; without one, as the records come home, or as it looks."""
        found = catalog.load(self._server, spec.name)
        kept = cards.read(self._server, spec.name)
        if not found or kept is not None:
            return opened(found[0], kept) if found else None
        return opened(found[0], None, home.form(spec) if self._home is not None else None)

    def _make(self, spec: CollectionSpec) -> Opened:
        """The table that the records came from, on the way home; else one of our own."""
        own, form = self._home is None, home.form(spec)
        table = self._home or home.new(spec, self._server.address.database)
        if table is None or form is None:
            table, form = ddl.own(spec, self._server.address.database)
        self._adopt_parent(spec)
        kept = cards.Kept(card=spec.card, form=form, own=own, uid=cards.new_uid())
        cards.write(self._server, spec.name, kept)
        self._server.run(ddl.create(table))
        return find(self._server, spec.name)

    def _adopt_parent(self, spec: CollectionSpec) -> None:
        """Make the row, and the table, that every row of a new table refers to; the application adds the key itself.

        Raises:
            Conflict: a row of that name is there under another key.
        """
        parent = home.parent_of(spec)
        if parent is None:
            return
        table = replace(parent.table, namespace=(self._server.address.database,))
        (key,), place = table.primary_key, self._place(table)
        self._server.run(ddl.create(table).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1))
        columns, values = ", ".join(map(quote, parent.row)), ", ".join(map(text, parent.row.values()))
        self._server.run(f"INSERT IGNORE INTO {place} ({columns}) VALUES ({values})")
        if not self._server.rows(f"SELECT 1 FROM {place} WHERE {quote(key)} = {text(parent.row[key])}"):
            raise self._taken(table.name, f"has a row of that name under another {key}")

    def _taken(self, name: str, what: str) -> Conflict:
        hint = "Choose another database, or a layout with a table for each collection."
        return Conflict(f"'{name}' in {self._server.store} {what}.", store=self._server.store, hint=hint)

    def _check(self, found: Opened, spec: CollectionSpec) -> None:
        """Does the table fit? A vector that no index searches takes the metric that it is given."""
        indexed = {index.columns for index in found.table.indexes if index.method == "vector"}
        asked = {vector.name: vector for vector in spec.vectors}
        vectors = tuple(
            replace(vector, metric=asked[vector.name].metric)
            if not found.own and vector.name in asked and (found.form.vectors[vector.name],) not in indexed
            else vector
            for vector in found.spec.vectors
        )
        fit(replace(found.spec, vectors=vectors), spec, store=self._server.store)
        parent = home.parent_of(spec)
        if parent is not None and not parent.owns(found.table):
            raise self._taken(spec.name, "holds all collections of its application")
        if found.table.view:
            raise Conflict(
                f"'{spec.name}' in {self._server.store} is a view.",
                store=self._server.store,
                hint="Choose another target name; a view is only read.",
            )

    def _card(self, found: Opened, spec: CollectionSpec) -> None:
        """Note what the table is, unless that stands there already."""
        kept = cards.read(self._server, spec.name)
        uid = kept.uid if kept is not None else cards.new_uid()
        wanted = cards.Kept(card=spec.card, form=found.form, own=found.own, uid=uid)
        if kept is not None and kept.card is not None and spec.card is None:
            wanted = replace(wanted, card=kept.card)
        if kept is None and spec.card is not None and self._rows(found) > 0:
            wanted = replace(wanted, card=replace(spec.card, adopted=True))
        if wanted != kept:
            cards.write(self._server, spec.name, wanted)

    def _rows(self, found: Opened) -> int:
        return len(self._server.rows(f"SELECT 1 FROM {self._place(found.table)} LIMIT 1"))

    def _place(self, table: Table) -> str:
        return qualified((*table.namespace, table.name))

    # ----------------------------------------------------------------------- write

    def write(self, batch: pa.RecordBatch) -> Receipt:
        """Upsert a batch in one transaction: plain inserts as long as every record is new. Of equal ids the last wins.

        Raises:
            DataError: a record that MariaDB refuses, or that is larger than `max_allowed_packet`.
        """
        if not batch.num_rows:
            return Receipt(0, 0)
        if self._is_new:
            try:
                return self._write(batch, upsert=False)
            except DataError as error:
                if error.facts.get("code") != _DUPLICATE:
                    raise
            self._is_new = False  # from the first record that is there already: they cost a quarter more
        return self._write(batch, upsert=True)

    def _write(self, batch: pa.RecordBatch, *, upsert: bool) -> Receipt:
        most = min(self._server.max_packet, _STATEMENT_BYTES)
        sent = self._server.load(self._fitting(self._prepared().statements(batch, most, upsert=upsert), batch))
        return Receipt(batch.num_rows, sent)

    def _fitting(self, statements: Iterable[bytes], batch: pa.RecordBatch) -> Iterator[bytes]:
        for statement in statements:
            if len(statement) >= self._server.max_packet:
                raise self._too_large(batch)
            yield statement

    def _too_large(self, batch: pa.RecordBatch) -> DataError | TooLarge:
        """A record of `batch` is more than one statement may have; the engine looks for it in smaller batches."""
        said = f"One record is more than {self._server.store} takes at once ({self._server.max_packet:,} bytes)."
        hint = "Raise max_allowed_packet on the server; the same command goes on."
        if batch.num_rows > 1:
            return TooLarge(said, store=self._server.store, hint=hint, too_large=True)
        return DataError(said, ids=[batch.column("id")[0].as_py()], hint=hint)

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What reading `batch` back gives: MariaDB keeps what it is given. Pure."""
        return batch

    def delete(self, ids: Sequence[str]) -> None:
        """Remove the records with these original ids."""
        writing = self._prepared()
        for start in range(0, len(ids), _DELETE):
            self._server.run(writing.delete(ids[start : start + _DELETE]))

    def _prepared(self) -> Writing:
        if self._writing is None:
            hint = "Call prepare(spec) before the first write."
            raise DataError(f"{self._spec.qualified_name} was not prepared.", hint=hint)
        return self._writing

    # ----------------------------------------------------------------------- finish

    def finish(self) -> None:
        """Build the vector index, and on the way home the foreign keys. Idempotent.

        Raises:
            Unsupported, StoreFull: MariaDB cannot build it.
        """
        with self._lock:
            writing = self._prepared()
            table = find(self._server, self._spec.name).table
            there = {index.columns for index in table.indexes if index.method == "vector"}
            for index in self._wanted(table, writing.form):
                if index.columns not in there and not there:
                    self._server.run(ddl.vector_index(table, index))
                    there.add(index.columns)
            for key in self._home.foreign_keys if self._home is not None else ():
                if key.columns not in {one.columns for one in table.foreign_keys}:
                    self._add(table, key)

    def _wanted(self, table: Table, form: Form) -> list[Index]:
        """The vector indexes: those of the table that comes home, else one, over the first vector."""
        if self._home is not None:
            return [index for index in self._home.indexes if index.method == "vector"]
        if not self._config.get("vector_index", True) or not self._spec.vectors:
            return []
        first = self._spec.vectors[0]
        column = form.vectors[first.name]
        if table.column(column).nullable or first.metric not in DISTANCES or table.partitions:
            said = f"'{column}' of '{table.name}' gets no vector index: MariaDB builds none there."
            self._server.tell_once(said, level="warning")
            return []
        options = {"m": str(self._config["m"])} if "m" in self._config else {}
        name = ddl.index_name(column)
        return [Index(name=name, columns=(column,), method="vector", opclass=DISTANCES[first.metric], options=options)]

    def _add(self, table: Table, key: ForeignKey) -> None:
        """Add a foreign key, where its other table is there and holds what it names; a name may be taken already."""
        for named in (True, False):
            try:
                return self._server.run(ddl.foreign_key(table, key, named=named))
            except (ConnectorError, DataError) as error:
                problem = error.message
        said = f"The foreign key {key.name} of '{table.name}' was not made: {problem}"
        return self._server.tell_once(said, level="warning")

    def close(self) -> None:
        """Nothing of its own is open: the connections belong to the database."""
