"""Pauses: a run or a unit is let wait by a mark in the ledger, lands what is in flight, and goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.support import Faulty, contents, memory, plan_for
from vecferry.engine import Options, Stop, job, keeping, migrate_collections, pausing
from vecferry.engine.units import Came, Care
from vecferry.errors import Interrupted, Unavailable, UnitsFailed, UnitsPaused
from vecferry.events import Event, Notice, UnitChanged
from vecferry.model import Partition, PartitionId
from vecferry.planning.model import Plan
from vecferry.planning.priority import Rank
from vecferry.state.ledger import Ledger
from vecferry.state.model import Outcome, Unit
from vecferry.tables.units import unit_of

ROWS = 300


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look is a look into the ledger."""
    monkeypatch.setattr(pausing, "EVERY_S", 0.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


class Story:
    """A run over memory stores whose `fault` may ask something of the ledger, and an observer that may answer."""

    def __init__(self, ledger: Ledger, *, units: bool) -> None:
        self.ledger = ledger
        self.source = memory(ROWS, partition_rows=100)
        self.target = Faulty(memory(), self.write)
        plan = plan_for(self.source, self.target)
        self.plan = _in_units(plan) if units else plan
        self.events: list[Event] = []
        self.proven: list[str] = []
        self.stop = Stop()
        self.rank: Rank | None = None
        self.at_write: Callable[[int], None] = lambda _: None
        self.at_notice: Callable[[str], None] = lambda _: None
        self.came: Callable[[], Came] = Came
        self.options = Options(batch_rows=10, jobs=1, commit_seconds=0, memory_bytes=1)  # a chunk at a time

    @property
    def run_id(self) -> str:
        return self.ledger.history()[0].id

    def unit(self, value: str) -> Unit:
        return next(unit for unit in self.ledger.units(self.run_id) if unit.value == value)

    def write(self, number: int, _: Any) -> None:
        self.at_write(number)

    def observe(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Notice):
            self.at_notice(event.message)

    def prove(self, _: str, partitions: Sequence[Partition]) -> int:
        self.proven.append(unit_of(partitions[0].id) or "")
        return 100

    def go(self) -> None:
        run = self.ledger.open_run(job(self.plan))
        care = Care(self.prove, lambda _: self.came(), self.rank)
        self.stop = Stop()
        with keeping(run, stop=self.stop):
            migrate_collections(
                self.plan,
                self.source,
                self.target,
                run,
                options=self.options,
                observer=self.observe,
                stop=self.stop,
                care=care,
            )
            run.close(Outcome.DONE)

    @property
    def notices(self) -> list[str]:
        return [event.message.split()[0] for event in self.events if isinstance(event, Notice)]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.unit, event.state) for event in self.events if isinstance(event, UnitChanged)]

    def everything_is_there_once(self) -> bool:
        """No record was sent twice either: what landed before a pause is behind a checkpoint."""
        return len(contents(self.target.inner)) == ROWS == sum(self.target.written)


def _in_units(plan: Plan) -> Plan:
    """Each partition is a unit: 1, 2, 3."""
    (collection,) = plan.collections
    parts = tuple(replace(part, id=PartitionId(f"{n} {part.id}")) for n, part in enumerate(collection.partitions, 1))
    return replace(plan, collections=(replace(collection, partitions=parts),))


@pytest.mark.parametrize("units", [False, True])
def test_a_run_that_is_paused_waits_and_goes_on_where_it_was(ledger: Ledger, units: bool) -> None:
    story = Story(ledger, units=units)
    before: list[int] = []

    def noticed(message: str) -> None:
        if message.startswith("Paused"):
            before.append(sum(story.target.written))
            (state,) = ledger.history()[0].collections
            assert state.total.written == before[-1], "what landed is checkpointed"
            ledger.go_on(story.run_id)

    story.at_write = lambda number: ledger.pause(story.run_id) if number == 14 else None
    story.at_notice = noticed
    story.go()
    assert story.notices == ["Paused.", "It"]
    assert 100 < before[0] < 200
    assert story.everything_is_there_once()


@pytest.mark.parametrize("units", [False, True])
def test_nothing_is_on_its_way_and_nothing_is_open_while_a_run_is_paused(ledger: Ledger, units: bool) -> None:
    """What was being written has landed, no read is left in the middle, and the source is closed."""
    story = Story(ledger, units=units)
    story.options = Options(batch_rows=10, jobs=4, commit_seconds=0)
    story.source = Watched(story.source)
    begun: list[int] = []
    seen: list[tuple[int, set[str]]] = []

    def written(number: int) -> None:
        begun.append(number)
        if number == 8:
            ledger.pause(story.run_id)
        if 8 <= number < 16:
            time.sleep(0.2)  # so that it is under way when the pause is seen

    def noticed(message: str) -> None:
        if message.startswith("Paused"):
            seen.append((len(begun) - len(story.target.written), set(story.source.open)))
            ledger.go_on(story.run_id)

    story.at_write, story.at_notice = written, noticed
    story.go()
    assert seen == [(0, set())]
    assert len(contents(story.target.inner)) == ROWS


class Watched:
    """A store that knows which of its sources, and which reads of them, are open."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.open = inner, set[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def source(self, name: str) -> Any:
        return WatchedSource(self._inner.source(name), self.open)


class WatchedSource:
    def __init__(self, inner: Any, opened: set[str]) -> None:
        self._inner, self._open = inner, opened
        opened.add("source")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, partition: Partition, *, after: Any = None) -> Any:
        self._open.add(partition.id)
        try:
            yield from self._inner.read(partition, after=after)
        finally:
            self._open.discard(partition.id)

    def close(self) -> None:
        self._open.discard("source")
        self._inner.close()


def test_the_unit_that_a_pause_broke_off_is_the_next_one(ledger: Ledger) -> None:
    story = Story(ledger, units=True)
    story.at_write = lambda number: ledger.pause(story.run_id) if number == 5 else None
    story.at_notice = lambda message: ledger.go_on(story.run_id) if message.startswith("Paused") else None
    story.go()
    assert story.proven == ["1", "2", "3"]
    assert story.everything_is_there_once()


def test_a_pause_outlives_the_process(ledger: Ledger) -> None:
    """Stopped while it waits, the same run waits again, before it writes anything."""
    story = Story(ledger, units=False)
    story.at_write = lambda number: ledger.pause(story.run_id) if number == 7 else None
    story.at_notice = lambda _: story.stop.request()
    with pytest.raises(Interrupted, match="while it was paused"):
        story.go()
    written = sum(story.target.written)
    with pytest.raises(Interrupted, match="while it was paused"):
        story.go()
    assert sum(story.target.written) == written
    ledger.go_on(story.run_id)
    story.go()
    assert story.everything_is_there_once()


def test_a_unit_that_is_paused_is_left_alone_and_no_other(ledger: Ledger) -> None:
    """Paused in the middle or before it was begun, it waits until it is resumed; the same run moves the rest of it."""
    story = Story(ledger, units=True)
    one, three = (Unit(collection="docs", value=value) for value in "13")
    story.at_write = lambda number: ledger.pause(story.run_id, [one, three]) if number == 5 else None
    with pytest.raises(UnitsPaused, match=r"2 units of 'docs' paused: 1, 3\."):
        story.go()
    assert story.proven == ["2"]
    assert [told for told in story.told if told[0] != "3"] == [
        ("1", "in_progress"),
        ("1", "pending"),
        ("2", "in_progress"),
        ("2", "completed"),
    ]
    assert 0 < sum(story.target.written) < 200
    ledger.go_on(story.run_id, [one, three])
    story.at_write = lambda _: None
    story.go()
    assert story.proven == ["2", "1", "3"]
    assert story.everything_is_there_once()


def test_a_unit_that_is_resumed_while_the_others_move_is_moved_by_the_same_process(ledger: Ledger) -> None:
    story = Story(ledger, units=True)
    one = Unit(collection="docs", value="1")

    def marked(number: int) -> None:
        if number == 5:
            ledger.pause(story.run_id, [one])
        if number == 18:
            ledger.go_on(story.run_id, [one])

    story.at_write = marked
    story.go()
    assert story.proven == ["2", "3", "1"]
    assert story.everything_is_there_once()


def test_a_unit_that_is_told_to_stay_before_its_turn_is_not_moved(ledger: Ledger) -> None:
    story = Story(ledger, units=True)
    story.at_write = lambda number: ledger.stay(story.run_id, [story.unit("3")]) if number == 1 else None
    story.go()
    assert story.proven == ["1", "2"]
    assert sum(story.target.written) == 200
    assert ("3", "stays") in story.told


def test_a_unit_that_is_resumed_when_all_others_are_through_is_moved(ledger: Ledger) -> None:
    """A run that answers that it goes on must not end without it."""
    story = Story(ledger, units=True)
    three = Unit(collection="docs", value="3")
    story.at_write = lambda number: ledger.stay(story.run_id, [three]) if number == 1 else None

    def came() -> Came:
        if story.proven == ["1", "2"]:
            ledger.go_on(story.run_id, [three])
        return Came()

    story.came = came
    story.go()
    assert story.proven == ["1", "2", "3"]
    assert story.everything_is_there_once()


def test_records_of_no_unit_beside_units_are_copied_too(ledger: Ledger) -> None:
    """Of two tables that go into one collection, one may lack the column."""
    story = Story(ledger, units=True)
    (collection,) = story.plan.collections
    one, two, three = collection.partitions
    parts = (one, two, replace(three, id=PartitionId(three.id.removeprefix("3 "))))
    story.plan = replace(story.plan, collections=(replace(collection, partitions=parts),))
    story.go()
    assert story.proven == ["1", "2"]
    assert story.everything_is_there_once()


def test_units_are_moved_in_another_order_when_it_is_asked_for(ledger: Ledger) -> None:
    story = Story(ledger, units=True)
    story.rank = lambda unit, rows: (unit != "2", -int(unit))
    story.go()
    assert story.proven == ["2", "3", "1"]


def test_a_completed_unit_that_got_rows_is_compared_again(ledger: Ledger) -> None:
    story = Story(ledger, units=True)
    answers = iter([Came(larger=["2", "9"])])
    story.came = lambda: next(answers, Came())
    story.go()
    assert story.proven == ["1", "2", "3", "2"]


def test_a_source_that_breaks_off_at_the_end_fails_the_run_unless_units_failed(ledger: Ledger) -> None:
    """Which units failed is what is to be told; without any, nobody may think that all came up."""
    story = Story(ledger, units=True)

    def gone() -> Came:
        raise Unavailable("gone", hint="none")

    story.came = gone
    with pytest.raises(Unavailable):
        story.go()
    story.prove = _refuse  # type: ignore[method-assign, assignment]
    other = Story(ledger, units=True)
    other.came, other.prove = gone, _refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(UnitsFailed, match="3 units"):
        other.go()


def _refuse(*_: Any) -> int:
    raise Unavailable("torn", hint="none")
