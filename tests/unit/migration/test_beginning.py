"""Between the plan in the ledger and the first write: a process that ends there takes nothing with it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plan.making import fill
from vecferry import migration
from vecferry.connectors.files.database import LIMITS, FilesDatabase
from vecferry.errors import LedgerError
from vecferry.migration import Settings
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.planning.model import Policy
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.state.run import Run
from vecferry.testing.contracts import plain_records

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=4, metric=Metric.L2),))
TIGHT = replace(LIMITS, id_bytes=20)
KILLED = """
import os, sys
from tests.unit.migration.test_beginning import FilesDatabase, TIGHT, settings
from pathlib import Path
from vecferry import hooks, migration
FilesDatabase.limits = property(lambda _: TIGHT)
hooks.install(lambda point: os._exit(9) if point == "plan.saved" else None)
folder = Path(sys.argv[1])
migration.sync(f"files:{folder}/source", f"files:{folder}/target", settings=settings(folder))
"""


def settings(folder: Path) -> Settings:
    plan = PlanOptions(policies={"id-too-long": Policy.QUARANTINE})
    return Settings(plan=plan, ledger=str(folder / "ledger.db"), reports=None)


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setattr(FilesDatabase, "limits", property(lambda _: TIGHT))
    return f"files:{tmp_path}/source", f"files:{tmp_path}/target"


def test_what_is_set_aside_stays_so_where_the_process_died_before_it_noted_it(
    stores: tuple[str, str], tmp_path: Path
) -> None:
    records = plain_records(SPEC, 4)
    fill(open_database(stores[0]), SPEC, records[:2])
    migration.migrate(*stores, settings=settings(tmp_path))
    fill(open_database(stores[0]), SPEC, [records[2], replace(records[3], id="x" * 30)])
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == 9
    done = migration.sync(*stores, settings=settings(tmp_path))
    assert [repair.rewritten for repair in done.repairs] == [1]
    assert done.differences == 0
    assert not open_database(stores[1]).source("docs").existing(["x" * 30])  # type: ignore[attr-defined]


def test_a_ledger_that_fails_there_leaves_no_run_in_the_way(
    stores: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(open_database(stores[0]), SPEC, plain_records(SPEC, 4))

    def fails(*_: Any) -> None:
        raise LedgerError("The ledger fails.", hint="Try again.")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "spend", fails)
        with pytest.raises(LedgerError, match="fails"):
            migration.migrate(*stores, settings=settings(tmp_path))
    assert migration.migrate(*stores, settings=settings(tmp_path)).records == 4
