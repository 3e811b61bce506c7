"""One table as a collection: its form, its spec, and the pieces of SQL that both reading and searching need. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vecferry.connectors.postgres._codec.records import Reading
from vecferry.connectors.postgres.cards import Kept
from vecferry.connectors.postgres.catalog import Found
from vecferry.connectors.postgres.ddl import is_own, literal, qualified, quote
from vecferry.model import Card, CollectionSpec, Element, Metric, VectorKind, VectorSpec
from vecferry.tables import Form, Index, Table
from vecferry.tables.keys import id_kind
from vecferry.tables.sql import from_sql, where_sql
from vecferry.tables.types import vector_type

_OPCLASS = re.compile(r"(?:vector|halfvec|sparsevec|bit)_(l2|ip|cosine|l1|hamming|jaccard)_ops")
_KINDS = {"sparsevec": VectorKind.SPARSE, "bit": VectorKind.BITS}
_ELEMENTS = {"halfvec": Element.FLOAT16, "bit": Element.UINT8}


@dataclass(frozen=True, slots=True)
class Collection:
    """A table, how its rows are records, and what the collection is.

    Attributes:
        assumed: vectors whose metric nothing tells; cosine (bits: hamming) was taken.
        trusted: a key of the table itself holds the form's key apart and not null.
    """

    spec: CollectionSpec
    table: Table
    form: Form
    reading: Reading
    estimate: int
    assumed: tuple[str, ...]
    trusted: bool

    @property
    def key(self) -> str:
        """The key columns, with commas."""
        return ", ".join(f"t.{quote(name)}" for name in self.form.key)

    @property
    def source(self) -> str:
        """What follows FROM, with the form's own condition."""
        return f"{from_sql(self.table, self.form, quote)} WHERE {where_sql(self.form)}"

    @property
    def rows(self) -> str:
        """`source` without the parents that only add columns."""
        return f"{qualified(self.table)} t WHERE {where_sql(self.form)}"

    def beyond(self, key: Sequence[str] | None, operator: str) -> str:
        """The condition that a row's key is on one side of `key`; true where that is None."""
        if key is None:
            return "TRUE"
        values = ", ".join(map(literal, key))
        return f"({self.key}) {operator} ({values})"


def collection(
    found: Found, form: Form, *, kept: Kept | None, dims: Mapping[str, int], parents: Mapping[tuple[str, str], Table]
) -> Collection:
    """The collection that `form` makes of a table.

    Args:
        found: the table.
        form: how its rows are records.
        kept: our card of it, where there is one.
        dims: column -> dimension, of the columns whose type says none.
        parents: (schema, table) -> table, for the form's joins.
    """
    table, own = found.table, kept is not None and is_own(found.table, form)
    card = None if kept is None else kept.card
    vectors, assumed = _vectors(table, form, card, dims)
    spec = CollectionSpec(
        name=table.name,
        namespace=table.namespace,
        uid=str(found.oid),
        id_kind=card.id_kind if card is not None and own else id_kind(table, form),
        vectors=vectors,
        config={"table": table.as_json(), "form": form.as_json()},
        card=card,
    )
    reading = Reading(spec, table, form, own=own, types=_types(table, form, parents))
    return Collection(spec, table, form, reading, found.estimate, assumed, _is_trusted(table, form))


def counted(made: Collection, count: int | None) -> Collection:
    """`made` with its number of records."""
    return replace(made, spec=replace(made.spec, count=count))


def _is_trusted(table: Table, form: Form) -> bool:
    if any(table.column(name).nullable for name in form.key):
        return False
    return any(set(key) <= set(form.key) for key in (table.primary_key, *table.unique) if key)


def _types(table: Table, form: Form, parents: Mapping[tuple[str, str], Table]) -> dict[str, str]:
    """Metadata key -> type text; a rank is a number, a parent that we may not look up gives text."""
    types = {key: table.column(column).type for key, column in form.own.items()}
    types |= {form.name(name): "bigint" for name in form.ranks}
    for join in form.joins:
        parent = parents.get((join.schema or table.namespace[-1], join.table))
        for key, column in join.columns.items():
            types[key] = "" if parent is None else parent.column(column).type
    return types


def _vectors(
    table: Table, form: Form, card: Card | None, dims: Mapping[str, int]
) -> tuple[tuple[VectorSpec, ...], tuple[str, ...]]:
    promised = {} if card is None else {vector.name: vector.metric for vector in card.vectors}
    vectors, assumed = [], []
    for name, column in form.vectors.items():
        kind, dim = vector_type(table.column(column).type) or ("vector", None)
        metric = form.metric or metric_of(table, column) or promised.get(name)
        if metric is None:
            assumed.append(name)
        usual = Metric.HAMMING if kind == "bit" else Metric.COSINE
        vectors.append(
            VectorSpec(
                name=name,
                kind=_KINDS.get(kind, VectorKind.DENSE),
                dim=None if kind == "sparsevec" else dim or dims.get(column),
                metric=metric or usual,
                element=_ELEMENTS.get(kind, Element.FLOAT32),
            )
        )
    return tuple(vectors), tuple(assumed)


def metric_of(table: Table, column: str) -> Metric | None:
    """The metric that an index over a vector column was built for; None where there is none, or two that differ."""
    found = {Metric(name) for index in table.indexes if _is_over(index, column) for name in _metrics(index)}
    return found.pop() if len(found) == 1 else None


def _metrics(index: Index) -> Iterator[str]:
    match = _OPCLASS.fullmatch(index.opclass or "")
    if match:
        yield match[1]


def _is_over(index: Index, column: str) -> bool:
    """Is the index over the column, or over an expression of it, such as `(v)::halfvec(4000)`?"""
    if index.columns:
        return index.columns[0] == column
    return (
        re.search(rf"(?<![\w\"]){re.escape(column)}(?![\w\"])|{re.escape(quote(column))}", index.expression or "")
        is not None
    )
