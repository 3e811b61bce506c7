"""The source over Supabase's REST interface passes the source contract, with the double before the real PostgreSQL.

Tables are seeded as those of `test_postgres`, by plain SQL. The interface shows no index: where a metric is not cosine,
which is taken then, the table has a card of ours that tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.contract.test_postgres import TestPostgres as PostgresContract
from tests.contract.test_postgres import _name_it as name_it
from tests.supabase_data import AUTHENTICATOR, supabase_project
from vecferry.connectors.postgres import LIMITS
from vecferry.model import CollectionSpec, Metric, Record
from vecferry.testing.contracts import SourceContract
from vecferry.testing.postgres import PostgresServer
from vecferry.testing.postgrest_double import PostgrestDouble


class TestSupabase(SourceContract):
    limits = LIMITS
    many = 1_500  # one and a half answers

    @pytest.fixture
    def url(self, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        with supabase_project(postgres_server) as database, PostgrestDouble(database, password=AUTHENTICATOR) as double:
            monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", double.service_key)
            self.database = database
            yield double.url

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        """Around our code, into the database behind."""
        there = PostgresContract()
        there.database = self.database
        there.seed(url, spec, records)
        named = len(spec.vectors) == 1 and spec.vectors[0].name
        if not named and any(vector.metric is not Metric.COSINE for vector in spec.vectors):
            with self.database.connect() as connection:
                name_it(connection, spec, {vector.name: vector.name or "embedding" for vector in spec.vectors})
