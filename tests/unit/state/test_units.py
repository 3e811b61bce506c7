"""Units in the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from vecferry.errors import ConfigError, LedgerError
from vecferry.model import Partition, PartitionId
from vecferry.state.ledger import Ledger
from vecferry.state.model import Checkpoint, Job, Outcome, Step, Target, Unit, UnitState
from vecferry.state.run import Run

SEVEN = Unit(collection="T", value="7", total=10)
EIGHT = Unit(collection="T", value='""', total=4)
LATE = Unit(collection="T", value="8", state=UnitState.COMPLETED, total=3, moved=3, started=1.0, finished=2.0)
JOB = Job(
    key="k",
    source="s",
    target="t",
    collections=(Target(source="T", target="T", partitions=(), units=(SEVEN, EIGHT)),),
    facts={},
    plan="",
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def run(ledger: Ledger) -> Run:
    return ledger.open_run(JOB)


def stands(run: Run) -> dict[str, str]:
    return {unit.value: "paused" if unit.paused else unit.state.value for unit in run.units()}


def test_units_are_there_with_their_run_and_those_that_come_up_behind_them(run: Run) -> None:
    """A run that is killed at any moment has its units, and the partitions of each."""
    assert run.units() == [SEVEN, EIGHT]
    changed = replace(SEVEN, state=UnitState.FAILED, error="torn")
    run.change_unit(changed)
    (target,) = JOB.collections
    run.extend(replace(JOB, collections=(replace(target, units=(SEVEN, EIGHT, LATE)),)))
    assert run.units() == [changed, EIGHT, LATE]
    with pytest.raises(LedgerError, match="no unit 9"):
        run.change_unit(replace(SEVEN, value="9"))


# --------------------------------------------------------------------------- asked from outside


def test_a_run_that_is_paused_stays_so_until_it_is_resumed(ledger: Ledger, run: Run) -> None:
    assert not run.paused()
    ledger.pause(run.id)
    assert run.paused()
    assert run.paused(SEVEN)
    run.close(Outcome.INTERRUPTED)
    again = ledger.open_run(JOB)
    assert again.paused()
    info = ledger.run(run.id)
    assert info is not None
    assert (info.paused, info.running) == (True, True)
    ledger.go_on(run.id)
    assert not again.paused()
    again.close(Outcome.DONE)
    with pytest.raises(ConfigError, match="has ended"):
        ledger.pause(run.id)
    with pytest.raises(ConfigError, match="no run 'other'"):
        ledger.pause("other")


def test_a_unit_that_is_paused_is_not_begun(ledger: Ledger, run: Run) -> None:
    """Nor is its pause lost when its run writes how it stands."""
    begun = replace(SEVEN, state=UnitState.IN_PROGRESS)
    assert run.begin_unit(begun)
    ledger.pause(run.id, [SEVEN])
    assert run.paused(SEVEN)
    assert not run.paused(EIGHT)
    assert not run.paused()
    run.change_unit(replace(SEVEN, moved=2))
    assert stands(run) == {"7": "paused", '""': "pending"}
    assert not run.begin_unit(begun)
    ledger.go_on(run.id, [SEVEN])
    assert run.begin_unit(begun)
    run.change_unit(replace(SEVEN, state=UnitState.COMPLETED))
    with pytest.raises(ConfigError, match="is completed"):
        ledger.pause(run.id, [EIGHT, SEVEN])
    assert stands(run)['""'] == "pending", "all of them or none"


def test_a_unit_that_stays_is_not_begun(ledger: Ledger, run: Run) -> None:
    ledger.stay(run.id, [SEVEN])
    assert stands(run)["7"] == "stays"
    assert not run.begin_unit(replace(SEVEN, state=UnitState.IN_PROGRESS))
    with pytest.raises(ConfigError, match="stays in the source"):
        ledger.pause(run.id, [SEVEN])
    assert run.begin_unit(replace(EIGHT, state=UnitState.IN_PROGRESS))
    with pytest.raises(ConfigError, match="in progress"):
        ledger.stay(run.id, [EIGHT])
    with pytest.raises(ConfigError, match="is not there"):
        ledger.stay(run.id, [LATE])
    run.close(Outcome.INTERRUPTED)
    ledger.stay(run.id, [EIGHT])
    assert [unit.state for unit in ledger.units(run.id)] == [UnitState.STAYS] * 2


def test_a_run_that_ended_is_opened_again_for_what_stayed(ledger: Ledger, run: Run) -> None:
    ledger.stay(run.id, [SEVEN])
    run.mark("T", Step.VERIFIED)
    with pytest.raises(ConfigError, match="past copying 'T'"):
        ledger.go_on(run.id, [SEVEN])
    run.close(Outcome.DONE)
    ledger.go_on(run.id, [EIGHT])
    assert ledger.unfinished("k") is None, "nothing stayed of that one"
    ledger.go_on(run.id, [SEVEN])
    again = ledger.open_run(JOB)
    assert (again.id, again.resumed) == (run.id, True)
    assert again.collections()["T"].step is Step.PREPARED
    assert stands(again)["7"] == "pending"
    ledger.stay(run.id, [SEVEN])
    again.close(Outcome.DONE)
    with pytest.raises(ConfigError, match="has ended"):
        ledger.go_on(run.id)


def test_a_run_that_was_followed_stays_ended_where_the_other_one_copied(ledger: Ledger, run: Run) -> None:
    """A synchronisation is no reason: it copies nothing, and leaves out those who stay."""
    (target,) = JOB.collections
    part = Partition(id=PartitionId("7 keys-0"), bounds="")
    ledger.stay(run.id, [SEVEN])
    ledger.pause(run.id)
    run.close(Outcome.DONE)
    ledger.open_run(replace(JOB, collections=(replace(target, partitions=(part,), units=()),))).close(Outcome.DONE)
    ledger.go_on(run.id, [SEVEN])
    again = ledger.open_run(JOB)
    assert (again.id, again.paused()) == (run.id, False)
    ledger.stay(run.id, [SEVEN])
    again.close(Outcome.DONE)
    other = ledger.open_run(replace(JOB, collections=(replace(target, partitions=(part,)),)))
    with pytest.raises(ConfigError, match=f"run {other.id} of the same stores followed it"):
        ledger.go_on(run.id, [SEVEN])
    other.commit("T", part.id, Checkpoint(read=1, written=1))
    other.close(Outcome.DONE)
    with pytest.raises(ConfigError, match=f"run {other.id} of the same stores followed it"):
        ledger.go_on(run.id, [SEVEN])
    assert next(unit.state for unit in ledger.units(run.id)) is UnitState.STAYS


def test_a_collection_is_copied_when_no_unit_is_left(run: Run) -> None:
    run.change_unit(replace(SEVEN, state=UnitState.COMPLETED))
    for state in (UnitState.PENDING, UnitState.IN_PROGRESS, UnitState.FAILED):
        run.change_unit(replace(EIGHT, state=state))
        assert not run.copied("T")
        assert run.collections()["T"].step is Step.PLANNED
    run.change_unit(replace(EIGHT, state=UnitState.STAYS))
    assert run.copied("T")
    assert run.collections()["T"].step is Step.COPIED


def test_what_failed_and_is_to_stay_has_no_error(ledger: Ledger, run: Run) -> None:
    run.change_unit(replace(SEVEN, state=UnitState.FAILED, error="torn"))
    ledger.stay(run.id, [SEVEN])
    assert run.units()[0] == replace(SEVEN, state=UnitState.STAYS)


def test_a_ledger_of_version_2_learns_of_pauses(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        before = ledger.open_run(JOB)
        before.close(Outcome.INTERRUPTED)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("runs", "units"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN paused")
        connection.execute("UPDATE vecferry_ledger SET version = 2")
        connection.execute("DELETE FROM units WHERE ordinal = 1")  # killed before it was noted, as that version did it
    with Ledger(path) as ledger:
        ledger.pause(before.id, [SEVEN])
        again = ledger.open_run(JOB)
        assert stands(again) == {"7": "paused", '""': "pending"}, "nothing is passed over"
        assert not again.paused()
