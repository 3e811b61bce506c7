"""Stop, patience, pace and rate on their own, and partitions that other processes copy."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest

from tests.crash import durable_store
from vecferry.engine import Options, Stop, job
from vecferry.engine.copy import copy_partition
from vecferry.engine.crew import Budget, Crew, Lane
from vecferry.engine.pace import FLOOR_BYTES, Pace, Rate
from vecferry.engine.retry import CAP_SECONDS, Patience, pause, retrying
from vecferry.errors import AuthFailed, Interrupted, Throttled, Unavailable
from vecferry.events import Paced
from vecferry.model import Partition, PartitionId
from vecferry.registry import open_database
from vecferry.state.ledger import Ledger
from vecferry.state.model import Checkpoint

MIB = 1 << 20


# --------------------------------------------------------------------------- stop


def test_a_child_stops_with_its_parent_and_alone():
    """Down, not up; and twice is told from once."""
    parent = Stop()
    child = parent.child()
    child.request()
    assert child.requested
    assert not child.now
    assert not parent.requested
    parent.request()
    assert not child.now
    parent.request()
    assert child.now


def test_sleep_ends_early_on_a_stop():
    stop = Stop()
    assert stop.sleep(0.01)
    threading.Timer(0.1, stop.request).start()
    began = time.monotonic()
    assert not stop.sleep(30)
    assert time.monotonic() - began < 5


# --------------------------------------------------------------------------- patience


def patience(deadline: float = 300.0, stop: Stop | None = None) -> tuple[Patience, list[float]]:
    waits: list[float] = []
    told = Patience(
        "writing", stop=stop or Stop(), deadline_seconds=deadline, told=lambda attempt, wait, error: waits.append(wait)
    )
    return told, waits


def test_waits_are_jittered_below_a_growing_bound():
    """Full jitter: spread over the whole range, doubling, capped."""
    for attempt in (1, 3, 5, 30):
        bound = min(CAP_SECONDS, 0.2 * 2**attempt)
        waits = [pause(attempt, Unavailable("x")) for _ in range(300)]
        assert 0 <= min(waits) < bound * 0.2
        assert bound * 0.8 < max(waits) <= bound


def test_what_was_asked_for_is_the_least_wait():
    assert all(3.0 <= pause(n, Throttled("x", retry_after=3.0)) <= 3.2 for n in range(1, 20))


def test_final_errors_pass_through():
    told, waits = patience()
    error = AuthFailed("no")
    with pytest.raises(AuthFailed) as caught:
        retrying(lambda: (_ for _ in ()).throw(error), told)
    assert caught.value is error
    assert waits == []


def test_a_wait_past_the_deadline_is_not_begun():
    """Asked to wait an hour, with a deadline of minutes: stop now, resumable, with the reason."""
    told, waits = patience(deadline=60)
    with pytest.raises(Interrupted, match="quota used up") as caught:
        told.endure(Throttled("quota used up", retry_after=3600))
    assert isinstance(caught.value.__cause__, Throttled)
    assert waits == []


def test_success_begins_anew():
    """After a success the next failure is the first again: the deadline counts from it."""
    told, waits = patience(deadline=0.45)
    for _ in range(6):
        told.endure(Unavailable("x"))
        told.reset()
    assert len(waits) == 6


# --------------------------------------------------------------------------- pace


def pace(told: list[Paced], **options: object) -> Pace:
    return Pace(Options(**{"batch_bytes": MIB, "jobs": 4, **options}), durable_store.LIMITS, told.append)


def last(told: list[Paced]) -> tuple[int, int]:
    """(batches in flight, bytes of a batch) as the pace said last."""
    return told[-1].in_flight, told[-1].batch_bytes


def calm(pace: Pace) -> None:
    pace._calm_at = 0.0


def test_refusals_halve_what_is_in_flight_then_the_batch():
    """4, 2, 1 in flight, then smaller batches down to the floor; refusals of one moment count once."""
    told: list[Paced] = []
    p = pace(told)
    for _ in range(5):
        p.throttled()
    assert last(told) == (2, MIB)
    for _ in range(20):
        calm(p)
        p.throttled()
    assert last(told) == (1, FLOOR_BYTES)


def test_quick_answers_take_it_back_step_by_step():
    """Additive: each round of quick answers gives one more in flight, until all is as it was."""
    told: list[Paced] = []
    p = pace(told)
    for _ in range(20):
        calm(p)
        p.throttled()
    p.landed(0.01)
    assert told[-1].in_flight == 2
    for _ in range(60):
        p.landed(0.01)
    assert last(told) == (4, MIB)


def test_slow_answers_make_batches_smaller_first():
    told: list[Paced] = []
    p = pace(told, target_seconds=1.0)
    p.landed(3.0)
    assert last(told) == (4, MIB // 2)
    p.landed(0.7)
    assert p.max_bytes == MIB // 2
    for _ in range(10):
        calm(p)
        p.landed(3.0)
    assert last(told) == (1, FLOOR_BYTES)


def test_a_size_that_was_refused_is_never_sent_again():
    p = pace([])
    p.too_large(MIB)
    for _ in range(100):
        p.landed(0.01)
    assert p.max_bytes == MIB // 2


def test_the_rate_counts_every_thread():
    """Two threads share one bucket: 300 records at 1,000 a second take at least 0.2 s after the first batch."""
    rate, stop = Rate(1000), Stop()
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: [rate.take(50, stop) for _ in range(3)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 0.24
    assert rate.burst == 500


def test_the_budget_lets_one_large_thing_pass_alone():
    budget, stop = Budget(100), Stop()
    assert budget.take(1000, stop)
    threading.Timer(0.15, budget.give_back, [1000]).start()
    began = time.monotonic()
    assert budget.take(10, stop)
    assert time.monotonic() - began >= 0.1
    stop.request()
    assert not budget.take(1, stop)


# --------------------------------------------------------------------------- elsewhere


def test_partitions_are_copied_by_other_processes(tmp_path):
    """Three processes that share nothing but URLs, bounds, ledger path and epoch copy one collection between them."""
    source_path, target_path, ledger_path = (tmp_path / name for name in ("s.db", "t.db", "l.db"))
    durable_store.fill(source_path, ["docs"], 100)
    durable_store.register()
    source, target = open_database(f"durable:{source_path}"), open_database(f"durable:{target_path}")
    from tests.crash.program import make_plan, parse

    plan = make_plan(source, target, parse(["s", "t", "l"]))
    spec = plan.collections[0].target
    target.sink(spec).prepare(spec)
    with Ledger(ledger_path) as ledger:
        run = ledger.open_run(job(plan))
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(
                target=copy_elsewhere,
                args=(str(source_path), str(target_path), str(ledger_path), run.id, run.epoch, part.id, part.bounds),
            )
            for part in plan.collections[0].partitions
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        state = run.collections()["docs"]
    assert (state.total.written, state.total.done) == (100, True)
    rows = "SELECT id, body, writes FROM records WHERE name = 'docs' ORDER BY id"
    assert source.execute(rows) == target.execute(rows)
    source.close()
    target.close()


def copy_elsewhere(source: str, target: str, ledger: str, run: str, epoch: int, partition: str, bounds: str) -> None:
    """What a worker anywhere does: open everything by name, copy one partition, commit under the holder's epoch."""
    durable_store.register()
    origin, goal = open_database(f"durable:{source}"), open_database(f"durable:{target}")
    sink = goal.sink(origin.source("docs").describe())
    part = Partition(id=PartitionId(partition), bounds=bounds)
    with Ledger(Path(ledger)) as book, Crew(Options(batch_rows=5), goal.limits) as crew:
        lane = Lane(collection="docs", partition=partition, sink=sink, run=book.attach(run, epoch))
        done = copy_partition(origin.source("docs"), part, Checkpoint(), lane=lane, crew=crew)
        assert done.done
    origin.close()
    goal.close()
