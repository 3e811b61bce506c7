"""The exam is examined: each contract test fails on a memory connector that is broken in just that way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from vecferry.arrow import from_records, to_records
from vecferry.connectors.memory import MemoryDatabase
from vecferry.connectors.memory import _table as table_module
from vecferry.connectors.memory._table import Table
from vecferry.connectors.memory.sink import MemorySink
from vecferry.connectors.memory.source import MemorySource
from vecferry.filters import And, Or
from vecferry.model import Chunk, Metric, Position, Record
from vecferry.testing.contracts import SinkContract, SourceContract

EXAM = """
from dataclasses import replace
from tests.contract.test_memory import TestMemory
TestMemory.limits = replace(TestMemory.limits, normalises=frozenset({NORMALISES!r}))
"""
POWERLESS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.contract.test_memory import TestMemory
from vecferry.connectors.memory import MemoryDatabase
from vecferry.connectors.memory.sink import MemorySink
from vecferry.connectors.memory.source import MemorySource
for power in ("count", "fetch", "existing", "search", "count_where"):
    delattr(MemorySource, power)
del MemorySink.delete, MemoryDatabase.drop
"""

Break = Callable[[pytest.MonkeyPatch], None]
BROKEN: dict[str, Break] = {}
"""contract test -> what breaks the memory connector so that it must fail"""


def breaks(*tests: str) -> Callable[[Break], Break]:
    """Say which contract tests must notice."""

    def register(broken: Break) -> Break:
        BROKEN.update(dict.fromkeys(tests, broken))
        return broken

    return register


def through_records(change: Callable[[Record], Record]) -> Callable[..., Any]:
    """A `Table.take` that changes every record."""
    real = Table.take

    def take(table: Table, keys: Any) -> pa.RecordBatch:
        batch = real(table, keys)
        return from_records(table.spec, [change(record) for record in to_records(batch, table.spec)])

    return take


# --------------------------------------------------------------------------- sources that are broken


@breaks("test_describes_what_is_there")
def wrong_metric(patch: pytest.MonkeyPatch) -> None:
    real = MemorySource.describe

    def describe(source: MemorySource) -> Any:
        spec = real(source)
        return replace(spec, vectors=tuple(replace(vector, metric=Metric.L1) for vector in spec.vectors))

    patch.setattr(MemorySource, "describe", describe)


@breaks("test_lists_every_collection_once_in_a_stable_order")
def forgets_a_collection(patch: pytest.MonkeyPatch) -> None:
    real = MemoryDatabase.collections
    patch.setattr(MemoryDatabase, "collections", lambda database: real(database)[1:])


@breaks("test_a_collection_that_is_not_there_is_not_found")
def takes_any_collection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryDatabase, "_find", lambda database, _: next(iter(database._tables.values())))


def reads(change: Callable[[MemorySource, Iterator[Chunk]], Iterator[Chunk]]) -> Callable[..., Any]:
    real = MemorySource.read
    return lambda source, partition, after=None: change(source, real(source, partition, after=after))


@breaks("test_reads_every_record_exactly_once", "test_partitions_can_be_read_at_once")
def loses_a_record(patch: pytest.MonkeyPatch) -> None:
    def change(_: MemorySource, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        return (Chunk(chunk.batch.slice(1), chunk.position) for chunk in chunks)

    patch.setattr(MemorySource, "read", reads(change))


@breaks("test_reads_every_form_of_vector", "test_reads_back_every_form_of_vector")
def rounds_vectors(patch: pytest.MonkeyPatch) -> None:
    def change(record: Record) -> Record:
        value = record.vectors.get("")
        other = value * 0 + value.dtype.type(1) if getattr(value, "dtype", None) == "int8" else value  # type: ignore[union-attr,operator]
        return replace(record, vectors={**record.vectors, "": other})

    patch.setattr(Table, "take", through_records(change))


@breaks("test_reads_every_shape_of_record", "test_reads_back_every_shape_of_record")
def loses_nulls(patch: pytest.MonkeyPatch) -> None:
    def change(record: Record) -> Record:
        kept = {key: value for key, value in (record.metadata or {}).items() if value is not None}
        return replace(record, metadata=None if record.metadata is None else kept)

    patch.setattr(Table, "take", through_records(change))


@breaks("test_reads_an_empty_collection")
def stumbles_over_nothing(patch: pytest.MonkeyPatch) -> None:
    real = MemorySource.partitions
    patch.setattr(MemorySource, "partitions", lambda source: real(source) if source._table.order()[0] else [])


@breaks("test_partitions_are_stable")
def numbers_partitions_by_chance(patch: pytest.MonkeyPatch) -> None:
    real = MemorySource.partitions
    patch.setattr(MemorySource, "partitions", lambda source: [replace(p, id=uuid4().hex) for p in real(source)])


@breaks("test_continues_strictly_after_every_position")
def reads_the_last_record_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vecferry.connectors.memory.source.bisect_right", lambda keys, key: keys.index(key))


@breaks("test_resumes_in_a_new_process")
def remembers_positions_in_memory(patch: pytest.MonkeyPatch) -> None:
    real, known = MemorySource.read, dict[str, tuple[MemorySource, Position]]()

    def read(source: MemorySource, partition: Any, after: Any = None) -> Iterator[Chunk]:
        owner, position = known.get(after, (None, None))
        for chunk in real(source, partition, after=position if owner is source else None):
            name = Position(uuid4().hex)
            known[name] = (source, chunk.position)
            yield Chunk(chunk.batch, name)

    patch.setattr(MemorySource, "read", read)


@breaks("test_tells_the_order_of_records", "test_keeps_the_order_of_records")
def forgets_the_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Table, "take", through_records(lambda record: replace(record, seq=-(record.seq or 0))))


@breaks("test_reading_changes_nothing")
def reads_only_once(patch: pytest.MonkeyPatch) -> None:
    real, seen = MemorySource.read, set[str]()

    def read(source: MemorySource, partition: Any, after: Any = None) -> Iterator[Chunk]:
        if partition.id not in seen:
            seen.add(partition.id)
            yield from real(source, partition, after=after)

    patch.setattr(MemorySource, "read", read)


def closes_once(patch: pytest.MonkeyPatch, kind: type) -> None:
    closed = set[int]()

    def close(thing: object) -> None:
        assert id(thing) not in closed, "closed already"
        closed.add(id(thing))

    patch.setattr(kind, "close", close)


@breaks("test_closing_twice_is_harmless")
def source_closes_once(patch: pytest.MonkeyPatch) -> None:
    closes_once(patch, MemorySource)


# --------------------------------------------------------------------------- powers that are broken


@breaks("test_power_counts")
def counts_roughly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemorySource, "count", lambda source: len(source._table.order()) // 64 * 64)


@breaks("test_power_fetches", "test_power_knows_existing")
def finds_the_neighbour(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemorySource, "_found", lambda source, ids: source._table.order()[: len(ids)])


@breaks("test_power_searches")
def misses_the_nearest(patch: pytest.MonkeyPatch) -> None:
    real = MemorySource.search
    patch.setattr(
        MemorySource,
        "search",
        lambda source, queries, k, **more: [row[1:] for row in real(source, queries, k=k + 1, **more)],
    )


@breaks("test_power_counts_by_filter")
def confuses_and_with_or(patch: pytest.MonkeyPatch) -> None:
    from vecferry.filters import matches

    def wrong(node: Any, metadata: Any) -> bool:
        return (
            any(wrong(part, metadata) for part in node.parts) if isinstance(node, And | Or) else matches(node, metadata)
        )

    patch.setattr("vecferry.connectors.memory.source.matches", wrong)


@breaks("test_power_deletes")
def deletes_too_much(patch: pytest.MonkeyPatch) -> None:
    real = Table.delete
    patch.setattr(Table, "delete", lambda table, ids: real(table, [*ids, "id-000099"]))


@breaks("test_power_deletes_and_writes_again")
def deletes_for_ever(patch: pytest.MonkeyPatch) -> None:
    gone, real = set[str](), Table.take

    def delete(_: Table, ids: Any) -> None:
        gone.update(ids)

    patch.setattr(Table, "delete", delete)
    patch.setattr(Table, "take", lambda table, keys: real(table, [key for key in keys if key[0] not in gone]))


@breaks("test_power_is_asked")
def answers_whatever_it_is_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemorySource, "asking", lambda *_, **__: lambda: None, raising=False)


@breaks("test_power_watches")
def notices_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemorySource, "watch", lambda _: lambda: False, raising=False)


@breaks("test_power_drops")
def drops_only_the_name(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryDatabase, "drop", lambda database, name: database._find(name).delete(["id-000001"]))


# --------------------------------------------------------------------------- sinks that are broken


@breaks("test_writes_what_the_vendor_reads", "test_a_new_connection_reads_what_was_written")
def writes_behind(patch: pytest.MonkeyPatch) -> None:
    real, waiting = MemorySink.write, dict[MemorySink, list[pa.RecordBatch]]()

    def write(sink: MemorySink, batch: pa.RecordBatch) -> Any:
        waiting.setdefault(sink, []).append(batch)
        return real(sink, batch.slice(0, 0)).__class__(batch.num_rows, batch.nbytes)

    patch.setattr(MemorySink, "write", write)
    patch.setattr(MemorySink, "finish", lambda sink: [real(sink, batch) for batch in waiting.pop(sink, [])])


@breaks("test_expect_foretells_reading_back")
def foretells_another(patch: pytest.MonkeyPatch) -> None:
    class Foreteller(MemorySink):  # a class of its own: Python caches which class has which power
        def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            return batch.slice(0, 0)

    patch.setattr(MemoryDatabase, "sink", lambda database, spec: Foreteller(spec, database._make))


@breaks("test_exact_vectors_keep_their_bits")
def normalises_all_the_same(patch: pytest.MonkeyPatch) -> None:
    def change(record: Record) -> Record:
        vector: Any = record.vectors[""]
        return replace(record, vectors={"": vector / (vector @ vector) ** 0.5})

    patch.setattr(Table, "take", through_records(change))


@breaks("test_keeps_every_kind_of_id")
def makes_every_id_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(table_module, "keys_of", lambda batch, _: ((text, "text") for text in batch.column("id").to_pylist()))
    real = MemorySource.describe
    patch.setattr(MemorySource, "describe", lambda source: replace(real(source), id_kind="text"))


@breaks("test_carries_the_card")
def throws_the_card_away(patch: pytest.MonkeyPatch) -> None:
    real = MemoryDatabase._make
    patch.setattr(MemoryDatabase, "_make", lambda database, spec: real(database, replace(spec, card=None)))


@breaks("test_replaces_the_whole_record")
def merges(patch: pytest.MonkeyPatch) -> None:
    real = Table.upsert

    def upsert(table: Table, batch: pa.RecordBatch) -> None:
        old = {record.id: record for record in to_records(table.take(table.order()), table.spec)}
        new = to_records(batch, table.spec)
        for record in new:
            before = old.get(record.id)
            record.metadata = {**((before and before.metadata) or {}), **(record.metadata or {})}
        real(table, from_records(table.spec, new))

    patch.setattr(Table, "upsert", upsert)


@breaks("test_writing_again_changes_nothing")
def appends(patch: pytest.MonkeyPatch) -> None:
    numbers = count()
    patch.setattr(
        table_module, "keys_of", lambda batch, _: ((f"{next(numbers):09}", "text") for _ in range(len(batch)))
    )


@breaks("test_writes_slices_of_any_batch")
def ignores_offsets(patch: pytest.MonkeyPatch) -> None:
    real = Table.upsert

    def upsert(table: Table, batch: pa.RecordBatch) -> None:
        whole = batch.column("vector").values.slice(0, len(batch) * 8)
        wrong = pa.FixedSizeListArray.from_arrays(whole, 8)
        real(table, batch.set_column(batch.schema.get_field_index("vector"), batch.schema.field("vector"), wrong))

    patch.setattr(Table, "upsert", upsert)


@breaks("test_an_empty_batch_writes_nothing")
def needs_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemorySink, "write", lambda _, batch: batch.column("id")[0])


@breaks("test_of_equal_ids_in_a_batch_the_last_wins")
def keeps_the_first(patch: pytest.MonkeyPatch) -> None:
    real = Table.upsert
    patch.setattr(Table, "upsert", lambda table, batch: real(table, batch.take(list(range(len(batch)))[::-1])))


@breaks("test_several_threads_write_at_once")
def loses_when_busy(patch: pytest.MonkeyPatch) -> None:
    """Each thread but the first loses its batches: chance must not decide this test."""
    from threading import get_ident

    real, owner, lock = Table.upsert, list[int](), Lock()

    def upsert(table: Table, batch: pa.RecordBatch) -> None:
        with lock:
            owner[:] = owner or [get_ident()]
        if get_ident() != owner[0] or len(table.order()) >= 380:
            return
        real(table, batch)

    patch.setattr(Table, "upsert", upsert)


@breaks("test_preparing_again_keeps_everything")
def prepares_from_scratch(patch: pytest.MonkeyPatch) -> None:
    real = MemoryDatabase._make
    patch.setattr(MemoryDatabase, "_make", lambda base, spec: (base._tables.pop(spec.name, None), real(base, spec))[1])


@breaks("test_preparing_nothing_writes_nothing")
def creates_at_once(patch: pytest.MonkeyPatch) -> None:
    real = MemoryDatabase.sink
    patch.setattr(MemoryDatabase, "sink", lambda base, spec: (base._make(spec), real(base, spec))[1])


@breaks("test_refuses_a_collection_that_does_not_fit")
def fits_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(table_module, "fit", lambda existing, _, store: existing.vectors)


@breaks("test_finishing_twice_is_harmless")
def finishes_for_good(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemorySink, "finish", lambda sink: setattr(sink, "_table", None))


@breaks("test_closing_a_sink_twice_is_harmless")
def sink_closes_once(patch: pytest.MonkeyPatch) -> None:
    closes_once(patch, MemorySink)


@breaks("test_two_collections_do_not_mix")
def mixes_collections(patch: pytest.MonkeyPatch) -> None:
    real = MemoryDatabase._make

    def make(base: MemoryDatabase, spec: Any) -> Table:
        base._tables[spec.name] = base._tables.get("first") or real(base, spec)
        return base._tables.setdefault("first", base._tables[spec.name])

    patch.setattr(MemoryDatabase, "_make", make)


@breaks("test_any_order_of_writes_ends_as_a_dictionary_would")
def old_ones_win(patch: pytest.MonkeyPatch) -> None:
    real = Table.upsert

    def upsert(table: Table, batch: pa.RecordBatch) -> None:
        known = {key[0] for key in table.order()}
        real(table, batch.filter(pa.array([text not in known for text in batch.column("id").to_pylist()])))

    patch.setattr(Table, "upsert", upsert)


# --------------------------------------------------------------------------- the examination


def examine(pytester: pytest.Pytester, *, only: str = "", normalises: tuple[Metric, ...] = ()) -> dict[str, int]:
    """Run the memory connector's contract, with the outcomes by kind."""
    pytester.makepyfile(test_exam=EXAM.replace("{NORMALISES!r}", repr({metric.value for metric in normalises} or "")))
    found = pytester.inline_run("-q", "-p", "no:cacheprovider", *(("-k", only) if only else ()))
    passed, skipped, failed = found.countoutcomes()
    return {"passed": passed, "skipped": skipped, "failed": failed}


def contract_tests() -> set[str]:
    """Every test of both contracts."""
    return {name for kind in (SourceContract, SinkContract) for name in dir(kind) if name.startswith("test_")}


def test_every_contract_test_has_a_mutant() -> None:
    """A contract test that was never seen to fail proves nothing."""
    assert contract_tests() == BROKEN.keys()


@pytest.mark.parametrize("test", sorted(BROKEN))
def test_a_broken_connector_fails(test: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract test notices what is broken."""
    BROKEN[test](monkeypatch)
    normalises = (Metric.COSINE,) if test == "test_exact_vectors_keep_their_bits" else ()
    found = examine(pytester, only=f"{test} and not {test}_", normalises=normalises)
    assert found["failed"] >= 1
    assert found["passed"] == found["skipped"] == 0


def test_a_connector_without_powers_passes(pytester: pytest.Pytester) -> None:
    """Powers are optional: without them the same tests prove that asking is refused."""
    pytester.makepyfile(test_exam=POWERLESS)  # a process of its own: Python caches which class has which power
    found = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    found.assert_outcomes(passed=len(contract_tests()))


def test_a_contract_test_cannot_be_overridden() -> None:
    """A connector passes a test or skips it for a registered reason; it does not rewrite it."""
    with pytest.raises(TypeError, match="test_power_counts"):
        type("Cheat", (SourceContract,), {"test_power_counts": lambda self: None, "__module__": __name__})
    with pytest.raises(TypeError, match="because"):
        type("Lazy", (SourceContract,), {"skips": {"test_power_counts": "because"}, "__module__": __name__})
