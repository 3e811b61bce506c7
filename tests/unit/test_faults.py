"""Faults happen where and when they say, once, and leave the wrapped store's powers alone."""

import signal
import subprocess
import sys
from threading import Thread
from uuid import uuid4

import pytest

from vecferry import hooks
from vecferry.arrow import from_records
from vecferry.connectors.memory import LIMITS
from vecferry.errors import Throttled, Unavailable
from vecferry.protocols import Countable, Database, Searchable
from vecferry.registry import open_database
from vecferry.testing.contracts import collection, plain_records
from vecferry.testing.faults import Action, Fault, injected

SPEC = collection(LIMITS)


@pytest.fixture
def database() -> Database:
    """A memory store under whatever faults are injected."""
    return open_database(f"memory:{uuid4()}?chunk_rows=10")


def test_raises_at_the_nth_time_and_only_then() -> None:
    """`nth` counts from one; a fault that happened does not happen again."""
    with injected(Fault("batch.written", Action.RAISE, nth=3, error=Throttled)) as faults:
        hooks.reach("batch.written")
        hooks.reach("batch.before")
        hooks.reach("batch.written")
        with pytest.raises(Throttled):
            hooks.reach("batch.written")
        hooks.reach("batch.written")
    assert faults.reached == {"batch.written": 4, "batch.before": 1}
    assert [str(fault) for fault in faults.fired] == ["raise:Throttled@batch.written#3"]


def test_nothing_stays_installed() -> None:
    """Behind the `with` the process is healthy again."""
    with injected(Fault("batch.written", Action.RAISE)):
        pass
    hooks.reach("batch.written")
    assert type(open_database("memory:x").source).__name__ == "method"


def test_kill_is_kill_9() -> None:
    """The process dies by SIGKILL: no `finally`, no handler."""
    code = (
        "from vecferry import hooks; from vecferry.testing.faults import *\n"
        "with injected(Fault.parse('kill@run.copied#2')):\n"
        "  try:\n    hooks.reach('run.copied'); print('one', flush=True); hooks.reach('run.copied')\n"
        "  finally:\n    print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "one\n")


def test_pause_waits_for_resume() -> None:
    """A paused thread stands still at its point until it is let go."""
    with injected(Fault("chunk.read", Action.PAUSE)) as faults:
        thread = Thread(target=lambda: hooks.reach("chunk.read"))
        thread.start()
        assert faults.paused.wait(120)
        assert thread.is_alive()
        faults.resume()
        thread.join(120)
        assert not thread.is_alive()


def test_a_sink_fails_before_or_after_writing() -> None:
    """`write:ID` leaves nothing behind; `written:ID` has written and loses the confirmation."""
    batch = from_records(SPEC, plain_records(SPEC, 5))
    for place, left in (("write:id-000003", 0), ("written:id-000003", 5)):
        with injected(Fault(place, Action.RAISE), scheme="memory") as faults:
            database = open_database(f"memory:{uuid4()}")
            sink = database.sink(SPEC)
            sink.prepare(SPEC)
            with pytest.raises(Unavailable):
                sink.write(batch)
            source = database.source(SPEC.name)
            assert isinstance(source, Countable)
            assert source.count() == left
            sink.write(batch)
            assert source.count() == 5
            assert len(faults.fired) == 1


@pytest.mark.parametrize("action, expected", [(Action.CUT, 20), (Action.DUPLICATE, 60), (Action.PAUSE, 50)])
def test_a_source_is_cut_or_repeats(action: Action, expected: int) -> None:
    """The chunk with the record is where the stream ends early, or what comes twice; a pause changes nothing."""
    with injected(Fault("read:id-000025", action)) as faults:
        faults.resume()
        database = open_database(f"memory:{uuid4()}?chunk_rows=10")
        sink = database.sink(SPEC)
        sink.prepare(SPEC)
        sink.write(from_records(SPEC, plain_records(SPEC, 50)))
        source = database.source(SPEC.name)
        (partition,) = source.partitions()
        assert sum(chunk.batch.num_rows for chunk in source.read(partition)) == expected
        assert isinstance(source, Searchable), "a wrapped source keeps its powers"


def test_what_makes_no_sense_is_refused() -> None:
    """A misspelt point would make a crash test pass by testing nothing."""
    for text in ("kill@batch.wrote", "cut@batch.written", "explode@run.copied", "duplicate@write:x", "nonsense"):
        with pytest.raises(ValueError, match=r"'"):
            Fault.parse(text)


def test_text_round_trip() -> None:
    """What a process prints of its faults is what it was given."""
    for text in ("kill@batch.written#3", "raise:Throttled@read:a#b:c#1", "pause@run.copied#1"):
        assert str(Fault.parse(text)) == text
