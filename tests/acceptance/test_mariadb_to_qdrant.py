"""A PHP product keeps every user's chunks in one MariaDB table, and moves to Qdrant user by user while it runs.

As its administrator lives it: a move in the background that is killed twice, two users whose rows cannot be moved and
are mended, a user who signs up meanwhile, the product's own SQL reading how far each user is, the same search before
and after, and the old table set aside and restored. Every step is the command in a process of its own on real servers;
every row is compared by plain SQL and Qdrant's own client.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.e2e.command import Vecferry, logged, wait_until
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.servers import QdrantServer

pytestmark = [pytest.mark.qdrant, pytest.mark.slow, pytest.mark.timeout(600)]

BRAG = """
CREATE TABLE BRAG (
  BID bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  BUID bigint NOT NULL, BMID bigint NOT NULL, BGROUPKEY varchar(64) NOT NULL DEFAULT 'DEFAULT',
  BTYPE int NOT NULL DEFAULT 0, BSTART bigint unsigned NOT NULL DEFAULT 0, BEND bigint unsigned NOT NULL DEFAULT 0,
  BLINES bigint unsigned AS (BEND - BSTART) VIRTUAL,
  BMETA json, BTEXT longtext NOT NULL, BEMBED vector(32) NOT NULL, BCREATED bigint NOT NULL, KEY (BUID, BMID)
)
"""
DIM = 32
SIZES = (700, 400, 250, 160, 110, 80, 60, 50, 40, 30, 25, 22, 18, 15, 12, 10, 8, 5, 3, 2)
USERS = {7 + 13 * number: size for number, size in enumerate(SIZES)}
"""BUID -> rows; the largest is moved first."""
LARGEST, _, ASKED, *_SMALLER = USERS
POEM, TORN = _SMALLER[6], _SMALLER[11]
"""Whose rows cannot be moved: a chunk larger than Qdrant's largest request, JSON that only MariaDB takes for such."""
LATE, LATE_ROWS = 9001, 9
CHUNK = 2_000_000
TIE = 1e-5
"""Scores nearer than this are equal: both sides compute them in single precision, in different orders."""
CHUNKS = (
    "SELECT BID, CONCAT('doc_', BUID, '_', BMID, '_', "
    "ROW_NUMBER() OVER (PARTITION BY BUID, BMID ORDER BY BSTART, BID) - 1) AS point FROM BRAG"
)
"""What synaplan calls each chunk."""
Answer = list[tuple[str, float]]
"""(synaplan's name of the chunk, similarity), best first."""


@pytest.fixture
def brag(mariadb: MariaDBDatabase) -> MariaDBDatabase:
    """The table with everybody's rows, as they came in: those of one user stand among those of all others."""
    mariadb.execute(BRAG)
    rng = np.random.default_rng(3)
    users = rng.permutation(np.repeat(list(USERS), list(USERS.values()))).tolist()
    write(mariadb, users, rng)
    with mariadb.connect(max_allowed_packet=CHUNK * 2) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE BRAG SET BTEXT = %s WHERE BUID = %s LIMIT 1", ("o" * CHUNK, POEM))
    return mariadb


@pytest.fixture
def target(start_qdrant: Callable[..., QdrantServer]) -> QdrantServer:
    """A Qdrant that takes no request over 1 MB, as one behind a careful proxy."""
    return start_qdrant(settings={"QDRANT__SERVICE__MAX_REQUEST_SIZE_MB": "1"})


@pytest.fixture
def client(target: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=target.http_url, check_compatibility=False)) as opened:
        yield opened


def write(database: MariaDBDatabase, users: list[int], rng: np.random.Generator) -> None:
    """What the product does with the chunks of new files, three files each user."""
    rows = [
        (
            user,
            100 * user + number % 3,
            '{"tags": ["a", "ö"], "page": 3}' if number % 4 else None,
            ("DEFAULT", "Verträge", "wiki 🦀")[number % 3],
            number % 5,
            10 * (number % 40),
            10 * (number % 40) + 9,
            f"user {user} says {number}: Größe “{number}”\n",
            rng.normal(0, 3, DIM).astype("<f4").tobytes(),
            1_700_000_000 + number,
        )
        for number, user in enumerate(users)
    ]
    columns = "BUID, BMID, BMETA, BGROUPKEY, BTYPE, BSTART, BEND, BTEXT, BEMBED, BCREATED"
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO BRAG ({columns}) VALUES ({', '.join(['%s'] * 10)})", rows)


def test_the_story(brag: MariaDBDatabase, target: QdrantServer, client: QdrantClient, vecferry: Vecferry) -> None:
    """From twenty users in one table to twenty-one in Qdrant, and the old table away and back."""
    questions = np.random.default_rng(5).standard_normal((20, DIM)).astype(np.float32)
    before = [in_sql(brag, query) for query in questions]
    log = vecferry.folder / "events.jsonl"
    stores = (brag.url, f"qdrant+{target.http_url}?transport=rest")
    command = (
        *("migrate", *stores, "--preset", "synaplan-brag", "--by", "BUID", "--yes", "--json"),
        *("--status-table", brag.url, "--rate", "400", "--batch-bytes", "16384", "--log", log),
    )

    killed(vecferry, command, when=lambda: 100 < there(client) < SIZES[0] - 200)
    assert admin_page(brag) == {LARGEST: "in_progress"} | {user: "pending" for user in USERS if user != LARGEST}
    brag.execute("UPDATE BRAG SET BMETA = %s WHERE BUID = %s LIMIT 1", ('{"score": 1.}', TORN))
    killed(vecferry, command, when=lambda: list(admin_page(brag).values()).count("completed") >= 3)

    a_user_signs_up_while_it_runs(vecferry, brag, command)
    two_users_failed_and_no_other(vecferry, brag)

    mended(brag)
    only_those_two_are_tried_again(vecferry, brag, command, log)
    every_row_is_in_qdrant(brag, client)
    for query, answer in zip(questions, before, strict=True):
        assert_same(answer, in_qdrant(client, query))

    the_old_table_goes_and_comes_back(vecferry, brag)


def killed(vecferry: Vecferry, command: tuple[Any, ...], when: Callable[[], bool]) -> None:
    process = vecferry.start(*command)
    wait_until(when, process)
    process.kill()
    assert vecferry.end(process, expect=None).code == -signal.SIGKILL


def there(client: QdrantClient) -> int:
    """Points in Qdrant."""
    return client.count("user_documents").count if client.collection_exists("user_documents") else 0


def admin_page(database: MariaDBDatabase) -> dict[int, str]:
    """User -> status, as the product's own page selects it; empty before the table is there."""
    if not database.execute("SHOW TABLES LIKE 'vector_migration_status'"):
        return {}
    return dict(database.execute("SELECT user_id, status FROM vector_migration_status"))


def a_user_signs_up_while_it_runs(vecferry: Vecferry, database: MariaDBDatabase, command: tuple[Any, ...]) -> None:
    """The command goes on where it was, and ends with the news of those who failed."""
    completed = {user for user, status in admin_page(database).items() if status == "completed"}
    process = vecferry.start(*command)
    wait_until(lambda: len({u for u, s in admin_page(database).items() if s == "completed"} - completed) >= 2, process)
    write(database, [LATE] * LATE_ROWS, np.random.default_rng(9))
    done = vecferry.end(process, expect=None)
    assert done.code == 4, done
    assert "Resuming run" in done.err
    assert "/BRAG' failed; all others are moved and proven." in done.text
    assert done.json["error"]["units"] == 2


def two_users_failed_and_no_other(vecferry: Vecferry, database: MariaDBDatabase) -> None:
    """The ledger and the product's own table agree."""
    (run,) = vecferry("status", "--json").json["runs"]
    assert run["state"] != "done"
    units = {int(unit["value"]): unit for unit in run["units"]}
    assert units.keys() == {*USERS, LATE}
    failed = {user: unit["error"] for user, unit in units.items() if unit["state"] == "failed"}
    assert failed.keys() == {POEM, TORN}
    assert "One record is more than the server takes." in failed[POEM]
    assert "its JSON column 'BMETA' cannot be read" in failed[TORN]
    assert {unit["state"] for user, unit in units.items() if user not in failed} == {"completed"}
    assert all(units[user]["moved"] == rows for user, rows in USERS.items() if user not in failed)
    assert units[LATE]["moved"] == LATE_ROWS
    ask = "SELECT user_id, error FROM vector_migration_status WHERE status = 'failed'"
    assert dict(database.execute(ask)) == failed
    assert admin_page(database) == {user: unit["state"] for user, unit in units.items()}


def mended(database: MariaDBDatabase) -> None:
    """The administrator shortens the poem, and completes the number."""
    database.execute("UPDATE BRAG SET BTEXT = 'a short one' WHERE LENGTH(BTEXT) = %s", (CHUNK,))
    database.execute("UPDATE BRAG SET BMETA = %s WHERE BUID = %s AND BMETA LIKE '%%1.}'", ('{"score": 1.5}', TORN))


def only_those_two_are_tried_again(
    vecferry: Vecferry, database: MariaDBDatabase, command: tuple[Any, ...], log: Path
) -> None:
    before = len(logged(log))
    done = vecferry(*command).json
    rows = sum(SIZES) + LATE_ROWS
    assert (done["ok"], done["records"], done["differences"], done["rejected"]) == (True, rows, 0, 0)
    (groups,) = done["breakdowns"]
    assert {group["value"]: (group["records"], group["in_target"]) for group in groups["groups"]} == {
        str(user): (count, count) for user, count in {**USERS, LATE: LATE_ROWS}.items()
    }
    told = [event for event in logged(log)[before:] if event["event"] == "UnitChanged"]
    assert [(int(event["unit"]), event["state"]) for event in told] == [
        (user, state) for user in (POEM, TORN) for state in ("in_progress", "completed")
    ]
    behind = database.execute(
        "SELECT BUID FROM (SELECT BUID, COUNT(*) AS here FROM BRAG GROUP BY BUID) AS chunks "
        "LEFT JOIN vector_migration_status ON user_id = BUID AND status = 'completed' AND error IS NULL "
        "AND total_chunks = here AND migrated_chunks = here AND started_at <= completed_at WHERE user_id IS NULL"
    )
    assert behind == []


def every_row_is_in_qdrant(database: MariaDBDatabase, client: QdrantClient) -> None:
    """Point by point: every column, and the vector scaled to length 1."""
    points, _ = client.scroll("user_documents", limit=10_000, with_vectors=True)
    found = {point.payload["_point_id"]: point for point in points if point.payload}
    columns = "BUID, BMID, BGROUPKEY, BTYPE, BSTART, BEND, BTEXT, BCREATED, BEMBED"
    rows = database.execute(f"SELECT point, {columns} FROM BRAG JOIN ({CHUNKS}) AS chunks USING (BID)")
    assert len(points) == len(rows) == len(found) == sum(SIZES) + LATE_ROWS
    keys = ("user_id", "file_id", "group_key", "file_type", "start_line", "end_line", "text", "created")
    for name, *values, embedded in rows:
        point = found[name]
        assert [point.payload[key] for key in keys] == values
        vector = np.frombuffer(embedded, "<f4").astype(np.float64)
        np.testing.assert_allclose(point.vector, vector / np.linalg.norm(vector), atol=2e-7)


def in_sql(database: MariaDBDatabase, query: Any) -> Answer:
    """The ten nearest chunks of one user, as the product asks for them."""
    return [
        (name, 1 - distance)
        for name, distance in database.execute(
            f"SELECT point, VEC_DISTANCE_COSINE(BEMBED, %s) AS distance FROM BRAG JOIN ({CHUNKS}) AS chunks "
            "USING (BID) WHERE BUID = %s ORDER BY distance LIMIT 10",
            (query.tobytes(), ASKED),
        )
    ]


def in_qdrant(client: QdrantClient, query: Any) -> Answer:
    """The same of Qdrant."""
    whose = models.FieldCondition(key="user_id", match=models.MatchValue(value=ASKED))
    found = client.query_points(
        "user_documents",
        query=query.tolist(),
        limit=10,
        query_filter=models.Filter(must=[whose]),
        search_params=models.SearchParams(exact=True),
    )
    return [(point.payload["_point_id"], point.score) for point in found.points if point.payload]


def assert_same(before: Answer, after: Answer) -> None:
    """The same ids in the same order, save that those with equal scores may change places."""
    assert len(before) == 10
    assert [score for _, score in before] == pytest.approx([score for _, score in after], abs=TIE)
    for (one, score), (other, _) in zip(before, after, strict=True):
        assert one == other or other in {name for name, near in before if abs(near - score) < TIE}


def the_old_table_goes_and_comes_back(vecferry: Vecferry, database: MariaDBDatabase) -> None:
    """Set aside under a name with its date; what the archive restores is the same table, row by row."""
    (made,) = [row[1] for row in database.execute("SHOW CREATE TABLE BRAG")]
    done = vecferry("retire", database.url, "-c", "BRAG", "--confirm", "BRAG", "--json").json
    (aside,) = [row[0] for row in database.execute("SHOW TABLES LIKE 'BRAG%'")]
    assert re.fullmatch(r"BRAG_archived_\d{8}", aside)
    assert done["records"] == sum(SIZES) + LATE_ROWS
    vecferry("migrate", done["archive"], database.url, "-c", "BRAG", "--yes", "--no-verify")
    (again,) = [row[1] for row in database.execute("SHOW CREATE TABLE BRAG")]
    assert again == made
    columns = "BID, BUID, BMID, BGROUPKEY, BTYPE, BSTART, BEND, BLINES, BTEXT, HEX(BEMBED), BCREATED"
    assert database.execute(f"SELECT {columns} FROM BRAG ORDER BY BID") == database.execute(
        f"SELECT {columns} FROM {aside} ORDER BY BID"
    )
