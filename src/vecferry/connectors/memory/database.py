"""The named stores of this process, opened by URL: `memory:NAME[?partition_rows=N&chunk_rows=N]`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from threading import RLock
from uuid import uuid4

from vecferry.catalog import find
from vecferry.connectors.memory._table import Table
from vecferry.connectors.memory.sink import MemorySink
from vecferry.connectors.memory.source import MemorySource
from vecferry.errors import ConfigError, NotFound
from vecferry.limits import Limits, Score, Shape
from vecferry.model import CollectionSpec, Element, IdKind, Metric, StoreIdentity, VectorKind
from vecferry.url import StoreUrl

LIMITS = Limits(
    store="memory",
    id_kinds=frozenset(IdKind),
    vector_kinds=frozenset(VectorKind),
    elements=frozenset(Element),
    metrics=frozenset(Metric),
    keeps=frozenset(Shape) - {Shape.NON_FINITE_VECTOR, Shape.WRONG_DIMENSION},
    restores=frozenset(),
    named_vectors=True,
    scores={
        Metric.COSINE: Score.SIMILARITY,
        Metric.IP: Score.SIMILARITY,
        Metric.L2: Score.SQUARED,
        Metric.L1: Score.DISTANCE,
    },
)

_STORES: dict[str, dict[str, Table]] = {}
"""name -> {qualified name: collection}; process-wide, so that two databases of one name see the same records."""
_LOCK = RLock()


class MemoryDatabase:
    """One named store. Closing it forgets nothing; `drop` does."""

    def __init__(self, url: StoreUrl) -> None:
        self._name = url.path
        self._text = f"memory:{url.path}"
        self._partition_rows = _rows(url, "partition_rows", 10_000)
        self._chunk_rows = _rows(url, "chunk_rows", 1_000)
        with _LOCK:
            self._tables = _STORES.setdefault(self._name, {})

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(kind="memory", where=self._name, transport="memory")

    @property
    def limits(self) -> Limits:
        return LIMITS

    def collections(self) -> list[CollectionSpec]:
        with _LOCK:
            return [self._tables[name].spec for name in sorted(self._tables)]

    def source(self, name: str) -> MemorySource:
        return MemorySource(self._find(name), partition_rows=self._partition_rows, chunk_rows=self._chunk_rows)

    def sink(self, spec: CollectionSpec) -> MemorySink:
        return MemorySink(spec, self._make)

    def drop(self, name: str) -> None:
        with _LOCK, suppress(NotFound):
            del self._tables[self._find(name).spec.qualified_name]

    def close(self) -> None:
        """Nothing is held."""

    def _find(self, name: str) -> Table:
        with _LOCK:
            paths = [(*table.spec.namespace, table.spec.name) for table in self._tables.values()]
            return self._tables["/".join(find(paths, name, store=self._text))]

    def _make(self, spec: CollectionSpec) -> Table:
        """The collection of `spec`, created where it is not there."""
        with _LOCK:
            table = self._tables.get(spec.qualified_name)
            if table is None:
                table = self._tables[spec.qualified_name] = Table(replace(spec, uid=str(uuid4())), store=self._text)
            else:
                table.fit(spec)
            return table


class MemoryConnector:
    """Opens memory stores; one that does not exist yet is made."""

    def open(self, url: StoreUrl) -> MemoryDatabase:
        return MemoryDatabase(url)


CONNECTOR = MemoryConnector()


def _rows(url: StoreUrl, option: str, default: int) -> int:
    text = url.options.get(option, str(default))
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{option}={text} is not a number of rows.", hint=f"Write {option}=1000, for example.")
    return int(text)
