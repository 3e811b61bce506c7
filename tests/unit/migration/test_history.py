"""What `status` says of a run with units, from a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vecferry.cli.status import news, totals
from vecferry.errors import ConfigError
from vecferry.migration import status, watch
from vecferry.model import CollectionSpec, Partition, PartitionId
from vecferry.planning.model import CollectionPlan
from vecferry.state.ledger import Ledger
from vecferry.state.model import Checkpoint, Job, Outcome, Target, Unit, UnitState
from vecferry.state.run import Run

PARTS = tuple(
    Partition(id=PartitionId(f"{unit} keys-{n:03}"), bounds="") for unit in ("7", '"ann lee"', "null") for n in range(2)
)
UNITS = tuple(Unit(collection="T", value=value, total=10) for value in ("7", '"ann lee"', "null"))


@pytest.fixture
def location(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


@pytest.fixture
def run(location: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run whose plan nobody reads here, with three units."""

    from vecferry.migration import history

    monkeypatch.setattr(history, "load_plan", lambda _: NoPlan())
    job = Job(
        key="k", source="mariadb x", target="qdrant y", facts={}, plan="",
        collections=(Target(source="T", target="T", partitions=PARTS, units=UNITS),),
    )  # fmt: skip
    with Ledger(location) as ledger:
        yield ledger.open_run(job)


class NoPlan:
    """Stands for a plan of one collection."""

    source_url, target_url, records = "mariadb://x/y", "qdrant+http://y", 30
    kept = synced = ()
    collections = (CollectionPlan(source="T", target=CollectionSpec(name="T"), records=30, bytes=0),)


def units(location: str) -> dict[str, tuple[str, int, int]]:
    (found,) = status(location)
    return {unit.value: (unit.state, unit.moved, unit.total) for unit in found.units}


def test_a_unit_in_progress_counts_what_is_committed(run: Run, location: str) -> None:
    assert units(location) == {"7": ("pending", 0, 10), "ann lee": ("pending", 0, 10), "null": ("pending", 0, 10)}
    begun = Unit(collection="T", value='"ann lee"', state=UnitState.IN_PROGRESS, total=10, started=1.0)
    run.change_unit(begun)
    run.commit("T", PARTS[2].id, Checkpoint(read=4, written=3, rejected=1))
    run.commit("T", PARTS[3].id, Checkpoint(read=2, written=1, skipped=1, done=True))
    run.commit("T", PARTS[0].id, Checkpoint(read=1, written=1))
    assert units(location)["ann lee"] == ("in_progress", 5, 10)
    run.change_unit(replace(begun, state=UnitState.COMPLETED, moved=9, total=9, finished=2.0))
    assert units(location)["ann lee"] == ("completed", 9, 9)
    (found,) = status(location, run=run.id)
    assert found.unit_counts == {"pending": 2, "completed": 1}
    (ann,) = [unit for unit in found.units if unit.value == "ann lee"]
    assert (ann.started and ann.started.timestamp(), ann.finished and ann.finished.timestamp()) == (1.0, 2.0)


def test_what_is_paused_and_what_grew(run: Run, location: str) -> None:
    """A unit that got rows since it was planned is not further than all of it, nor is its run."""
    run.change_unit(Unit(collection="T", value="7", state=UnitState.IN_PROGRESS, total=10, started=1.0))
    run.commit("T", PARTS[0].id, Checkpoint(read=31, written=31))
    with Ledger(location) as other:
        other.pause(run.id, [UNITS[2]])
    assert units(location) == {"7": ("in_progress", 31, 31), "ann lee": ("pending", 0, 10), "null": ("paused", 0, 10)}
    (found,) = status(location)
    assert found.unit_counts == {"pending": 1, "in_progress": 1, "paused": 1}
    assert (found.state, found.done, found.records) == ("running", 31, 31)
    with Ledger(location) as other:
        other.pause(run.id)
    looks = watch(location, wait=lambda _: run.close(Outcome.INTERRUPTED))
    assert [(look.state, bool(look.holder)) for look in looks] == [("paused", True), ("paused", False)]


def test_a_run_that_is_not_there(run: Run, location: str) -> None:
    with pytest.raises(ConfigError, match="no run 'other'"):
        status(location, run="other")
    with pytest.raises(ConfigError, match="no run 'other'"):
        next(watch(location, run="other"))


def test_watching_ends_when_the_run_does(run: Run, location: str) -> None:
    """Each look says what is new; the last one is of the run that ended."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            run.change_unit(Unit(collection="T", value="7", state=UnitState.FAILED, total=10, error="torn"))
        if len(waits) == 2:
            run.close(Outcome.INTERRUPTED, error="1 unit failed")

    looks = list(watch(location, every=0.5, wait=wait))
    assert waits == [0.5, 0.5]
    assert [look.state for look in looks] == ["running", "running", "interrupted"]
    assert news(None, looks[0]) == ["running, 0 of 30 records; 3 units: 3 pending"]
    assert news(looks[0], looks[1]) == [
        "T 7: failed, 0 of 10: torn",
        "running, 0 of 30 records; 3 units: 2 pending, 1 failed",
    ]
    assert news(looks[1], looks[1]) == []
    assert totals(looks[2]).startswith("interrupted, ")


def test_watching_where_nothing_ever_ran(location: str) -> None:
    assert list(watch(location)) == []
