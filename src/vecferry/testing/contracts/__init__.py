"""The exam that every connector passes: subclass a contract, give it a `url`, `limits`, `seed` and `dump`, run pytest.

    class TestMyStore(SourceContract, SinkContract):
        limits = LIMITS

        @pytest.fixture
        def url(self, tmp_path): return f"mystore:{tmp_path}"
        def seed(self, url, spec, records): ...       # make the collection through the vendor's own client
        def dump(self, url, spec): ...                # read it back through the vendor's own client

`seed` and `dump` must not use the connector: a mistake that reading and writing share would cancel itself out.
"""

from vecferry.testing.contracts.base import ConnectorContract, Session
from vecferry.testing.contracts.cases import collection, plain_records
from vecferry.testing.contracts.compare import assert_same, differences
from vecferry.testing.contracts.powers import SinkPowers, SourcePowers
from vecferry.testing.contracts.sink import SinkContract
from vecferry.testing.contracts.source import SourceContract

__all__ = [
    "ConnectorContract",
    "Session",
    "SinkContract",
    "SinkPowers",
    "SourceContract",
    "SourcePowers",
    "assert_same",
    "collection",
    "differences",
    "plain_records",
]
