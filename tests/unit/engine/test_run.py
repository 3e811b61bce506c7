"""The engine over memory stores: what arrives, what is counted, what stops it and what does not."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy

from tests.unit.engine.support import DIM, Faulty, batch_of, contents, memory, migrate, plan_for, put
from vecferry.arrow import as_array
from vecferry.engine import Options, Stop, job, keeping, load_plan, migrate_collections
from vecferry.errors import (
    AuthFailed,
    ConfigError,
    ConnectorError,
    DataError,
    IdCollision,
    Interrupted,
    PlanChanged,
    StoreFull,
    Throttled,
    Unavailable,
    Unsupported,
)
from vecferry.events import (
    Paced,
    Progress,
    Rejected,
    Retried,
    RunFinished,
    RunStarted,
    Stage,
    StageFinished,
    StageStarted,
)
from vecferry.model import Card, Receipt, Rejection
from vecferry.planning.model import Cell, IfExists, OnConflict, Policy, Verdict
from vecferry.state.ledger import Ledger
from vecferry.state.model import Outcome


def fine(number, batch):
    return None


def failing_at(numbers, error):
    def fault(number, batch):
        if number in numbers:
            raise error

    return fault


# --------------------------------------------------------------------------- a run that goes well


@pytest.mark.parametrize("readers", [1, 3])
def test_every_record_arrives_once_and_is_counted(tmp_path, readers):
    """Several collections, partitions, chunks and batches: all there; results, events and ledger agree."""
    source, target = memory(123, names=("docs", "more")), memory()
    events = []
    result = migrate(
        tmp_path,
        plan_for(source, target),
        source,
        target,
        events=events,
        options=Options(batch_rows=7, readers=readers),
    )
    for name in ("docs", "more"):
        assert contents(target, name) == contents(source, name)
    assert (result.records, result.skipped, result.rejected, result.resumed) == (246, 0, 0, 0)
    assert result.bytes == sum(event.bytes for event in events if isinstance(event, Progress)) > 0
    assert sum(event.records for event in events if isinstance(event, Progress)) == 246
    assert set(result.seconds) == {"copy", "index"}
    told = [(type(event), getattr(event, "stage", None)) for event in events if not isinstance(event, Progress)]
    once = [(kind, stage) for stage in (Stage.COPY, Stage.INDEX) for kind in (StageStarted, StageFinished)]
    assert told == [(RunStarted, None), *once, *once]
    with Ledger(tmp_path / "ledger.db") as ledger:
        info = ledger.history()[0]
        assert info.outcome is Outcome.DONE
        assert load_plan(info.plan).records == 246
        assert [event.kind for event in ledger.events(info.id)] == [kind.__name__ for kind, _ in told]


def test_an_empty_collection_is_prepared_and_finished(tmp_path):
    """No record is no reason not to make the collection."""
    source, target = memory(5), memory()
    source.source("docs")._table.delete([f"{n:06}" for n in range(5)])
    result = migrate(tmp_path, plan_for(source, target), source, target)
    assert result.records == 0
    assert [spec.name for spec in target.collections()] == ["docs"]


def test_batches_keep_to_their_bounds(tmp_path):
    """Rows and bytes of a batch stay under the options, and under what the target takes."""
    source, target = memory(500, partition_rows=500, chunk_rows=250), Faulty(memory(), fine)
    plan = plan_for(source, target)
    migrate(tmp_path / "a", plan, source, target, options=Options(batch_rows=40))
    assert max(target.written) <= 40
    target = Faulty(memory(), fine)
    row = batch_of(250).nbytes / 250
    migrate(tmp_path / "b", plan, source, target, options=Options(batch_bytes=int(row * 30)))
    assert 10 <= max(target.written) <= 31
    target = Faulty(memory(), fine)
    target.limits = replace(target.inner.limits, request_records=9, request_bytes=10**9)
    migrate(tmp_path / "c", plan, source, target)
    assert max(target.written) <= 9


def test_memory_is_bounded_and_batches_overlap(tmp_path):
    """With a slow target, no more batches are in flight than jobs, and no more bytes are read than allowed."""
    flying, peak = 0, 0
    lock, all_at_once = threading.Lock(), threading.Barrier(Options().jobs)

    def slow(number, batch):
        nonlocal flying, peak
        with lock:
            flying += 1
            peak = max(peak, flying)
        if number <= Options().jobs:  # the first ones wait for each other
            all_at_once.wait(60)
        time.sleep(0.01)
        with lock:
            flying -= 1

    read = 0

    def reading(number):
        nonlocal read
        read = number

    source = Faulty(memory(600, partition_rows=600), fine, read_fault=reading)
    ahead = []

    def write(number, batch):
        slow(number, batch)
        ahead.append(read * 10 - sum(target.written))

    target = Faulty(memory(), write)
    budget = batch_of(10).nbytes * 5
    migrate(tmp_path, plan_for(source, target), source, target, options=Options(batch_rows=10, memory_bytes=budget))
    assert peak == Options().jobs
    assert max(ahead) <= 10 * 8
    assert len(contents(target)) == 600


def test_the_rate_is_kept(tmp_path):
    """200 records at 400 a second take about half a second, however quick the target is."""
    source, target = memory(200), memory()
    began = time.monotonic()
    migrate(tmp_path, plan_for(source, target), source, target, options=Options(rate=400, batch_rows=50))
    assert time.monotonic() - began >= 0.3
    assert len(contents(target)) == 200


def test_the_card_is_signed_by_the_run(tmp_path):
    """What is written into the target names the run that wrote it; the fingerprint does not depend on it."""
    source, target = memory(3), memory()
    plan = plan_for(source, target)
    carded = replace(
        plan, collections=(replace(plan.collections[0], target=replace(plan.collections[0].target, card=Card())),)
    )
    result = migrate(tmp_path, carded, source, target)
    assert result.collections[0].target.card.run == result.run
    signed = replace(
        carded.collections[0].target, card=Card(run="x", vecferry="9", key_types={"a": {"int": 1}}), count=7
    )
    other = replace(carded, collections=(replace(carded.collections[0], target=signed),))
    assert job(other).fingerprint == job(carded).fingerprint


def test_facts_hold_only_what_is_said():
    """A field that a later vecferry adds, with nothing in it, must not make an unfinished run unresumable."""
    facts = job(plan_for(memory(3), memory())).facts
    assert facts["'docs' target name"] == '"docs"'
    assert not {"null", '""', "[]", "{}"} & set(facts.values())


# --------------------------------------------------------------------------- errors


def test_only_retryable_errors_are_tried_again(tmp_path):
    """A target that fails for a moment costs nothing but time; the batch alone goes again, and that is told."""
    source, target = memory(100), Faulty(memory(), failing_at({3, 4, 9}, Unavailable("connection reset")))
    events = []
    result = migrate(tmp_path, plan_for(source, target), source, target, events=events)
    assert contents(target) == contents(source)
    assert sum(target.written) == result.records == 100
    retried = [event for event in events if isinstance(event, Retried)]
    assert len(retried) == 3
    assert all(event.error == "connection reset" and event.wait >= 0 for event in retried)


def test_what_the_target_asks_for_is_waited(tmp_path):
    """`retry_after` is honoured, the pace is cut at once and recovers."""
    source, target = memory(100), Faulty(memory(), failing_at({2}, Throttled("too many", retry_after=0.4)))
    events = []
    began = time.monotonic()
    migrate(tmp_path, plan_for(source, target), source, target, events=events, options=Options(batch_rows=5, jobs=4))
    assert time.monotonic() - began >= 0.4
    paced = [event for event in events if isinstance(event, Paced)]
    assert paced[0].in_flight == 2
    assert paced[-1].in_flight == 4
    assert [event.wait >= 0.4 for event in events if isinstance(event, Retried)] == [True]


def test_a_final_error_stops_at_once_and_keeps_what_landed(tmp_path):
    """A refusal for good is raised as it is; the next run goes on behind what was written."""
    source, inner = memory(300, partition_rows=300), memory()
    target = Faulty(inner, failing_at({12}, AuthFailed("the key was revoked")))
    plan = plan_for(source, target)
    events = []
    with pytest.raises(AuthFailed, match="revoked"):  # one batch at a time: with several, the first may land last
        migrate(tmp_path, plan, source, target, events=events, options=Options(batch_rows=7, jobs=1))
    assert [event.outcome for event in events if isinstance(event, RunFinished)] == ["failed"]
    with Ledger(tmp_path / "ledger.db") as ledger:
        info = ledger.history()[0]
        assert (info.outcome, info.error, info.finished) == (Outcome.FAILED, "the key was revoked", None)
        assert 0 < info.collections[0].total.read < 300
    again = Faulty(inner, fine)
    result = migrate(tmp_path, plan, source, again, events=events)
    assert contents(target) == contents(source)
    assert result.resumed == 300 - sum(again.written) > 0
    assert result.records == 300


def test_a_target_that_stays_away_leaves_a_resumable_run(tmp_path):
    """Past the deadline the run ends as interrupted and says the last error and how to go on."""
    source, target = memory(50), Faulty(memory(), failing_at(range(3, 1000), Unavailable("no route to host")))
    with pytest.raises(Interrupted, match="no route to host") as caught:
        migrate(tmp_path, plan_for(source, target), source, target, options=Options(batch_rows=7, deadline_seconds=0.5))
    assert "Run the same command again" in str(caught.value)
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.history()[0].outcome is Outcome.INTERRUPTED
    migrate(tmp_path, plan_for(source, target.inner), source, target.inner)
    assert contents(target) == contents(source)


def test_a_read_that_breaks_off_is_taken_up_again(tmp_path):
    """The source fails between chunks: reading goes on behind the last chunk, nothing twice, nothing missing."""

    def shaky(number):
        if number % 4 == 2:
            raise Unavailable("source hiccup")

    source, target = Faulty(memory(200), fine, read_fault=shaky), Faulty(memory(), fine)
    migrate(tmp_path, plan_for(source, target), source, target)
    assert contents(target) == contents(source.inner)
    assert sum(target.written) == 200


def test_a_batch_refused_for_its_size_is_split(tmp_path):
    """What is too large goes in halves, and later batches are smaller from the start."""

    def small_only(number, batch):
        if batch.num_rows > 6:
            raise ConnectorError("payload too large", too_large=True)

    source, target = memory(200, partition_rows=200, chunk_rows=100), Faulty(memory(), small_only)
    events = []
    migrate(tmp_path, plan_for(source, target), source, target, events=events, options=Options(batch_rows=100, jobs=1))
    assert contents(target) == contents(source)
    assert any("this size" in event.reason for event in events if isinstance(event, Paced))
    assert next(target.calls) - 1 < len(target.written) * 2


def poisoned(number, batch):
    if "000042" in batch.column("id").to_pylist():
        raise DataError("the vector holds NaN", ids=["000042"])


def quarantining(plan):
    cell = Cell(shape="non-finite-vector", verdict=Verdict.IMPOSSIBLE, count=1, policy=Policy.QUARANTINE)
    return replace(plan, collections=(replace(plan.collections[0], cells=(cell,)),))


def test_a_poisoned_record_stops_the_run_by_name(tmp_path):
    """Without a policy the record is named, with what to do; the others of its batch are written."""
    source, target = memory(100), Faulty(memory(), poisoned)
    with pytest.raises(DataError, match=r"refuses record '000042' of 'docs': the vector holds NaN") as caught:
        migrate(tmp_path, plan_for(source, target), source, target)
    assert caught.value.ids == ("000042",)
    assert "quarantine" in str(caught.value.hint)


def test_a_poisoned_record_is_quarantined_where_the_plan_says_so(tmp_path):
    """With the policy all others arrive; the one is in the ledger and in the events, once."""
    source, target = memory(100), Faulty(memory(), poisoned)
    events = []
    result = migrate(tmp_path, quarantining(plan_for(source, target)), source, target, events=events)
    assert (result.records, result.rejected) == (99, 1)
    assert contents(source).keys() - contents(target).keys() == {"000042"}
    assert [(event.id, event.reason) for event in events if isinstance(event, Rejected)] == [
        ("000042", "the vector holds NaN")
    ]
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert [q.rejection.id for q in ledger.rejections(result.run)] == ["000042"]


def test_what_the_plan_leaves_out_is_never_sent(tmp_path):
    """Records of a shape that the plan quarantines go to the ledger, not to the target."""
    source, target = memory(30), Faulty(memory(), fine)
    plan = plan_for(source, target)
    cell = Cell(shape="zero-vector", verdict=Verdict.IMPOSSIBLE, count=1, policy=Policy.QUARANTINE)
    plan = replace(plan, collections=(replace(plan.collections[0], cells=(cell,)),))
    zero = batch_of(1, first=50)
    put(
        source,
        zero.set_column(2, zero.schema.field(2), as_array(np.zeros((1, DIM), np.float32), zero.schema.field(2).type)),
    )
    result = migrate(tmp_path, plan, source, target)
    assert (result.records, result.rejected) == (30, 1)
    assert "000050" not in contents(target)
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert [q.rejection.id for q in ledger.rejections(result.run)] == ["000050"]


def test_a_record_that_the_sink_rejects_itself_counts_alike(tmp_path):
    """`Receipt.rejected` stops the run without a policy, and is quarantined with one."""

    def rejecting(number, batch):
        ids = batch.column("id").to_pylist()
        if "000007" not in ids:
            return None
        return Receipt(batch.num_rows - 1, 1, (Rejection("000007", "no place"),))

    source, target = memory(20), Faulty(memory(), rejecting)
    plan = plan_for(source, target)
    with pytest.raises(DataError, match="000007"):
        migrate(tmp_path / "a", plan, source, target)
    assert migrate(tmp_path / "b", quarantining(plan), source, target).rejected == 1


def test_a_record_that_turned_unreadable_after_the_plan(tmp_path, monkeypatch):
    """Nobody agreed that it is left out: it stops the run by name, and is quarantined where the plan says so."""
    source, target = memory(20), memory()
    plan = plan_for(source, target)
    kind = type(source.source("docs"))
    true = kind.read

    def torn(self, partition, *, after=None):
        for chunk in true(self, partition, after=after):
            yield replace(chunk, batch=chunk.batch.slice(1), rejected=(Rejection("000000", "torn"),))

    monkeypatch.setattr(kind, "read", torn)
    with pytest.raises(DataError, match="'000000' of 'docs' cannot be read: torn") as caught:
        migrate(tmp_path / "a", plan, source, target)
    assert "--restart" in caught.value.hint
    assert migrate(tmp_path / "b", quarantining(plan), source, target).rejected > 0


def test_a_target_that_confirms_too_little_is_not_believed(tmp_path):
    """A receipt that does not account for every record is an error, not a loss."""
    source = memory(20)
    target = Faulty(memory(), lambda number, batch: Receipt(batch.num_rows - 1, 1))
    with pytest.raises(ConnectorError, match=r"confirmed \d of \d"):
        migrate(tmp_path, plan_for(source, target), source, target)


def test_a_full_target_is_resumable(tmp_path):
    """No space in the target: raised as it is, what landed is checkpointed, and the run goes on after."""

    def full(number, batch):
        if batch.column("id")[0].as_py() >= "000050":
            raise StoreFull("no space left", store="x")

    source, inner = memory(100), memory()
    target = Faulty(inner, full)
    plan = plan_for(source, inner)
    with pytest.raises(StoreFull):
        migrate(tmp_path, plan, source, target)
    assert migrate(tmp_path, plan, source, inner).resumed > 0
    assert contents(inner) == contents(source)


def test_a_full_ledger_is_resumable(tmp_path):
    """No space for checkpoints: the run stops and says so; with space again it goes on, and no rejection is lost."""
    count = 3000
    source, target = memory(), memory()
    batch = batch_of(count)
    field = batch.schema.field("vector")
    zeros = np.zeros((count, DIM), np.float32)
    zeros[::2] = 1
    put(source, batch.set_column(batch.schema.get_field_index("vector"), field, as_array(zeros, field.type)))
    plan = plan_for(source, target)
    cell = Cell(shape="zero-vector", verdict=Verdict.IMPOSSIBLE, count=1500, policy=Policy.QUARANTINE)
    plan = replace(plan, collections=(replace(plan.collections[0], cells=(cell,)),))
    stop = Stop()
    with Ledger(tmp_path / "ledger.db") as ledger:
        run = ledger.open_run(job(plan))
        engine = ledger._database._engine
        sqlalchemy.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 42"))
        engine.dispose()
        with pytest.raises(StoreFull, match="is full"), keeping(run, stop=stop):
            migrate_collections(plan, source, target, run, options=Options(commit_seconds=0), stop=stop)
        assert 0 < len(contents(target)) < 1500
    result = migrate(tmp_path, plan, source, target)
    assert (result.records, result.rejected) == (1500, 1500)
    assert result.resumed > 0
    with Ledger(tmp_path / "ledger.db") as ledger:
        ids = [q.rejection.id for q in ledger.rejections(result.run)]
    assert len(ids) == len(set(ids)) == 1500
    assert contents(target).keys().isdisjoint(ids)


# --------------------------------------------------------------------------- stopping


def test_stop_finishes_what_is_in_flight(tmp_path):
    """Once: what was sent is checkpointed, nothing new is sent, and the next run writes each of the others once."""
    stop = Stop()
    source, inner = memory(400, partition_rows=400), memory()

    def stopping(number, batch):
        time.sleep(0.005)
        if number == 20:
            stop.request()

    target = Faulty(inner, stopping)
    plan = plan_for(source, target)
    with pytest.raises(Interrupted, match="Stopped on request"):
        migrate(tmp_path, plan, source, target, stop=stop, options=Options(batch_rows=5))
    assert 20 <= len(target.written) <= 23
    again = Faulty(inner, fine)
    result = migrate(tmp_path, plan, source, again, options=Options(batch_rows=5))
    assert contents(target) == contents(source)
    assert result.records == 400
    assert sum(target.written) + sum(again.written) <= 400 + 20


def test_stop_twice_waits_for_nobody(tmp_path):
    """Twice: a target that hangs is abandoned; the run is resumable."""
    stop, hanging = Stop(), threading.Event()

    def hang(number, batch):
        if number == 4:
            threading.Timer(0.1, stop.request).start()
            threading.Timer(0.3, stop.request).start()
            hanging.wait(30)

    source, inner = memory(100), memory()
    target = Faulty(inner, hang)
    plan = plan_for(source, target)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        migrate(tmp_path, plan, source, target, stop=stop)
    assert time.monotonic() - began < 10
    hanging.set()
    migrate(tmp_path, plan, source, inner)
    assert contents(inner) == contents(source)


def test_stop_cuts_a_wait_short(tmp_path):
    """A run that waits to try again stops at once when asked to."""
    stop = Stop()
    source = memory(20)
    target = Faulty(memory(), failing_at(range(1, 99), Throttled("busy", retry_after=60)))
    threading.Timer(0.3, stop.request).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        migrate(tmp_path, plan_for(source, target), source, target, stop=stop)
    assert time.monotonic() - began < 10


def test_a_stopped_run_writes_nothing(tmp_path):
    """A stop that came before the run: refused before the first write."""
    stop = Stop()
    stop.request()
    source, target = memory(20), memory()
    with pytest.raises(Interrupted):
        migrate(tmp_path, plan_for(source, target), source, target, stop=stop)
    assert target.collections() == []


# --------------------------------------------------------------------------- what is there already


def test_append_refuses_colliding_ids_before_the_first_write(tmp_path):
    """One id of one collection is there: refused, named, and no collection of the run is touched."""
    source, target = memory(30, names=("alpha", "docs")), memory()
    put(target, batch_of(2, first=29, text="theirs"))
    plan = plan_for(source, target, if_exists=IfExists.APPEND)
    with pytest.raises(IdCollision, match=r"'docs' holds records with ids .*000029") as caught:
        migrate(tmp_path, plan, source, target)
    assert caught.value.ids == ("000029",)
    assert [spec.name for spec in target.collections()] == ["docs"]
    assert contents(target) == {"000029": "theirs 29", "000030": "theirs 30"}


@pytest.mark.parametrize("conflict", [OnConflict.REPLACE, OnConflict.SKIP])
def test_append_replaces_or_skips(tmp_path, conflict):
    """Strangers stay; colliding records are replaced or left alone, and skipped ones are counted."""
    source, target = memory(30), memory()
    put(target, batch_of(4, first=28, text="theirs"))
    plan = plan_for(source, target, if_exists=IfExists.APPEND, on_conflict=conflict)
    result = migrate(tmp_path, plan, source, target)
    found = contents(target)
    assert len(found) == 32
    assert found["000031"] == "theirs 31"
    skips = conflict is OnConflict.SKIP
    assert found["000029"] == ("theirs 29" if skips else "text 29")
    assert (result.records, result.skipped) == ((28, 2) if skips else (30, 0))


def test_append_without_the_power_to_look_is_refused(tmp_path):
    """A target that cannot say which ids it has cannot promise to skip them."""

    class Blind:
        def __init__(self, inner):
            self.describe, self.read, self.partitions, self.close = (
                inner.describe,
                inner.read,
                inner.partitions,
                inner.close,
            )

    source, target = memory(5), Faulty(memory(), fine)
    put(target.inner, batch_of(1))
    plan = plan_for(source, target, if_exists=IfExists.APPEND, on_conflict=OnConflict.SKIP)
    target.source = lambda name: Blind(target.inner.source(name))
    with pytest.raises(Unsupported, match="say which ids"):
        migrate(tmp_path, plan, source, target)


def test_recreate_drops_once(tmp_path):
    """The old collection goes before the first write; a resumed run keeps what it wrote itself."""
    source, inner = memory(100), memory()
    put(inner, batch_of(3, first=900, text="old"))
    target = Faulty(inner, failing_at({8}, AuthFailed("revoked")))
    plan = plan_for(source, target, if_exists=IfExists.RECREATE)
    with pytest.raises(AuthFailed):
        migrate(tmp_path, plan, source, target)
    again = Faulty(inner, fine)
    migrate(tmp_path, plan, source, again)
    assert contents(inner) == contents(source)
    assert sum(again.written) < 100


def test_a_finished_collection_is_not_prepared_again(tmp_path):
    """Resuming behind a finished collection leaves it alone: preparing could take its indexes away."""
    source, inner = memory(40, names=("alpha", "beta")), memory()
    target = Faulty(inner, failing_at({9}, AuthFailed("revoked")))
    plan = plan_for(source, target)
    with pytest.raises(AuthFailed):
        migrate(tmp_path, plan, source, target)
    again = Faulty(inner, fine)
    result = migrate(tmp_path, plan, source, again)
    assert again.prepared == ["beta"]
    assert [collection.records for collection in result.collections] == [40, 40]


# --------------------------------------------------------------------------- plans and options


def test_what_changes_a_plan_is_told(tmp_path):
    """Another mapping or other bounds refuse to resume, by readable name; another day or server version does not."""
    source, inner = memory(40), memory()
    target = Faulty(inner, failing_at({3}, AuthFailed("revoked")))
    plan = plan_for(source, target)
    with pytest.raises(AuthFailed):
        migrate(tmp_path, plan, source, target)
    first = plan.collections[0]
    mapped = replace(first, target=replace(first.target, config={"hnsw_config": {"m": 32}}))
    with pytest.raises(PlanChanged, match=r"'docs' target config.hnsw_config.m: was \(absent\), now 32"):
        migrate(tmp_path, replace(plan, collections=(mapped,)), source, inner)
    cut = replace(first, partitions=first.partitions[:-1])
    with pytest.raises(PlanChanged, match=r"'docs' partitions: was 1 with bounds \w+, now 0"):
        migrate(tmp_path, replace(plan, collections=(cut,)), source, inner)
    later = replace(plan, created=plan.created.replace(year=2030), target=replace(plan.target, version="99"))
    assert migrate(tmp_path, later, source, inner).resumed >= 0
    assert contents(inner) == contents(source)


@pytest.mark.parametrize(
    "wrong", [{"jobs": 0}, {"batch_rows": 0}, {"batch_bytes": -1}, {"rate": 0}, {"commit_seconds": -1}]
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        Options(**wrong)
