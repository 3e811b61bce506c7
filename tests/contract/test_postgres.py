"""The PostgreSQL connector passes the contracts; `seed` and `dump` are plain SQL through psycopg, values as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from psycopg import sql

from vecferry.connectors.postgres import LIMITS
from vecferry.model import Card, CollectionSpec, Element, Metric, Record, VectorKind, VectorSpec
from vecferry.tables import Form
from vecferry.testing.contracts import SinkContract, SourceContract
from vecferry.testing.postgres import PostgresDatabase

OPCLASS = {Metric.L2: "l2", Metric.COSINE: "cosine", Metric.IP: "ip", Metric.L1: "l1", Metric.HAMMING: "hamming"}


class TestPostgres(SourceContract, SinkContract):
    limits = LIMITS
    many = 5_000

    @pytest.fixture
    def url(self, postgres: PostgresDatabase) -> str:
        self.database = postgres
        return postgres.url

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        """A table such as people have: an id, vectors with an index each, the text, the metadata as `json`."""
        columns = {vector.name: vector.name or "embedding" for vector in spec.vectors}
        with self.database.connect() as connection, connection.transaction():
            connection.execute(_table(spec, columns))
            row = sql.SQL("INSERT INTO {} VALUES ({})").format(
                sql.Identifier(spec.name), sql.SQL(", ").join([sql.Placeholder()] * (len(columns) + 3))
            )
            with connection.cursor() as cursor:
                cursor.executemany(row, [_row(spec, record) for record in records])
            for vector in spec.vectors:
                connection.execute(_index(spec, vector, columns[vector.name]))
            if len(columns) == 1 and "" not in columns:  # nobody could guess such a name
                _name_it(connection, spec, columns)

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        with self.database.connect() as connection:
            rows = connection.execute(
                sql.SQL("SELECT id, embedding::text, document, uri, metadata FROM {}").format(sql.Identifier(spec.name))
            ).fetchall()
        return [
            Record(
                id=text,
                vectors={"": np.array(json.loads(vector), np.float32)},
                document=document,
                uri=uri,
                metadata=metadata,
            )
            for text, vector, document, uri, metadata in rows
        ]


def _table(spec: CollectionSpec, columns: dict[str, str]) -> sql.Composed:
    vectors = [
        sql.SQL("{} {}").format(sql.Identifier(columns[vector.name]), sql.SQL(_type(vector))) for vector in spec.vectors
    ]
    return sql.SQL("CREATE TABLE {} (id text PRIMARY KEY, {}, content text, metadata json)").format(
        sql.Identifier(spec.name), sql.SQL(", ").join(vectors)
    )


def _type(vector: VectorSpec) -> str:
    if vector.kind is VectorKind.SPARSE:
        return "sparsevec(10000)"
    if vector.kind is VectorKind.BITS:
        return f"bit({vector.dim})"
    return f"halfvec({vector.dim})" if vector.element is Element.FLOAT16 else f"vector({vector.dim})"


def _index(spec: CollectionSpec, vector: VectorSpec, column: str) -> sql.Composed:
    opclass = f"{_type(vector).partition('(')[0]}_{OPCLASS[vector.metric]}_ops"
    return sql.SQL("CREATE INDEX ON {} USING hnsw ({} {})").format(
        sql.Identifier(spec.name), sql.Identifier(column), sql.SQL(opclass)
    )


def _row(spec: CollectionSpec, record: Record) -> list[Any]:
    vectors = [_text(record.vectors[vector.name], vector) for vector in spec.vectors]
    metadata = None if record.metadata is None else json.dumps(record.metadata)
    return [record.id, *vectors, record.document, metadata]


def _text(value: Any, vector: VectorSpec) -> str | None:
    """A vector as pgvector's own text; of a sparse one the indices count from 1."""
    if value is None:
        return None
    if isinstance(value, tuple):
        pairs = ",".join(f"{index + 1}:{float(number)!r}" for index, number in zip(*value, strict=True))
        return f"{{{pairs}}}/10000"
    if isinstance(value, bytes):
        return "".join(f"{byte:08b}" for byte in value)[: vector.dim]
    return f"[{','.join(repr(float(number)) for number in value)}]"


def _name_it(connection: Any, spec: CollectionSpec, columns: dict[str, str]) -> None:
    columns_of_it = 'collection text COLLATE "C" PRIMARY KEY, card json, form json'
    connection.execute(f"CREATE TABLE IF NOT EXISTS _vecferry_cards ({columns_of_it})")
    form = Form(key=("id",), vectors=columns, document="content", metadata="metadata")
    told = [msgspec.json.encode(value).decode() for value in (Card(vectors=spec.vectors), form)]
    connection.execute("INSERT INTO _vecferry_cards VALUES (%s, %s, %s)", [spec.name, *told])
