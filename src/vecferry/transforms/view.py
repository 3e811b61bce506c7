"""A source seen through transforms: a database whose collections are the flows of a plan.

Whoever reads it (the inspection, the engine, the verification) sees transformed records under transformed specs, and
knows nothing of transforms. A flow that is a collection as it is is given out as its own source, so it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from vecferry.arrow import schema
from vecferry.catalog import find
from vecferry.errors import ConfigError
from vecferry.limits import Limits
from vecferry.model import Chunk, CollectionSpec, Partition, PartitionId, Position, StoreIdentity
from vecferry.protocols import Database, Fetchable, Sink, Source
from vecferry.transforms.chain import Chain
from vecferry.transforms.embedder import Embedders
from vecferry.transforms.model import Flow

_BEHIND = ":"


class View:
    """`database`, as `flows` show it. It holds nothing of its own; closing it closes the database."""

    def __init__(self, database: Database, flows: Sequence[Flow], embedders: Embedders) -> None:
        self.database = database
        self._embedders = embedders
        self.flows = tuple(flows)

    @property
    def identity(self) -> StoreIdentity:
        return self.database.identity

    @property
    def limits(self) -> Limits:
        return self.database.limits

    def collections(self) -> Iterator[CollectionSpec]:
        """The flows, in their order; a flow with a model asks it for one text."""
        for flow in self.flows:
            source = self.source(flow.name)
            try:
                yield source.describe()
            finally:
                source.close()

    def flow(self, name: str) -> Flow:
        """The flow of this name: the whole, or its last part where that is unique.

        Raises:
            NotFound: there is none.
        """
        paths = {tuple(flow.name.rpartition("/")[::2]): flow for flow in self.flows}
        return paths[find(paths, name, store="the plan")]

    def source(self, name: str) -> Source:
        flow = self.flow(name)
        if flow.plain:
            return self.database.source(flow.name)
        parts: list[Source] = []
        try:
            for read in flow.reads:
                parts.append(self.database.source(read.collection))
                chain = Chain((*read.transforms, *flow.transforms), parts[-1].describe(), self._embedders)
                parts[-1] = transformed(parts[-1], chain)
            return _named(flow, parts)
        except BaseException:
            for part in parts:
                part.close()
            raise

    def sink(self, spec: CollectionSpec) -> Sink:
        return self.database.sink(spec)

    def close(self) -> None:
        self.database.close()


def is_changed(source: Source) -> bool:
    """Whether the records of `source` are others than those of its store, which cannot search or count them then."""
    return isinstance(source, Transformed | Joined)


def transformed(source: Source, chain: Chain) -> Source:
    """`source` through `chain`, with the power to fetch by id where the store knows the same ids and records."""
    if isinstance(source, Fetchable) and not chain.new_ids and not chain.mends:
        return _Fetching(source, chain, source)
    return Transformed(source, chain)


class Transformed:
    """One collection through a chain. Partitions and positions are those of the source underneath."""

    def __init__(self, source: Source, chain: Chain) -> None:
        self._source, self._chain = source, chain

    def describe(self) -> CollectionSpec:
        return self._chain.spec

    def partitions(self) -> list[Partition]:
        return list(self._source.partitions())

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        for given in self._source.read(partition, after=after):
            chunk = _mendable(given) if self._chain.mends else given
            batch, aside = self._chain.apply(chunk.batch)
            yield Chunk(batch, chunk.position, chunk.rejected + aside)

    def close(self) -> None:
        self._source.close()


def _mendable(chunk: Chunk) -> Chunk:
    """`chunk` with the records whose vector does not fit among the others, without it."""
    if chunk.misfits is None:
        return chunk
    known = set(chunk.misfits.column("id").to_pylist())
    rejected = tuple(rejection for rejection in chunk.rejected if rejection.id not in known)
    return Chunk(pa.concat_batches([chunk.batch, chunk.misfits]), chunk.position, rejected)


class _Fetching(Transformed):
    def __init__(self, source: Source, chain: Chain, power: Fetchable) -> None:
        super().__init__(source, chain)
        self._power = power

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        return self._chain.apply(self._power.fetch(ids))[0]


# --------------------------------------------------------------------------- several collections as one


def _named(flow: Flow, parts: Sequence[Source]) -> Source:
    """The parts of a flow as one source under the flow's name."""
    specs = [part.describe() for part in parts]
    for read, spec in zip(flow.reads, specs, strict=True):
        if not schema(spec).equals(schema(specs[0])) or spec.vectors != specs[0].vectors:
            raise ConfigError(
                f"'{flow.reads[0].collection}' and '{read.collection}' differ in their vectors or kinds of id, "
                "so they cannot be merged.",
                hint="Give them two names, or make them alike first: ids: '{@id}', or re_embed with one model.",
            )
    counts = [spec.count for spec in specs]
    total = None if None in counts else sum(count or 0 for count in counts)
    own = flow.reads[0].collection == flow.name
    space = specs[0].namespace
    name = flow.name.removeprefix("/".join((*space, "")))
    spec = replace(specs[0], name=name, uid=specs[0].uid if own else None, count=total)
    return _FetchingJoined(parts, spec) if all(isinstance(part, Fetchable) for part in parts) else Joined(parts, spec)


class Joined:
    """Collections of one form, read one after the other under one spec. A partition's id says which part it is of."""

    def __init__(self, parts: Sequence[Source], spec: CollectionSpec) -> None:
        self._parts, self._spec = parts, spec

    def describe(self) -> CollectionSpec:
        return self._spec

    def partitions(self) -> list[Partition]:
        if len(self._parts) == 1:
            return list(self._parts[0].partitions())
        return [
            replace(partition, id=PartitionId(f"{number}{_BEHIND}{partition.id}"))
            for number, part in enumerate(self._parts)
            for partition in part.partitions()
        ]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        if len(self._parts) == 1:
            return self._parts[0].read(partition, after=after)
        number, _, own = partition.id.partition(_BEHIND)
        return self._parts[int(number)].read(replace(partition, id=PartitionId(own)), after=after)

    def close(self) -> None:
        for part in self._parts:
            part.close()


class _FetchingJoined(Joined):
    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        found = [part.fetch(ids) for part in self._parts if isinstance(part, Fetchable)]
        return pa.concat_batches(found)
