"""An index for which the memory cannot be had is built with less; any other refusal ends the run."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from vecferry.connectors.postgres.building import Building
from vecferry.connectors.postgres.ddl import own
from vecferry.connectors.postgres.preparing import Prepared
from vecferry.errors import StoreFull
from vecferry.model import CollectionSpec, VectorSpec

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=3),))


class AccessDouble:
    """Stands for a server whose shared memory, or disk, is full: it refuses the first `refusals` indexes."""

    def __init__(self, refusals: int, code: str) -> None:
        self.refusals, self.code, self.said = refusals, code, list[str]()

    @contextmanager
    def transaction(self, *, write):
        assert write
        yield self

    def execute(self, statement, values=()):
        text = statement.decode() if isinstance(statement, bytes) else statement
        self.said.append(f"{text} {list(values)}")
        if text.startswith("CREATE INDEX") and self.refusals:
            self.refusals -= 1
            raise StoreFull("no room", hint="Make some.", sqlstate=self.code)
        self.row = (1_000_000, 64 << 20) if "maintenance_work_mem')" in text else None
        return self

    def fetchone(self):
        return self.row


def run(refusals: int, code: str = "53100") -> list[str]:
    double = AccessDouble(refusals, code)
    table, form = own(SPEC, ("public",))
    Building(double, Prepared(SPEC, table, form, "public")).run()
    return double.said


def test_with_room_there_is_one_attempt():
    said = run(0)
    assert sum(text.startswith("CREATE INDEX") for text in said) == 1
    assert any("'maintenance_work_mem', %s" in text and "kB" in text for text in said)


def test_without_room_in_shared_memory_one_worker_builds_it():
    said = run(1)
    second = said[[text.startswith("CREATE INDEX") for text in said].index(True) + 1 :]
    assert sum(text.startswith("CREATE INDEX") for text in second) == 1
    assert any("max_parallel_maintenance_workers" in text for text in second)
    assert not any("'maintenance_work_mem', %s" in text for text in second)


@pytest.mark.parametrize("refusals, code", [(2, "53100"), (1, "25006")])
def test_any_other_refusal_is_the_end(refusals, code):
    with pytest.raises(StoreFull):
        run(refusals, code)
