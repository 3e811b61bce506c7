"""The MariaDB connector passes the contracts; `seed` and `dump` are plain SQL through PyMySQL."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from vecferry.connectors.mariadb import LIMITS
from vecferry.filters import Contains, Filter, Not
from vecferry.model import CollectionSpec, Record
from vecferry.tags import pack
from vecferry.testing.contracts import SinkContract, SourceContract
from vecferry.testing.mariadb import MariaDBDatabase

DISTANCE = {"l2": "euclidean", "cosine": "cosine"}


class TestMariaDB(SourceContract, SinkContract):
    limits = LIMITS
    many = 5_000
    unanswered: frozenset[Filter] = frozenset({Contains("tags", "a"), Not(Contains("tags", "a"))})

    @pytest.fixture
    def url(self, mariadb: MariaDBDatabase) -> str:
        self.database = mariadb
        return mariadb.url

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        names = [vector.name or "embedding" for vector in spec.vectors]
        columns = [f"`{name}` VECTOR({vector.dim}) NOT NULL" for name, vector in zip(names, spec.vectors, strict=True)]
        self.database.execute(
            f"CREATE TABLE `{spec.name}` (id VARCHAR(60) COLLATE utf8mb4_nopad_bin PRIMARY KEY, "
            f"{', '.join(columns)}, document LONGTEXT, metadata JSON, "
            f"VECTOR INDEX (`{names[0]}`) DISTANCE = {DISTANCE[spec.vectors[0].metric]})"
        )
        rows = [_row(spec, record) for record in records]
        places = ", ".join(["%s"] * (len(names) + 3))
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO `{spec.name}` (id, {', '.join(f'`{n}`' for n in names)}, document, metadata) "
                f"VALUES ({places})",
                rows,
            )

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        rows = self.database.execute(f"SELECT id, embedding, document, uri, metadata FROM `{spec.name}`")
        return [
            Record(
                id=text,
                vectors={"": np.frombuffer(vector, "<f4")},
                document=document,
                uri=uri,
                metadata=None if metadata is None else orjson.loads(metadata),
            )
            for text, vector, document, uri, metadata in rows
        ]


def _row(spec: CollectionSpec, record: Record) -> list[Any]:
    vectors = [np.asarray(record.vectors[vector.name], "<f4").tobytes() for vector in spec.vectors]
    metadata = None
    if record.metadata is not None:
        text, tags = pack(record.metadata)
        metadata = text.decode() if tags is None else _exact(record.metadata)
    return [record.id, *vectors, record.document, metadata]


def _exact(metadata: Any) -> str:
    """Integers past 64 bits, which orjson does not write."""
    import json

    return json.dumps(metadata)
