"""Which run and which units `pause`, `resume` and `stay` mean, and what a status table says of them at the end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from vecferry.errors import ConfigError
from vecferry.events import UnitChanged, silent
from vecferry.migration import history, pause, resume, stay
from vecferry.migration.status_sql import Place
from vecferry.migration.status_table import StatusTable
from vecferry.model import CollectionSpec
from vecferry.planning.model import CollectionPlan
from vecferry.state.ledger import Ledger
from vecferry.state.model import Job, Outcome, Target, Unit, UnitState

SEVEN, ELSEWHERE, EIGHT = (Unit(collection=table, value=value, total=3) for table, value in ("A7", "B7", "B8"))
JOB = Job(
    key="k", source="mariadb x", target="qdrant y", facts={}, plan="",
    collections=(
        Target(source="A", target="A", partitions=(), units=(SEVEN,)),
        Target(source="B", target="B", partitions=(), units=(ELSEWHERE, EIGHT)),
    ),
)  # fmt: skip


class NoPlan:
    """Stands for a plan of both collections."""

    source_url, target_url, records = "mariadb://x/y", "qdrant+http://y", 9
    kept = synced = ()
    collections = tuple(
        CollectionPlan(source=name, target=CollectionSpec(name=name), records=0, bytes=0) for name in "AB"
    )


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(history, "load_plan", lambda _: NoPlan())
    return str(tmp_path / "ledger.db")


@pytest.fixture
def ledger(location: str) -> Iterator[Ledger]:
    with Ledger(location) as opened:
        yield opened


def test_a_user_who_is_through_in_one_table_can_be_paused_in_the_other(ledger: Ledger, location: str) -> None:
    run = ledger.open_run(JOB)
    run.change_unit(replace(SEVEN, state=UnitState.COMPLETED))
    assert [unit.state for unit in pause(location, units=["7"]).units] == ["completed", "paused", "pending"]
    assert [unit.state for unit in resume(location, units=["7"]).units] == ["completed", "pending", "pending"]
    with pytest.raises(ConfigError, match="is completed"):
        stay(location, units=["7"])
    run.change_unit(replace(ELSEWHERE, state=UnitState.COMPLETED))
    with pytest.raises(ConfigError, match="is completed"):
        pause(location, units=["7", "8"])
    assert not any(unit.paused for unit in run.units()), "all of them or none"


def test_the_run_with_units_is_found_behind_many_others(ledger: Ledger, location: str) -> None:
    """Who stays is moved when it is asked for, however often the others were synchronised since."""
    run = ledger.open_run(JOB)
    ledger.stay(run.id, run.units())
    run.close(Outcome.DONE)
    for number in range(25):
        ledger.open_run(replace(JOB, key=f"other {number}", collections=())).close(Outcome.DONE)
    assert resume(location, units=["8"]).id == run.id


def test_the_status_table_ends_with_what_was_marked_meanwhile(ledger: Ledger, tmp_path: Path) -> None:
    """Of units that the run did not come to any more nothing else is told."""
    run, made = ledger.open_run(JOB), tmp_path / "status.db"
    table = StatusTable(Place.parse(f"sqlite:///{made}#made"), silent)
    with table.writing(run):
        failed = replace(ELSEWHERE, state=UnitState.FAILED, error="torn")
        run.change_unit(failed)
        table(UnitChanged(collection="B", unit="7", state="failed", total=3, moved=0, error="torn"))
        ledger.stay(run.id, [SEVEN, failed])
    with closing(sqlite3.connect(made)) as connection:
        rows = connection.execute("SELECT user_id, status, error FROM made ORDER BY 1").fetchall()
    assert rows == [(7, "stays", None), (8, "pending", None)]
