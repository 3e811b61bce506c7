"""A source that is read at a pace: what it gives stays the same, it can do what it could, and it waits its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

import numpy as np
import pytest

from vecferry import arrow, protocols
from vecferry.connectors.memory import MemoryDatabase
from vecferry.engine.gentle import Bound, Gentle
from vecferry.engine.job import job
from vecferry.engine.stop import Stop
from vecferry.errors import ConnectorError, Interrupted, Unsupported
from vecferry.events import Eased, Event, Notice
from vecferry.migration import Settings, journal, migrate, status
from vecferry.migration.asking import Asker, Question
from vecferry.migration.gently import Watch
from vecferry.model import CollectionSpec, Record, StoreIdentity, VectorSpec
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.registry import open_database
from vecferry.state.ledger import Ledger
from vecferry.url import StoreUrl

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=2),))
POWERS = [kind for kind in vars(protocols).values() if getattr(kind, "_is_runtime_protocol", False)]
BOUND = 0.01


class Played:
    """Answers that a test gives, in the place of the process that asks."""

    def __init__(self) -> None:
        self.given: SimpleQueue[float | str | None] = SimpleQueue()
        self.waits: list[float] = []

    def answer(self, wait: float) -> float | str | None:
        self.waits.append(wait)
        try:
            return self.given.get(timeout=wait)
        except Empty:
            raise TimeoutError from None

    def close(self) -> None:
        self.given.put(None)


@pytest.fixture
def database() -> Iterator[MemoryDatabase]:
    opened = MemoryDatabase(StoreUrl.parse("memory:gently"))
    sink = opened.sink(SPEC)
    sink.prepare(SPEC)
    sink.write(arrow.from_records(SPEC, [Record(id=str(n), vectors={"": [n, 1.0]}) for n in range(300)]))
    yield opened
    opened.drop("docs")


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def watched(told: list[Event]) -> Iterator[Callable[[], tuple[Watch, Played, Stop]]]:
    """Makes a watch whose answers the test gives."""
    opened: list[Watch] = []

    def make() -> tuple[Watch, Played, Stop]:
        played, stop = Played(), Stop()
        watch = Watch("docs", cast(Asker, played), BOUND / 1.5, Gentle(BOUND), observer=told.append, stop=stop)
        opened.append(watch)
        return watch, played, stop

    yield make
    for watch in opened:
        watch.close()


Make = Callable[[], tuple[Watch, Played, Stop]]


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread; a test that waits for long has failed."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read(database: protocols.Database) -> list[str]:
    with closing(database.source("docs")) as source:
        chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    return [text for chunk in chunks for text in chunk.batch.column("id").to_pylist()]


# --------------------------------------------------------------------------- what is read


def test_it_gives_what_the_source_gives(database: MemoryDatabase, watched: Make) -> None:
    assert read(watched()[0].over(database)) == read(database)


def test_it_keeps_its_powers_and_gets_none(database: MemoryDatabase, watched: Make) -> None:
    shown = watched()[0].over(database)
    assert [isinstance(shown, power) for power in POWERS] == [isinstance(database, power) for power in POWERS]
    one, other = shown.source("docs"), database.source("docs")
    assert [isinstance(one, power) for power in POWERS] == [isinstance(other, power) for power in POWERS]
    assert isinstance(one, protocols.Fetchable)
    assert isinstance(one, protocols.Searchable)


def test_searches_give_the_same_one_by_one(database: MemoryDatabase, watched: Make) -> None:
    queries = np.array([[1, 0], [0, 1], [5, 5]], np.float32)
    with closing(watched()[0].over(database).source("docs")) as shown, closing(database.source("docs")) as source:
        assert isinstance(shown, protocols.Searchable)
        assert shown.search(queries, k=3, exact=True) == source.search(queries, k=3, exact=True)
        assert isinstance(shown, protocols.Fetchable)
        assert shown.fetch(["7"]).num_rows == 1


def test_what_was_read_is_waited_for_before_more_is(database: MemoryDatabase, watched: Make) -> None:
    """300 records at 200 a second: the second reading begins 1.5 s behind the first."""
    shown = watched()[0].over(database)
    began = time.monotonic()
    read(shown)
    read(shown)
    assert time.monotonic() - began >= 1.4


def test_who_waits_for_the_source_can_be_stopped(database: MemoryDatabase, watched: Make) -> None:
    """It must not look like the end of the records."""
    watch, _, stop = watched()
    shown = watch.over(database)
    read(shown)
    threading.Timer(0.1, stop.request).start()
    with pytest.raises(Interrupted, match="Stopped on request while the source was read"):
        read(shown)


# --------------------------------------------------------------------------- what follows from the answers


def test_slow_answers_while_it_is_read_make_it_slower(
    database: MemoryDatabase, watched: Make, told: list[Event]
) -> None:
    watch, played, _ = watched()
    before = watch.rate.per_second
    played.given.put(BOUND)
    until(lambda: watch._gentle.p95 > 0)
    read(watch.over(database))
    for _ in range(2):
        played.given.put(2 * BOUND)
    until(lambda: watch.rate.per_second < before)
    until(lambda: any(isinstance(event, Eased) and event.reason for event in told))
    last = next(event for event in told if isinstance(event, Eased) and event.reason)
    assert (last.per_second, last.cuts, last.bound) == (before / 2, 1, BOUND)
    assert last.p95 == pytest.approx(2 * BOUND)


def test_what_was_wrong_with_one_answer_changes_nothing(database: MemoryDatabase, watched: Make) -> None:
    """Although records are read, so that slow answers would."""
    watch, played, _ = watched()
    before = watch.rate.per_second
    played.given.put(BOUND)
    until(lambda: watch._gentle.p95 > 0)
    read(watch.over(database))
    for _ in range(20):
        played.given.put("The store cannot be reached.")
    played.given.put(BOUND / 2)
    until(lambda: len(watch._gentle._recent) == 2)
    assert (watch.rate.per_second, watch._gentle.cuts) == (before, 0)


def test_the_rest_behind_a_slow_search_is_no_slow_search(watched: Make) -> None:
    """Who asks pauses for twice as long: one hiccup of the source would count as two, and cut the pace."""
    _, played, _ = watched()
    played.given.put(3.0)
    until(lambda: len(played.waits) > 1)
    assert played.waits[1] - played.waits[0] == pytest.approx(2 * 3.0)


def test_it_is_said_when_nobody_asks_any_more(watched: Make, told: list[Event]) -> None:
    _, played, _ = watched()
    played.given.put(None)
    until(lambda: any(isinstance(event, Notice) for event in told))
    assert [event.message for event in told if isinstance(event, Notice)] == [
        "It is asked no longer; the pace stays at 200 records a second."
    ]


# --------------------------------------------------------------------------- who cannot be asked


@pytest.mark.parametrize("scheme", ["memory", "files"])
def test_a_store_that_no_application_asks_is_refused(scheme: str, tmp_path: Path) -> None:
    """Before anything is read or written, with what to do."""
    url, target = f"{scheme}:{tmp_path / 'store'}", tmp_path / "target"
    with closing(open_database(url)) as opened:
        sink = opened.sink(SPEC)
        sink.prepare(SPEC)
        sink.write(arrow.from_records(SPEC, [Record(id="1", vectors={"": [1.0, 1.0]})]))
        sink.finish()
    with pytest.raises(Unsupported, match=r"--pace 1\.5x cannot be kept") as caught:
        migrate(url, f"files:{target}", settings=Settings(pace=Bound.parse("gentle"), ledger=str(tmp_path / "l.db")))
    assert "--rate" in str(caught.value.hint)
    assert not target.exists()


def test_a_process_that_cannot_ask_says_why(tmp_path: Path) -> None:
    """Its own words come over, and it is gone when it is closed."""
    asker = Asker(Question(f"files:{tmp_path / 'nowhere'}", "docs", "", 0.01))
    try:
        with pytest.raises(ConnectorError, match=r"'docs' cannot be asked .*nowhere"):
            asker.idle(Stop())
    finally:
        asker.close()
    assert asker._process.returncode is not None


# --------------------------------------------------------------------------- what is remembered

PLAN = Plan(
    created=datetime(2026, 1, 1, tzinfo=UTC),
    source_url="memory:a",
    target_url="memory:b",
    source=StoreIdentity(kind="memory", where="a"),
    target=StoreIdentity(kind="memory", where="b"),
    collections=(CollectionPlan(source="docs", target=SPEC, records=1, bytes=1),),
)
GENTLE = Settings(pace=Bound.parse("gentle"))


def begun(ledger: Ledger, said: Settings, **other: Any) -> Settings:
    return journal.at_its_pace(ledger, PLAN.source, PLAN.target, replace(said, **other))


def test_a_resumed_run_keeps_its_pace_unless_another_is_said(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert begun(ledger, Settings()).pace is None
        ledger.open_run(job(PLAN, journal.request(GENTLE))).close(outcome := journal.Outcome.INTERRUPTED)
        assert outcome.resumable
        assert begun(ledger, Settings()).pace == GENTLE.pace
        assert begun(ledger, Settings(), restart=True).pace is None
        for pace in ("full", "2x"):
            other = begun(ledger, Settings(pace=Bound.parse(pace)))
            assert str(other.pace) == pace
            ledger.open_run(job(PLAN, journal.resumed(other))).close(outcome)


def test_status_says_what_was_noted_last(tmp_path: Path, watched: Make) -> None:
    from vecferry.cli.status import totals

    location = str(tmp_path / "ledger.db")
    watch, *_ = watched()
    with Ledger(location) as ledger:
        run = ledger.open_run(job(PLAN, journal.request(GENTLE)))
        watch.noted_in(run)
        run.close(journal.Outcome.INTERRUPTED)
    (found,) = status(location)
    assert found.pace is not None
    assert (found.pace.per_second, found.pace.bound, found.pace.cuts) == (200, BOUND, 0)
    assert totals(found) == "interrupted, 0 of 1 records, pace 200/s (cut 0 times; source's p95 0.0 of 10.0 ms)"
