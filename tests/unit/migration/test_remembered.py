"""What a run left out on purpose is not missing: verify and repair read it from the ledger, and leave it be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plan.making import fill
from vecferry import migration
from vecferry.connectors.files.database import LIMITS, FilesDatabase
from vecferry.events import Event, Notice
from vecferry.migration import Settings
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.planning.model import IfExists, Policy
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.testing.contracts import plain_records

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=4, metric=Metric.L2),))
TIGHT = replace(LIMITS, id_bytes=20)
LONG = "x" * 30
RECORDS = plain_records(SPEC, 4)


def settings(folder: Path, **plan: object) -> Settings:
    wishes = PlanOptions(policies={"id-too-long": Policy.QUARANTINE}, **plan)  # type: ignore[arg-type]
    return Settings(plan=wishes, ledger=str(folder / "ledger.db"), reports=None)


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Four records, one of which the target takes only by bending its limits: it was set aside."""
    stores = (f"files:{tmp_path}/source", f"files:{tmp_path}/target")
    fill(open_database(stores[0]), SPEC, [*RECORDS[:3], replace(RECORDS[3], id=LONG)])
    monkeypatch.setattr(FilesDatabase, "limits", property(lambda _: TIGHT))
    done = migration.migrate(*stores, settings=settings(tmp_path)).run
    assert done is not None
    assert (done.records, done.rejected) == (3, 1)
    return stores


def ids(url: str) -> frozenset[str]:
    return open_database(url).source("docs").existing([*(record.id for record in RECORDS), LONG])  # type: ignore[attr-defined, no-any-return]


def lose(url: str, *lost: str) -> None:
    sink = open_database(url).sink(SPEC)
    sink.prepare(SPEC)
    sink.delete(lost)  # type: ignore[attr-defined]
    sink.finish()


def test_what_a_run_set_aside_is_left_be_and_counted(moved: tuple[str, str], tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger.db")
    lose(moved[1], RECORDS[1].id)
    proof = migration.verify(*moved, ledger=ledger).verification
    assert proof.differences == 1, "only what was lost"
    done = migration.repair(*moved, ledger=ledger, delete_extra=True)
    assert [(one.rewritten, one.deleted, one.set_aside) for one in done.collections] == [(1, 0, 1)]
    assert done.after.differences == 0
    (counts, *_) = (check for check in done.after.collections[0].checks if check.skipped)
    assert list(counts.skipped.values()) == [1]
    assert ids(moved[1]) == {record.id for record in RECORDS[:3]}


def test_without_the_ledger_it_is_missing(moved: tuple[str, str], tmp_path: Path) -> None:
    absent = tmp_path / "no" / "ledger.db"
    assert migration.repair(*moved, ledger=str(absent)).collections[0].rewritten == 1
    assert not absent.exists(), "a verification makes no ledger"
    assert LONG in ids(moved[1])


def test_what_stands_there_all_the_same_is_compared(moved: tuple[str, str], tmp_path: Path) -> None:
    """Somebody brought it in later, in another state: it is mended, and never deleted as something extra."""
    fill(open_database(moved[1]), SPEC, [replace(RECORDS[3], id=LONG, document="other")])
    done = migration.repair(*moved, ledger=str(tmp_path / "ledger.db"), delete_extra=True)
    assert [(one.rewritten, one.deleted, one.set_aside) for one in done.collections] == [(1, 0, 0)]
    assert done.after.differences == 0


def test_the_latest_run_that_wrote_counts(
    moved: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made anew without a policy that leaves it out; lost since, it is missing."""
    monkeypatch.setattr(FilesDatabase, "limits", property(lambda _: LIMITS))
    migration.migrate(*moved, settings=settings(tmp_path, if_exists=IfExists.RECREATE))
    lose(moved[1], LONG)
    done = migration.repair(*moved, ledger=str(tmp_path / "ledger.db"))
    assert [(one.rewritten, one.set_aside) for one in done.collections] == [(1, 0)]


def test_runs_that_wrote_nothing_change_nothing(moved: tuple[str, str], tmp_path: Path) -> None:
    assert migration.migrate(*moved, settings=settings(tmp_path)).kept == 3
    done = migration.sync(*moved, settings=settings(tmp_path))
    assert done.differences == 0
    assert migration.verify(*moved, ledger=str(tmp_path / "ledger.db")).verification.differences == 0


def test_a_ledger_that_cannot_be_read_is_told_of(moved: tuple[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_text("no ledger")
    seen: list[Event] = []
    proof = migration.verify(*moved, ledger=str(broken), observer=seen.append).verification
    assert proof.differences == 1
    assert [event.level for event in seen if isinstance(event, Notice)] == ["warning"]
