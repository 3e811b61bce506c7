"""Rows that can be no record, in both SQL stores: counted before anything is written, set aside, or found out later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vecferry
from vecferry.errors import DataError, LossRefused
from vecferry.migration import Migration
from vecferry.migration.settings import Ask, Settings
from vecferry.planning.losses import Policy
from vecferry.planning.options import PlanOptions
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase

Server = MariaDBDatabase | PostgresDatabase
DOUBLE = '{"b": 1, "b": 2}'
ROWS = 10


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """A table of ten rows with a JSON column of its own that keeps what it was given, letter by letter."""
    server: Server = request.getfixturevalue(request.param)
    server.execute("CREATE TABLE notes (id INT PRIMARY KEY, body TEXT, more JSON, v VECTOR(2) NOT NULL)")
    vector = "VEC_FromText('[1,2]')" if request.param == "mariadb" else "'[1,2]'"
    rows = ", ".join(f"""({n}, 'text', '{{"a": [{n}, 1e300]}}', {vector})""" for n in range(ROWS))
    server.execute(f"INSERT INTO notes VALUES {rows}")
    return server


def move(server: Server, folder: Path, ask: Ask | None = None, **policies: Policy) -> Migration:
    settings = Settings(plan=PlanOptions(policies=policies), ledger=str(folder / "ledger.db"), reports=None)
    return vecferry.migrate(server.url, f"files:{folder / 'out'}", settings=settings, ask=ask)


class Spoiler(Ask):
    """Agrees to everything, and spoils a row behind the plan's back."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def show(self, plan: Any, standing: Any) -> None:
        pass

    def proceed(self, plan: Any, drifts: Any) -> bool:
        self._server.execute(f"UPDATE notes SET more = '{DOUBLE}' WHERE id = 7")
        return True


@pytest.mark.parametrize("text", [DOUBLE, '{"b": 1e300, "b": 2}', "[" * 31 + '{"": {"b": [], "b": []}}' + "]" * 31])
def test_a_json_key_that_stands_twice_is_a_cell_of_the_plan(server: Server, tmp_path: Path, text: str) -> None:
    """Whoever takes the last of them, as parsers do, loses the other and does not say so."""
    if isinstance(server, MariaDBDatabase) and text.startswith("["):
        text = text[3:-3]  # MariaDB's JSON_VALID takes no more levels
    server.execute(f"UPDATE notes SET more = '{text}' WHERE id IN (3, 4)")
    with pytest.raises(LossRefused, match="2 × unreadable"):
        move(server, tmp_path)
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = move(server, tmp_path, unreadable=Policy.QUARANTINE)
    assert done.run is not None
    assert (done.records, done.run.rejected, done.differences) == (ROWS - 2, 2, 0)


def test_a_row_that_became_unreadable_after_the_plan(server: Server, tmp_path: Path) -> None:
    """Nobody agreed that it is left out: it is named. Mended, the same command goes on."""
    with pytest.raises(DataError, match=r"'7' of '.*notes' cannot be read: its JSON column 'more'"):
        move(server, tmp_path, ask=Spoiler(server))
    server.execute("UPDATE notes SET more = NULL WHERE id = 7")
    done = move(server, tmp_path)
    assert (done.records, done.differences) == (ROWS, 0)


def test_a_row_that_became_unreadable_is_set_aside_where_the_plan_says_so(server: Server, tmp_path: Path) -> None:
    server.execute(f"UPDATE notes SET more = '{DOUBLE}' WHERE id = 3")
    done = move(server, tmp_path, ask=Spoiler(server), unreadable=Policy.QUARANTINE)
    assert done.run is not None
    assert (done.records, done.run.rejected, done.differences) == (ROWS - 2, 2, 0)
