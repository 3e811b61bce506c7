"""`retire` on MariaDB: a table is set aside under another name, and dropped when that is asked for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from vecferry.connectors.mariadb.database import MariaDatabase
from vecferry.errors import AlreadyExists
from vecferry.migration import retire
from vecferry.registry import open_database
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
