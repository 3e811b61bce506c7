"""The memory connector passes the contracts; `seed` and `dump` go straight to its dictionaries."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from vecferry.arrow import from_records, to_records
from vecferry.connectors.memory import LIMITS
from vecferry.connectors.memory._table import Table
from vecferry.connectors.memory.database import _STORES
from vecferry.model import CollectionSpec, Record
from vecferry.testing.contracts import SinkContract, SourceContract
from vecferry.url import StoreUrl


class TestMemory(SourceContract, SinkContract):
    limits = LIMITS
    many = 300

    @pytest.fixture
    def url(self) -> str:
        return f"memory:{uuid4()}?partition_rows=100&chunk_rows=30"

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        table = _STORES.setdefault(StoreUrl.parse(url).path, {})[spec.qualified_name] = Table(spec, store=url)
        for record in records:
            table._rows[(record.id, record.id_kind or spec.id_kind)] = from_records(spec, [record])
        table._order = None

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        table = _STORES[StoreUrl.parse(url).path][spec.qualified_name]
        return [record for row in table._rows.values() for record in to_records(row, spec)]
