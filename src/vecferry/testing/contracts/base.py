"""What both contracts share: the fixtures a subclass gives, the session that opens and closes, registered skips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import pytest

from vecferry.arrow import to_records, validate
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, IdKind, Metric, Record
from vecferry.protocols import Database, Sink, Source
from vecferry.registry import open_database
from vecferry.testing.skips import REASONS, skip


class ConnectorContract:
    """What a subclass says about its store.

    Attributes:
        limits: the connector's own `Limits`; the contract tests exactly what they promise, and all of it.
        id_kind: what the store's own ids are when nobody of ours wrote them (`MIXED`: numbers and UUIDs).
        many: how many records make at least three chunks.
        exclusive: the store lets only one process or client in; the session closes ours before `seed` and `dump`.
        rounds: metrics under which the store rounds what it is given: reading is judged by what `dump` gives then.
        skips: test name -> key of `vecferry.testing.skips.REASONS`.
    """

    limits: ClassVar[Limits]
    id_kind: ClassVar[IdKind] = IdKind.TEXT
    many: ClassVar[int] = 2_500
    exclusive: ClassVar[bool] = False
    rounds: ClassVar[frozenset[Metric]] = frozenset()
    skips: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        for base in cls.__mro__[1:]:
            if base.__module__.startswith(__package__ or ""):
                own = [name for name in vars(cls) if name.startswith("test_") and name in vars(base)]
                if own and not cls.__module__.startswith(__package__ or ""):
                    raise TypeError(f"{cls.__name__} overrides {own}: a contract test is skipped by reason or passed.")
        unknown = set(cls.skips.values()) - REASONS.keys()
        if unknown:
            raise TypeError(f"{cls.__name__} skips for unregistered reasons: {sorted(unknown)}.")

    @pytest.fixture
    def url(self) -> str:
        """The URL of an empty store, fresh for each test. A subclass gives it."""
        raise NotImplementedError("A contract needs a fixture `url`.")

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        """Make the collection `spec` with `records`, in that order, through the vendor's own client."""
        raise NotImplementedError("A source's contract needs `seed`.")

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        """The records of `spec` as the vendor's own client returns them, with what vecferry added left out.

        It is asked for plain records only (text ids, one dense vector, documents, flat metadata); `id` is the
        original id, `id_kind` and `seq` may be left None.
        """
        raise NotImplementedError("A sink's contract needs `dump`.")

    @pytest.fixture
    def session(self, url: str) -> Iterator[Session]:
        """An open store that is closed again."""
        session = Session(self, url)
        try:
            yield session
        finally:
            session.close()

    @pytest.fixture(autouse=True)
    def _registered_skip(self, request: pytest.FixtureRequest) -> None:
        reason = self.skips.get(getattr(request.node, "originalname", request.node.name))
        if reason is not None:
            skip(reason)


class Session:
    """One test's way into the store: through the connector, and around it."""

    def __init__(self, contract: ConnectorContract, url: str) -> None:
        self._contract = contract
        self._url = url
        self._database: Database | None = None
        self._open: list[Source | Sink] = []

    @property
    def database(self) -> Database:
        """The open store."""
        if self._database is None:
            self._database = open_database(self._url)
        return self._database

    def reopen(self) -> None:
        """Forget everything that is in memory; the next use opens the store anew."""
        self.close()

    def close(self) -> None:
        """Close what is open, in the order in which a user would."""
        for thing in self._open:
            thing.close()
        self._open.clear()
        if self._database is not None:
            self._database.close()
            self._database = None

    def source(self, spec: CollectionSpec) -> Source:
        """A new source of the collection."""
        source = self.database.source(spec.name)
        self._open.append(source)
        return source

    def sink(self, spec: CollectionSpec) -> Sink:
        """A new, prepared sink of the collection."""
        sink = self.database.sink(spec)
        self._open.append(sink)
        sink.prepare(spec)
        return sink

    def seed(self, spec: CollectionSpec, records: Sequence[Record]) -> None:
        """Write around the connector."""
        if self._contract.exclusive:
            self.close()
        self._contract.seed(self._url, spec, records)

    def dump(self, spec: CollectionSpec) -> list[Record]:
        """Read around the connector, ours still open unless the store lets only one in."""
        if self._contract.exclusive:
            self.close()
        return self._contract.dump(self._url, spec)

    def read_back(self, spec: CollectionSpec) -> list[Record]:
        """Read with a freshly opened connector."""
        self.reopen()
        return read_all(self.source(spec))


def read_all(source: Source) -> list[Record]:
    """Every record of every partition; each batch is checked to be canonical, each record to come once."""
    spec = source.describe()
    records: list[Record] = []
    for partition in source.partitions():
        for chunk in source.read(partition):
            assert not chunk.rejected, f"refused: {chunk.rejected[:3]}"
            validate(chunk.batch, spec)
            records += to_records(chunk.batch, spec)
    keys = [(record.id, record.id_kind) for record in records]
    assert len(set(keys)) == len(keys), "a record came more than once"
    return records
