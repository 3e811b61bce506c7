"""Nearest neighbours and filtered counts, by the operators of pgvector."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from vecferry.connectors.postgres.access import Access, Connection
from vecferry.connectors.postgres.catalog import Extension
from vecferry.connectors.postgres.collection import Collection
from vecferry.connectors.postgres.ddl import quote
from vecferry.connectors.postgres.scan import blocks
from vecferry.connectors.postgres.where import condition
from vecferry.errors import ConfigError, Unsupported
from vecferry.filters import Filter
from vecferry.model import Element, Hit, Metric, VectorKind, VectorSpec

_OPERATORS = {Metric.L2: "<->", Metric.IP: "<#>", Metric.COSINE: "<=>", Metric.L1: "<+>"}
_EXACT = "SELECT set_config(s, 'off', true) FROM unnest(ARRAY['enable_indexscan', 'enable_bitmapscan']) s"
_LARGEST_HALF = float(np.finfo(np.float16).max)
_MOST_CANDIDATES = 1000
"""The largest `hnsw.ef_search` that pgvector takes."""


class Searches:
    """Searches in one collection. Each call is one transaction."""

    def __init__(self, access: Access, made: Collection, extension: Extension) -> None:
        self._access = access
        self._made = made
        self._extension = extension

    def search(
        self, queries: NDArray[np.float32], *, k: int, exact: bool, vector: str, where: Filter | None
    ) -> list[list[Hit]]:
        """See `vecferry.protocols.Searchable`; scores are the operators' own."""
        chosen = _dense(self._made, vector)
        if chosen.element is Element.FLOAT16:  # what was made of a record's vector may lie past what it can hold
            queries = np.clip(queries, -_LARGEST_HALF, _LARGEST_HALF)
        with self._access.transaction() as connection:
            connection.execute(_EXACT if exact else _candidates(k))
            return [self._nearest(connection, query, chosen, k, where) for query in queries]

    def asking(self, query: NDArray[np.float32], vector: str) -> Callable[[], object]:
        """See `vecferry.protocols.Askable`: one statement, with the server's own settings."""
        distance, source = self._distance(query, _dense(self._made, vector))
        statement = f"SELECT {self._made.reading.select_id} FROM {source} ORDER BY {distance} LIMIT 10".encode()  # noqa: S608

        def ask() -> object:
            with self._access.connection() as connection:
                return connection.execute(statement).fetchall()

        return ask

    def count_where(self, where: Filter) -> int:
        """The exact number of rows that match."""
        statement = f"SELECT count(*) FROM {self._made.source} AND {condition(self._made, where)}"  # noqa: S608
        with self._access.transaction() as connection:
            row = connection.execute(statement.encode()).fetchone()
            return int(row[0]) if row else 0

    def _nearest(
        self, connection: Connection, query: NDArray[np.float32], vector: VectorSpec, k: int, where: Filter | None
    ) -> list[Hit]:
        distance, source = self._distance(query, vector)
        source += f" AND {condition(self._made, where)}" if where else ""
        selected = f"{self._made.reading.select_id}, ({distance})::text"
        return list(self._hits(connection, f"SELECT {selected} FROM {source} ORDER BY {distance} LIMIT {k}"))  # noqa: S608

    def _distance(self, query: NDArray[np.float32], vector: VectorSpec) -> tuple[str, str]:
        """(the distance from `query`, the rows that have one), in SQL."""
        column = f"t.{quote(self._made.form.vectors[vector.name])}"
        kind = "halfvec" if vector.element is Element.FLOAT16 else "vector"
        schema = quote(self._extension.schema)
        wanted = f"'[{','.join(map(repr, query.tolist()))}]'::{schema}.{kind}"
        distance = f"{column} OPERATOR({schema}.{_OPERATORS[vector.metric]}) {wanted}"
        return distance, f"{self._made.source} AND {column} IS NOT NULL"

    def _hits(self, connection: Connection, statement: str) -> Iterator[Hit]:
        for block in blocks(connection, statement, rows=_MOST_CANDIDATES, size=1 << 24):
            ids, scores = self._made.reading.ids(block, more=1)
            yield from (Hit(text, float(score or 0)) for text, score in zip(ids, scores, strict=True))


def _candidates(k: int) -> str:
    """How many candidates an index is asked for: no fewer than results are wanted."""
    most = max(100, min(k, _MOST_CANDIDATES))
    return f"SELECT set_config('hnsw.ef_search', '{most}', true), set_config('ivfflat.probes', '10', true)"


def _dense(made: Collection, name: str) -> VectorSpec:
    vector = next((vector for vector in made.spec.vectors if vector.name == name), None)
    if vector is None:
        names = [vector.name for vector in made.spec.vectors]
        raise ConfigError(f"{made.spec.name} has no vector '{name}'.", hint=f"It has {names}.")
    if vector.kind is not VectorKind.DENSE:
        raise Unsupported(f"We do not search {vector.kind} vectors in PostgreSQL.", hint="Search a dense vector.")
    return vector
