"""The contract of a sink: an upsert by id that replaces the whole record, and is durable when it returns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import pyarrow as pa
import pytest

from vecferry.arrow import from_records, to_records
from vecferry.errors import Conflict, DataError
from vecferry.limits import Shape
from vecferry.model import CollectionSpec, IdKind, Keep, Metric, Record, VectorSpec
from vecferry.protocols import Predictive, Sink
from vecferry.testing.contracts.base import Session
from vecferry.testing.contracts.cases import (
    DIM,
    collection,
    collections,
    held,
    plain_records,
    shaped_records,
    target,
    usual_metric,
)
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.contracts.powers import SinkPowers


class SinkContract(SinkPowers):
    """Needs `url`, `limits`, `dump`, and a source of the same connector to read back with."""

    @pytest.fixture
    def wanted(self) -> CollectionSpec:
        """What a plan would give the sink: one dense vector, text ids, a card."""
        return target(collection(self.limits))

    def test_writes_what_the_vendor_reads(self, session: Session, wanted: CollectionSpec) -> None:
        """Durable when it returns: the vendor's own client sees every record, before `finish`."""
        records = plain_records(wanted, 50)
        receipt = session.sink(wanted).write(from_records(wanted, records))
        assert (receipt.rows, receipt.rejected) == (50, ())
        assert receipt.bytes > 0
        assert_same(records, session.dump(wanted), kinds=False)

    def test_a_new_connection_reads_what_was_written(self, session: Session, wanted: CollectionSpec) -> None:
        """Written, closed without `finish` (as a killed process would), opened anew, read by our own source."""
        records = plain_records(wanted, 50)
        session.sink(wanted).write(from_records(wanted, records))
        assert_same(records, session.read_back(wanted))

    def test_reads_back_every_form_of_vector(self, session: Session) -> None:
        """Each kind, element and metric that the limits list is read back as `expect` foretold, bit for bit."""
        for spec in map(target, collections(self.limits)):
            records = plain_records(spec, 40, seed=1)
            sink = session.sink(spec)
            expected = expect(sink, from_records(spec, records), spec)
            sink.write(from_records(spec, records))
            sink.finish()
            assert_same(expected, session.read_back(spec))

    def test_reads_back_every_shape_of_record(self, session: Session, wanted: CollectionSpec) -> None:
        """Odd ids, nulls, metadata of every type that the store keeps or restores: back as they were."""
        records = shaped_records(self.limits, wanted, sink=True)
        sink = session.sink(wanted)
        receipt = sink.write(from_records(wanted, records))
        assert receipt.rejected == ()
        sink.finish()
        assert_same(records, session.read_back(wanted))

    def test_expect_foretells_reading_back(self, session: Session) -> None:
        """Vectors of any length under every metric: what reading back gives is what `expect` said, bit for bit."""
        for vector in self._dense_vectors():
            spec = target(collection(self.limits, vector))
            records = plain_records(spec, 200, seed=5, unit=False)
            sink = session.sink(spec)
            expected = expect(sink, from_records(spec, records), spec)
            sink.write(from_records(spec, records))
            assert_same(expected, session.read_back(spec))

    def test_exact_vectors_keep_their_bits(self, session: Session) -> None:
        """A card that says `exact_vectors: keep` gives back the bits that a normalising store would change."""
        for vector in self._dense_vectors():
            if vector.metric in self.limits.normalises:
                spec = target(collection(self.limits, vector), exact_vectors=Keep.BITS)
                records = plain_records(spec, 100, seed=6, unit=False)
                session.sink(spec).write(from_records(spec, records))
                assert_same(records, session.read_back(spec))

    def test_keeps_every_kind_of_id(self, session: Session) -> None:
        """Numbers, UUIDs, texts and a mix: id and kind come back, and 5 is not "5"."""
        kinds = [IdKind.UUID, *([IdKind.INT, IdKind.MIXED] if Shape.ID_INT in held(self.limits, sink=True) else [])]
        for kind in kinds:
            spec = target(replace(collection(self.limits, id_kind=kind), name=f"contract-ids-{kind}"))
            records = plain_records(spec, 20)
            if kind is IdKind.INT:
                records[0] = replace(records[0], id=str(2**64 - 1))
            session.sink(spec).write(from_records(spec, records))
            assert_same(records, session.read_back(spec))

    def test_keeps_the_order_of_records(self, session: Session, wanted: CollectionSpec) -> None:
        """Where the limits promise the order, `seq` rises after reading back as it did before."""
        if Shape.ORDER not in held(self.limits, sink=True):
            return
        records = plain_records(wanted, 60)
        sink = session.sink(wanted)
        for start in (40, 0, 20):
            sink.write(from_records(wanted, records[start : start + 20]))
        sink.finish()
        found = sorted(session.read_back(wanted), key=lambda record: -1 if record.seq is None else record.seq)
        assert [record.id for record in found] == [record.id for record in records]

    def test_carries_the_card(self, session: Session, wanted: CollectionSpec) -> None:
        """Whoever opens the collection without our ledger learns what it is."""
        session.sink(wanted).write(from_records(wanted, plain_records(wanted, 1)))
        session.reopen()
        found = session.source(wanted).describe().card
        assert found is not None
        assert wanted.card is not None
        for name in ("id_kind", "id_rule", "tenant", "layout", "exact_vectors", "run", "origin"):
            assert getattr(found, name) == getattr(wanted.card, name), name

    def test_replaces_the_whole_record(self, session: Session, wanted: CollectionSpec) -> None:
        """An upsert does not merge: metadata keys and documents of the old record are gone."""
        old = plain_records(wanted, 20)
        new = [
            replace(record, metadata={"number": -1}, document=old[0].document)
            for record in plain_records(wanted, 20, seed=9)
        ]
        sink = session.sink(wanted)
        sink.write(from_records(wanted, old))
        sink.write(from_records(wanted, new))
        assert_same(new, session.dump(wanted), kinds=False)
        assert_same(new, session.read_back(wanted))

    def test_writing_again_changes_nothing(self, session: Session, wanted: CollectionSpec) -> None:
        """At-least-once is harmless: the same batch, by the same sink and by a new one after a crash."""
        records = plain_records(wanted, 50)
        batch = from_records(wanted, records)
        sink = session.sink(wanted)
        sink.write(batch)
        sink.write(batch)
        session.reopen()
        sink = session.sink(wanted)
        sink.write(batch.slice(10, 30))
        assert_same(records, session.dump(wanted), kinds=False)
        sink = session.sink(wanted)
        sink.finish()
        assert_same(records, session.dump(wanted), kinds=False)
        assert_same(records, session.read_back(wanted))

    def test_writes_slices_of_any_batch(self, session: Session, wanted: CollectionSpec) -> None:
        """A slice shares its parent's memory; offsets must be honoured in every column."""
        records = plain_records(wanted, 90)
        batch = from_records(wanted, records)
        sink = session.sink(wanted)
        for start in range(0, 90, 7):
            sink.write(batch.slice(start, 7))
        assert_same(records, session.read_back(wanted))

    def test_an_empty_batch_writes_nothing(self, session: Session, wanted: CollectionSpec) -> None:
        """No rows, no error."""
        sink = session.sink(wanted)
        assert sink.write(from_records(wanted, [])).rows == 0
        sink.finish()
        assert session.read_back(wanted) == []

    def test_of_equal_ids_in_a_batch_the_last_wins(self, session: Session, wanted: CollectionSpec) -> None:
        """Duplicate ids are refused with their names, or the later record stays: never a matter of chance."""
        first, second = plain_records(wanted, 5), plain_records(wanted, 5, seed=2)
        sink = session.sink(wanted)
        problem: DataError | None = None
        try:
            sink.write(from_records(wanted, [*first, *second]))
        except DataError as error:
            problem = error
        if problem is None:
            assert_same(second, session.read_back(wanted))
        else:
            assert first[0].id in problem.ids

    def test_several_threads_write_at_once(self, session: Session, wanted: CollectionSpec) -> None:
        """`write` is thread-safe."""
        records = plain_records(wanted, 400)
        sink = session.sink(wanted)
        batches = [from_records(wanted, records[start : start + 20]) for start in range(0, 400, 20)]
        with ThreadPoolExecutor(4) as pool:
            receipts = list(pool.map(sink.write, batches))
        assert sum(receipt.rows for receipt in receipts) == 400
        sink.finish()
        assert_same(records, session.read_back(wanted))

    def test_preparing_again_keeps_everything(self, session: Session, wanted: CollectionSpec) -> None:
        """`prepare` is idempotent: same answer, records untouched, by this connection and the next."""
        records = plain_records(wanted, 10)
        sink = session.sink(wanted)
        made = sink.prepare(wanted)
        sink.write(from_records(wanted, records))
        again = sink.prepare(wanted)
        assert (again.name, again.vectors, again.uid) == (made.name, made.vectors, made.uid)
        session.reopen()
        assert session.database.sink(wanted).prepare(wanted).uid == made.uid
        assert_same(records, session.read_back(wanted))

    def test_preparing_nothing_writes_nothing(self, session: Session, wanted: CollectionSpec) -> None:
        """Asking for a sink touches nothing before `prepare`."""
        session.database.sink(wanted)
        assert list(session.database.collections()) == []

    def test_refuses_a_collection_that_does_not_fit(self, session: Session, wanted: CollectionSpec) -> None:
        """Another dimension or metric is a Conflict that names both, and nothing is changed."""
        records = plain_records(wanted, 10)
        session.sink(wanted).write(from_records(wanted, records))
        vector = wanted.vectors[0]
        others = [replace(vector, dim=DIM + 1)]
        others += [replace(vector, metric=metric) for metric in self.limits.metrics & _OTHER - {vector.metric}]
        for other in others:
            sink = session.database.sink(replace(wanted, vectors=(other,)))
            with pytest.raises(Conflict) as caught:
                sink.prepare(replace(wanted, vectors=(other,)))
            assert wanted.name in caught.value.message
            sink.close()
        assert_same(records, session.read_back(wanted))

    def test_finishing_twice_is_harmless(self, session: Session, wanted: CollectionSpec) -> None:
        """`finish` is idempotent, on a collection without records too, and writing may go on behind it."""
        records = plain_records(wanted, 30)
        sink = session.sink(wanted)
        sink.finish()
        sink.write(from_records(wanted, records[:20]))
        sink.finish()
        sink.finish()
        sink.write(from_records(wanted, records[10:]))
        assert_same(records, session.read_back(wanted))
        session.sink(wanted).finish()
        assert_same(records, session.read_back(wanted))

    def test_closing_a_sink_twice_is_harmless(self, session: Session, wanted: CollectionSpec) -> None:
        """`close` is idempotent."""
        sink = session.sink(wanted)
        sink.close()
        sink.close()

    def test_two_collections_do_not_mix(self, session: Session, wanted: CollectionSpec) -> None:
        """The same ids in two collections are different records."""
        other = replace(wanted, name="contract-other")
        here, there = plain_records(wanted, 10), plain_records(other, 10, seed=4)
        first, second = session.sink(wanted), session.sink(other)
        first.write(from_records(wanted, here))
        second.write(from_records(other, there))
        assert_same(here, session.read_back(wanted))
        assert_same(there, session.read_back(other))

    def test_any_order_of_writes_ends_as_a_dictionary_would(self, session: Session, wanted: CollectionSpec) -> None:
        """Random overlapping batches, finishes and reopenings, against a dictionary of records."""
        random, model = Random(11), dict[str, Record]()
        sink = session.sink(wanted)
        for step in range(25):
            start, count = random.randrange(80), random.randrange(1, 40)
            records = plain_records(wanted, 120, seed=step)[start : start + count]
            sink.write(from_records(wanted, records))
            model |= {record.id: record for record in records}
            if random.random() < 0.2:
                sink.finish()
            if random.random() < 0.2:
                session.reopen()
                sink = session.sink(wanted)
        assert_same(model.values(), session.read_back(wanted))

    def _dense_vectors(self) -> list[VectorSpec]:
        metrics = sorted(self.limits.metrics & _OTHER) or [usual_metric(self.limits)]
        return [VectorSpec(dim=DIM, metric=metric) for metric in metrics]


_OTHER = frozenset({Metric.COSINE, Metric.L2, Metric.IP})


def expect(sink: Sink, batch: pa.RecordBatch, spec: CollectionSpec) -> list[Record]:
    """What reading `batch` back will give: the sink's own word for it, or the batch itself."""
    return to_records(sink.expect(batch) if isinstance(sink, Predictive) else batch, spec)
