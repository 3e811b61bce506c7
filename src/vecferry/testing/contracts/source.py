"""The contract of a source: every record exactly once, from any position, exactly as the store holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vecferry.arrow import to_records
from vecferry.errors import NotFound
from vecferry.limits import Shape
from vecferry.model import Chunk, CollectionSpec, Partition, PartitionId, Position, Record
from vecferry.protocols import Source
from vecferry.testing.contracts.base import Session, read_all
from vecferry.testing.contracts.cases import collection, collections, plain_records, shaped_records
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.contracts.powers import SourcePowers


class SourceContract(SourcePowers):
    """Needs `url`, `limits` and `seed`."""

    @pytest.fixture
    def spec(self) -> CollectionSpec:
        """A collection with one dense vector and the store's own kind of ids."""
        return collection(self.limits, id_kind=self.id_kind)

    @pytest.fixture
    def many_records(self, session: Session, spec: CollectionSpec) -> list[Record]:
        """Enough records for several chunks, seeded."""
        records = plain_records(spec, self.many)
        session.seed(spec, records)
        return records

    def test_describes_what_is_there(self, session: Session) -> None:
        """Name, kind of ids, vectors with dimension, metric and element, and the exact count if one is given."""
        for spec in collections(self.limits, id_kind=self.id_kind):
            session.seed(spec, plain_records(spec, 3))
            found = session.source(spec).describe()
            assert found.name == spec.name
            assert found.id_kind is spec.id_kind
            assert sorted(found.vectors, key=str) == sorted(spec.vectors, key=str)
            assert found.count in (3, None)

    def test_lists_every_collection_once_in_a_stable_order(self, session: Session) -> None:
        """`collections` tells of each collection what its own source tells."""
        wanted = list(collections(self.limits, id_kind=self.id_kind))
        for spec in wanted:
            session.seed(spec, plain_records(spec, 2))
        listed = list(session.database.collections())
        assert sorted(spec.name for spec in listed) == sorted(spec.name for spec in wanted)
        assert listed == [session.database.source(spec.qualified_name).describe() for spec in listed]
        session.reopen()
        assert list(session.database.collections()) == listed

    def test_a_collection_that_is_not_there_is_not_found(self, session: Session, spec: CollectionSpec) -> None:
        """The error names what was asked for and what there is."""
        session.seed(spec, plain_records(spec, 1))
        with pytest.raises(NotFound) as caught:
            session.database.source("contract-dense-nowhere")
        assert "contract-dense-nowhere" in caught.value.message
        assert spec.name in (caught.value.hint or "")

    def test_reads_every_record_exactly_once(
        self, session: Session, spec: CollectionSpec, many_records: list[Record]
    ) -> None:
        """All partitions together are the collection: nothing lost, nothing twice, nothing changed."""
        assert_same(many_records, read_all(session.source(spec)))

    def test_reads_every_form_of_vector(self, session: Session) -> None:
        """Each kind, element and metric that the limits list comes back bit for bit."""
        for spec in collections(self.limits, id_kind=self.id_kind):
            records = plain_records(spec, 40, seed=1)
            session.seed(spec, records)
            rounded = spec.vectors[0].metric in self.rounds
            truth = session.dump(spec) if rounded else records
            assert_same(truth, read_all(session.source(spec)), kinds=not rounded)

    def test_reads_every_shape_of_record(self, session: Session, spec: CollectionSpec) -> None:
        """Odd ids, null and empty documents, metadata of every type that the store keeps: exactly as they are."""
        records = shaped_records(self.limits, spec, sink=False)
        session.seed(spec, records)
        assert_same(records, read_all(session.source(spec)))

    def test_reads_an_empty_collection(self, session: Session, spec: CollectionSpec) -> None:
        """No records, no error; what chunks there are hold nothing."""
        session.seed(spec, [])
        source = session.source(spec)
        assert source.describe().count in (0, None)
        assert read_all(source) == []

    def test_partitions_are_stable(self, session: Session, spec: CollectionSpec, many_records: list[Record]) -> None:
        """The same twice, and the same after the store was opened anew; ids are unique, bounds are text."""
        assert many_records
        first = list(session.source(spec).partitions())
        assert first == list(session.source(spec).partitions())
        session.reopen()
        assert first == list(session.source(spec).partitions())
        assert len({partition.id for partition in first}) == len(first)
        assert all(isinstance(partition.bounds, str) for partition in first)

    def test_continues_strictly_after_every_position(
        self, session: Session, spec: CollectionSpec, many_records: list[Record]
    ) -> None:
        """`after` is exclusive at every chunk boundary: read so far + read after = all, in the same order."""
        source = session.source(spec)
        chunks = 0
        for partition in source.partitions():
            parts = list(source.read(partition))
            chunks += len(parts)
            for number, chunk in enumerate(parts):
                rest = _ids(*source.read(partition, after=chunk.position))
                assert rest == _ids(*parts[number + 1 :]), f"{partition.id} behind {chunk.position}"
        assert chunks >= 3, f"only {chunks} chunks of {len(many_records)} records: raise `many`"

    def test_resumes_in_a_new_process(self, session: Session, spec: CollectionSpec, many_records: list[Record]) -> None:
        """Bounds and positions are plain text: after a round trip through JSON and a new connection they still hold."""
        source = session.source(spec)
        partitions = list(source.partitions())
        starts: list[tuple[Partition, Position | None]] = []
        seen: list[Record] = []
        for partition in partitions:
            first = next(iter(source.read(partition)), None)
            starts.append((partition, first.position if first else None))
            seen += to_records(first.batch, source.describe()) if first else []
        session.reopen()
        source = session.source(spec)
        for partition, position in starts:
            rest = source.read(_revived(partition), after=None if position is None else _text(position))
            seen += [record for chunk in rest for record in to_records(chunk.batch, source.describe())]
        assert len(seen) == len(many_records)
        assert_same(many_records, seen)

    def test_partitions_can_be_read_at_once(
        self, session: Session, spec: CollectionSpec, many_records: list[Record]
    ) -> None:
        """A source is thread-safe: readers that take turns do not disturb each other."""
        source = session.source(spec)
        readers = [source.read(partition) for partition in source.partitions() for _ in range(2)]
        seen = _in_threads(source, readers)
        assert len(seen) == 2 * len(many_records)
        assert_same(many_records, seen)

    def test_tells_the_order_of_records(
        self, session: Session, spec: CollectionSpec, many_records: list[Record]
    ) -> None:
        """Where the store has an order, `seq` rises with it and no two records share one; else it is null."""
        found = read_all(session.source(spec))
        if Shape.ORDER in self.limits.keeps:
            order = sorted(found, key=lambda record: -1 if record.seq is None else record.seq)
            assert [record.id for record in order] == [record.id for record in many_records]
            assert len({record.seq for record in found}) == len(found)
        else:
            assert {record.seq for record in found} == {None}

    def test_reading_changes_nothing(self, session: Session, spec: CollectionSpec, many_records: list[Record]) -> None:
        """A second reading, and one after it was broken off in the middle, gives the same."""
        source = session.source(spec)
        for partition in source.partitions():
            reader = source.read(partition)
            next(iter(reader), None)
            del reader
        assert_same(many_records, read_all(source))
        assert_same(many_records, session.read_back(spec))

    def test_closing_twice_is_harmless(self, session: Session, spec: CollectionSpec) -> None:
        """`close` is idempotent, for source and store."""
        session.seed(spec, plain_records(spec, 1))
        source, database = session.source(spec), session.database
        source.close()
        source.close()
        database.close()
        database.close()


def _ids(*chunks: Chunk) -> list[str]:
    return [text for chunk in chunks for text in chunk.batch.column("id").to_pylist()]


def _text(position: Position) -> Position:
    return Position(json.loads(json.dumps(position)))


def _revived(partition: Partition) -> Partition:
    """The partition as a ledger would give it back: only its id and its bounds, from text."""
    stored = json.loads(json.dumps([partition.id, partition.bounds]))
    return Partition(id=PartitionId(stored[0]), bounds=stored[1])


def _in_threads(source: Source, readers: list[Iterator[Chunk]]) -> list[Record]:
    spec = source.describe()

    def drain(reader: Iterator[Chunk]) -> list[Record]:
        return [record for chunk in reader for record in to_records(chunk.batch, spec)]

    with ThreadPoolExecutor(4) as pool:
        return [record for records in pool.map(drain, readers) for record in records]
