"""The units of a run in a table of a real MariaDB or PostgreSQL, read by plain SQL while it runs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psycopg.errors import UndefinedTable
from pymysql.err import ProgrammingError

from vecferry.errors import ConfigError, DataError, UnitsFailed
from vecferry.events import Event, Notice
from vecferry.migration import Settings, caring, migrate
from vecferry.planning.options import PlanOptions
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.ports import free_ports
from vecferry.testing.postgres import PostgresDatabase

DIM = 4
USERS = {7: 3, 8: 40, 9: 12}
SELECT = (
    "SELECT user_id, total_chunks, migrated_chunks, status, started_at, completed_at, error FROM {} ORDER BY user_id"
)
Sql = Callable[[str], list[Any]]


@dataclass
class Row:
    total: int
    moved: int
    status: str
    started: Any
    completed: Any
    error: str | None


def rows(sql: Sql, name: str = "vector_migration_status") -> dict[Any, Row]:
    return {row[0]: Row(*row[1:]) for row in sql(SELECT.format(name))}


def brag(database: MariaDBDatabase, kind: str, rows: dict[Any, int]) -> None:
    database.execute(
        f"CREATE TABLE BRAG (BID BIGINT AUTO_INCREMENT PRIMARY KEY, BUID {kind}, BTEXT TEXT, "
        f"BEMBED VECTOR({DIM}) NOT NULL)"
    )
    rng = np.random.default_rng(1)
    values = [(user, f"{user} says {row}", rng.normal(size=DIM).astype("<f4").tobytes())
              for user, count in rows.items() for row in range(count)]  # fmt: skip
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO BRAG (BUID, BTEXT, BEMBED) VALUES (%s, %s, %s)", values)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(plan=PlanOptions(unit="BUID"), ledger=str(tmp_path / "l.db"), reports=None)


@pytest.fixture
def target() -> str:
    return f"memory:{uuid.uuid4().hex}"


def heard(done: Callable[[Any], Any]) -> list[str]:
    """The warnings during a call."""
    notices: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            notices.append(event.message)

    done(observe)
    return notices


def until(sql: Sql, name: str, true: Callable[[dict[Any, Row]], bool]) -> dict[Any, Row]:
    """The table, as soon as it is made and what is expected stands in it."""
    end, found = time.monotonic() + 20, None
    while found is None or not true(found):
        assert time.monotonic() < end, found
        time.sleep(0.02)
        with suppress(UndefinedTable, ProgrammingError):
            found = rows(sql, name)
    return found


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_it_follows_the_run(
    kind: str,
    mariadb: MariaDBDatabase,
    request: pytest.FixtureRequest,
    settings: Settings,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All pending at first, one in progress, failed with its reason, completed when it is tried again."""
    there: MariaDBDatabase | PostgresDatabase = request.getfixturevalue(kind)
    brag(mariadb, "BIGINT", USERS)
    settings = replace(settings, status_table=f"{there.url}#progress")
    seen: list[dict[Any, str]] = []
    true = caring.prove

    def looking(both: Any, pair: Any, partitions: Any) -> int:
        user = int(partitions[0].id.partition(" ")[0])
        found = until(there.execute, "progress", lambda table: table[user].status == "in_progress")
        assert found[user].started is not None
        assert (found[user].total, found[user].completed) == (USERS[user], None)
        until(there.execute, "progress", lambda table: table[user].moved == USERS[user])
        seen.append({key: row.status for key, row in found.items()})
        if len(seen) == 2:
            raise DataError("torn on purpose", hint="none")
        return true(both, pair, partitions)

    monkeypatch.setattr(caring, "prove", looking)
    with pytest.raises(UnitsFailed):
        migrate(mariadb.url, target, settings=settings)
    assert seen == [
        {7: "pending", 8: "in_progress", 9: "pending"},
        {7: "pending", 8: "completed", 9: "in_progress"},
        {7: "in_progress", 8: "completed", 9: "failed"},
    ]
    left = rows(there.execute, "progress")
    assert (left[9].status, left[9].error, left[9].completed) == ("failed", "torn on purpose", None)
    migrate(mariadb.url, target, settings=settings)
    done = rows(there.execute, "progress")
    assert {key: (row.total, row.moved, row.status, row.error) for key, row in done.items()} == {
        user: (count, count, "completed", None) for user, count in USERS.items()
    }
    assert all(row.completed >= row.started for row in done.values())


def test_its_columns_on_mariadb(mariadb: MariaDBDatabase, settings: Settings, target: str) -> None:
    """What teams have drawn for themselves."""
    brag(mariadb, "BIGINT", {7: 2})
    migrate(mariadb.url, target, settings=replace(settings, status_table=mariadb.url, status_column="tenant"))
    columns = mariadb.execute(
        "SELECT column_name, column_type, column_key FROM information_schema.columns "
        f"WHERE table_schema = '{mariadb.name}' AND table_name = 'vector_migration_status' ORDER BY ordinal_position"
    )
    assert columns == [
        ("tenant", "bigint(20)", "PRI"),
        ("total_chunks", "int(11)", ""),
        ("migrated_chunks", "int(11)", ""),
        ("status", "enum('pending','in_progress','completed','failed','stays')", ""),
        ("started_at", "datetime", ""),
        ("completed_at", "datetime", ""),
        ("error", "text", ""),
    ]


def test_texts_that_a_collation_takes_for_one(mariadb: MariaDBDatabase, settings: Settings, target: str) -> None:
    """Each has a line; rows without a value have none, which is told."""
    brag(mariadb, "VARCHAR(300) COLLATE utf8mb4_nopad_bin", {"ann": 2, "Ann": 3, "ann ": 4, "7": 1, None: 5})
    settings = replace(settings, status_table=mariadb.url)
    told = heard(lambda observer: migrate(mariadb.url, target, settings=settings, observer=observer))
    assert {key: row.moved for key, row in rows(mariadb.execute).items()} == {"ann": 2, "Ann": 3, "ann ": 4, "7": 1}
    assert [message for message in told if "status table" in message] == [
        "Rows without a value, or with one of over 255 characters or past BIGINT, have no line in the status table."
    ]


def test_a_number_past_bigint(mariadb: MariaDBDatabase, settings: Settings, target: str) -> None:
    """It keeps no other from its line."""
    brag(mariadb, "BIGINT UNSIGNED", {7: 2, 2**64 - 1: 3})
    settings = replace(settings, status_table=mariadb.url)
    told = heard(lambda observer: migrate(mariadb.url, target, settings=settings, observer=observer))
    assert {key: row.moved for key, row in rows(mariadb.execute).items()} == {7: 2}
    assert ["past BIGINT" in message for message in told if "status table" in message] == [True]


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_table_that_is_there(
    kind: str, mariadb: MariaDBDatabase, request: pytest.FixtureRequest, settings: Settings, target: str
) -> None:
    """Is used as it is: its own columns and other rows stay; its first column may hold texts."""
    there: MariaDBDatabase | PostgresDatabase = request.getfixturevalue(kind)
    brag(mariadb, "BIGINT", USERS)
    there.execute(
        "CREATE TABLE vector_migration_status (user_id VARCHAR(64) PRIMARY KEY, total_chunks INT, migrated_chunks INT, "
        "status VARCHAR(20), started_at TIMESTAMP NULL, completed_at TIMESTAMP NULL, error TEXT, note VARCHAR(20))"
    )
    there.execute("INSERT INTO vector_migration_status (user_id, note) VALUES ('7', 'VIP'), ('1', 'other')")
    migrate(mariadb.url, target, settings=replace(settings, status_table=there.url))
    found = there.execute("SELECT user_id, status, note FROM vector_migration_status ORDER BY user_id")
    assert [tuple(row) for row in found] == [
        ("1", None, "other"), ("7", "completed", "VIP"), ("8", "completed", None), ("9", "completed", None)
    ]  # fmt: skip


def test_the_least_rights_that_the_how_to_gives(
    mariadb: MariaDBDatabase, settings: Settings, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/how-to/mariadb-to-qdrant.md, statement by statement; the table is not there yet."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "mariadb-to-qdrant.md").read_text(encoding="utf-8")
    user = f"vs_{uuid.uuid4().hex[:12]}"
    (grant,) = [line for line in page.splitlines() if line.startswith("GRANT") and "vecferry_status" in line]
    mariadb.execute(f"CREATE USER {user} IDENTIFIED BY 'another password'")
    mariadb.execute(grant.replace("app.", f"{mariadb.name}.").replace("vecferry_status", user).rstrip(";"))
    monkeypatch.setenv("STATUS_PASSWORD", "another password")
    server = mariadb.server
    url = f"mariadb://{user}@{server.host}:{server.port}/{mariadb.name}?password=env:STATUS_PASSWORD"
    brag(mariadb, "BIGINT", USERS)
    settings = replace(settings, status_table=f"{url}#vector_migration_status")
    try:
        told = heard(lambda observer: migrate(mariadb.url, target, settings=settings, observer=observer))
    finally:
        mariadb.execute(f"DROP USER {user}")
    assert not [message for message in told if "status table" in message]
    assert {row.status for row in rows(mariadb.execute).values()} == {"completed"}


def test_a_database_that_is_down_stops_nothing(mariadb: MariaDBDatabase, settings: Settings, target: str) -> None:
    """Told once, however many units there are."""
    brag(mariadb, "BIGINT", USERS)
    settings = replace(settings, status_table=f"postgresql://127.0.0.1:{free_ports(1)[0]}/app?user=app")
    told = heard(lambda observer: migrate(mariadb.url, target, settings=settings, observer=observer))
    (message,) = [message for message in told if "status table" in message]
    assert message.startswith("The status table cannot be written: ")


def test_a_table_that_goes_is_made_again(
    mariadb: MariaDBDatabase, settings: Settings, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody drops it in the middle: told once, and at the end every unit has its line."""
    brag(mariadb, "BIGINT", USERS)
    settings = replace(settings, status_table=mariadb.url)
    true = caring.prove
    dropped: list[int] = []

    def dropping(both: Any, pair: Any, partitions: Any) -> int:
        if partitions[0].id.startswith("9 "):
            until(mariadb.execute, "vector_migration_status", lambda table: table[8].status == "completed")
            mariadb.execute("DROP TABLE vector_migration_status")
            dropped.append(1)
        return true(both, pair, partitions)

    monkeypatch.setattr(caring, "prove", dropping)
    told = heard(lambda observer: migrate(mariadb.url, target, settings=settings, observer=observer))
    assert len([message for message in told if "status table cannot be written" in message]) == 1
    assert dropped
    assert {key: row.status for key, row in rows(mariadb.execute).items()} == dict.fromkeys(USERS, "completed")


@pytest.mark.parametrize(
    "url, says",
    [
        ("mariadb://app:s3same@127.0.0.1/app", "carries a password"),
        ("mariadb+pymysql://app:s3same@127.0.0.1/app", "carries a password"),
        ("postgresql+psycopg://127.0.0.1/app?user=a&password=s3same", "carries a password"),
        ("postgresql://127.0.0.1/app?password=s3same", "carries the value of password"),
        ("nothing://127.0.0.1/app", "names no SQL database"),
        ("files:./archive", "names no SQL database"),
    ],
)
def test_what_is_refused(url: str, says: str, settings: Settings, target: str) -> None:
    """Before anything is opened; no secret is repeated."""
    with pytest.raises(ConfigError, match=says) as refused:
        migrate("mariadb://127.0.0.1:1/nowhere", target, settings=replace(settings, status_table=url))
    assert "s3same" not in str(refused.value)
    assert refused.value.hint
