"""`retire` on MariaDB: a table is set aside under another name, and dropped when that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecferry.arrow import from_records, to_records
from vecferry.connectors.mariadb.database import MariaDatabase
from vecferry.connectors.mariadb.server import Server
from vecferry.errors import AlreadyExists
from vecferry.migration import retire
from vecferry.model import CollectionSpec, IdKind, Metric, Record, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.cases import target
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.mariadb import MariaDBDatabase


def test_a_table_is_renamed_then_dropped(mariadb: MariaDBDatabase, tmp_path: Path):
    mariadb.execute("CREATE TABLE BRAG (id INT PRIMARY KEY, body TEXT, v VECTOR(2) NOT NULL)")
    mariadb.execute("INSERT INTO BRAG VALUES (1, 'a', VEC_FromText('[1,2]')), (2, 'b', VEC_FromText('[3,4]'))")
    names = ["BRAG"]
    for step in ("aside", "gone"):
        done = retire(
            mariadb.url,
            agree=lambda _: True,
            collections=(names[-1],),
            into=f"files:{tmp_path / step}",
            unverified=True,
            drop=step == "gone",
            ledger=str(tmp_path / "ledger.db"),
        )
        assert done is not None
        names += done.aside.values()
        found = [row[0] for row in mariadb.execute("SHOW TABLES")]
        assert found == ([names[-1]] if step == "aside" else [])
    assert names[1].startswith("BRAG_archived_20")


def test_a_name_that_is_taken_is_refused(mariadb: MariaDBDatabase):
    mariadb.execute("CREATE TABLE a (id INT PRIMARY KEY, v VECTOR(2) NOT NULL)")
    mariadb.execute("CREATE TABLE b (id INT PRIMARY KEY)")
    with closing(open_database(mariadb.url)) as database:
        assert isinstance(database, MariaDatabase)
        with pytest.raises(AlreadyExists):
            database.rename("a", "b")


@pytest.mark.parametrize("at", ["RENAME TABLE", "SELECT TABLE_NAME FROM"])
@pytest.mark.parametrize("then", ["rename", "write"])
def test_a_crash_while_a_table_is_renamed(
    mariadb: MariaDBDatabase, monkeypatch: pytest.MonkeyPatch, at: str, then: str
) -> None:
    """A rename is no transaction: wherever it dies the table has its card, and what is left over goes later."""
    spec = target(CollectionSpec(name="a", id_kind=IdKind.TEXT, vectors=(VectorSpec(dim=1, metric=Metric.L2),)))
    (record,) = to_records(
        from_records(spec, [Record(id="5", vectors={"": np.ones(1, "<f4")}, metadata={"n": {"": -0.0}})]), spec
    )
    with closing(open_database(mariadb.url)) as database:
        assert isinstance(database, MariaDatabase)
        sink = database.sink(spec)
        sink.prepare(spec)
        sink.write(from_records(spec, [record]))
        with monkeypatch.context() as patch:
            for name in ("run", "rows"):
                patch.setattr(Server, name, dying(getattr(Server, name), at))
            with pytest.raises(Killed):
                database.rename("a", "b")
    with closing(open_database(mariadb.url)) as database:
        assert isinstance(database, MariaDatabase)
        (found,) = database.collections()
        assert found.name == ("a" if at.startswith("RENAME") else "b")
        assert_same([record], read_all(database.source(found.name)))
        if then == "rename":
            database.rename(found.name, "c")
        else:
            database.sink(replace(spec, name="other")).prepare(replace(spec, name="other"))
        left = {found.name, "other"} if then == "write" else {"c"}
        assert {name for (name,) in mariadb.execute("SELECT collection FROM _vecferry_cards")} == left
        assert_same([record], read_all(database.source("c" if then == "rename" else found.name)))


class Killed(BaseException):
    """The process ended here."""


def dying(call: Callable[..., Any], at: str) -> Callable[..., Any]:
    """`call`, which ends the process where a statement begins with `at`."""

    def run(server: Server, *statements: str) -> Any:
        if any(statement.startswith(at) for statement in statements):
            raise Killed
        return call(server, *statements)

    return run
