"""Units in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vecferry.state.ledger import Ledger
from vecferry.state.model import Job, Target, Unit, UnitState
from vecferry.state.run import Run

TARGET = Target(source="T", target="T", partitions=())
SEVEN = Unit(collection="T", value="7", total=10)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    job = Job(key="k", source="s", target="t", collections=(TARGET,), facts={}, plan="", request={})
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield ledger.open_run(job)


def test_a_unit_that_was_never_noted_is_added_when_it_changes(run: Run) -> None:
    """A run that is killed between taking a partition into its plan and noting its unit goes on with both."""
    run.add_units([SEVEN])
    late = Unit(collection="T", value="8", state=UnitState.COMPLETED, total=3, moved=3, started=1.0, finished=2.0)
    run.change_unit(late)
    changed = replace(SEVEN, state=UnitState.FAILED, error="torn")
    run.change_unit(changed)
    assert run.units() == [changed, late]
