"""One collection as the catalog, its card and its form have it: what source and sink both start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vecferry.catalog import gone
from vecferry.connectors.mariadb import cards, catalog
from vecferry.connectors.mariadb.facts import DISTANCES
from vecferry.connectors.mariadb.names import quote
from vecferry.connectors.mariadb.server import Server
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.tables import Form, Table, guess, sql
from vecferry.tables.check import check
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.keys import id_kind

_METRICS = {name: metric for metric, name in DISTANCES.items()}


@dataclass(frozen=True, slots=True)
class Opened:
    """A table that is a collection.

    Attributes:
        own: it is of our own make, with an envelope.
    """

    table: Table
    form: Form
    spec: CollectionSpec
    own: bool

    @property
    def rows(self) -> str:
        """What follows FROM, with the form's own condition and without the parents, which only add columns."""
        bare = replace(self.form, joins=())
        return f"{sql.from_sql(self.table, bare, quote)} WHERE {sql.where_sql(bare)}"


def find(server: Server, name: str, form: Form | None = None) -> Opened:
    """The collection `name`, in the form that it is given, or its card's, or what a look at it suggests.

    Raises:
        NotFound: no such table.
        ConfigError: the form does not fit it.
    """
    found = catalog.load(server, name)
    if not found:
        raise gone(name, store=server.store)
    return opened(found[0], cards.read(server, name), form)


def opened(table: Table, kept: cards.Kept | None, form: Form | None = None) -> Opened:
    """See `find`."""
    if kept is not None and not _fits(table, kept):
        kept = None  # of a table of that name which is no more
    own = kept is not None and kept.own and form in (None, kept.form)
    chosen = form or (kept.form if kept is not None else guess(table))
    if not own:
        check(table, chosen)
    spec = described(table, chosen, kept, own=own)
    return Opened(table, chosen, spec, own)


def _fits(table: Table, kept: cards.Kept) -> bool:
    """Is it the card of this very table?"""
    try:
        check(table, kept.form)
    except ConfigError:
        return False
    return not kept.own or ENVELOPE in table.names


def described(table: Table, form: Form, kept: cards.Kept | None, *, own: bool) -> CollectionSpec:
    """What the collection is, without its count."""
    card = kept.card if kept is not None else None
    kind = card.id_kind if own and card is not None else id_kind(table, form)
    known = {vector.name: vector for vector in (card.vectors if card is not None else ())}
    vectors = tuple(_vector(table, name, column, form, known) for name, column in form.vectors.items())
    return CollectionSpec(
        name=table.name,
        namespace=table.namespace,
        uid=kept.uid if kept is not None else None,
        id_kind=kind,
        vectors=vectors,
        config={**(_own_config(table) if own else {}), "table": table.as_json(), "form": form.as_json()},
        card=card,
    )


def _own_config(table: Table) -> dict[str, Any]:
    """M of the vector index, where it is no default."""
    told = next(
        (index.options["m"] for index in table.indexes if "m" in index.options and index.method == "vector"), ""
    )
    return {"m": int(told)} if told else {}


def _vector(table: Table, name: str, column: str, form: Form, known: dict[str, VectorSpec]) -> VectorSpec:
    """Its metric is what the form says; else that of its index, or without one what the card says; else cosine."""
    told = next((i.opclass for i in table.indexes if i.method == "vector" and i.columns == (column,)), None) or ""
    carded = known[name].metric if name in known else None
    metric = form.metric or _METRICS.get(told) or carded or Metric.COSINE
    return VectorSpec(name=name, dim=catalog.dimension(table.column(column).type), metric=metric)
