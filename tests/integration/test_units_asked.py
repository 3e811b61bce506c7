"""What an administrator asks of units: an order, users who stay, and rows that change users meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from vecferry.errors import ConfigError, DataError
from vecferry.events import Event, Notice
from vecferry.migration import (
    Migration,
    Settings,
    caring,
    migrate,
    repair,
    resume,
    retire,
    status,
    stay,
    sync,
    trip,
    verify,
)
from vecferry.model import Partition
from vecferry.planning.options import Order, PlanOptions
from vecferry.planning.presets import Preset, TableWish
from vecferry.planning.tabled import by_preset
from vecferry.registry import open_database
from vecferry.tables.units import unit_of
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.verification.model import VerifyOptions
from vecferry.verification.passes import Both

USERS = {"ann": 5, "": 2, "bob": 130, "eve": 40}
QUICKLY = VerifyOptions(queries=3)


@pytest.fixture
def brag(mariadb: MariaDBDatabase) -> MariaDBDatabase:
    mariadb.execute(
        "CREATE TABLE BRAG (BID BIGINT AUTO_INCREMENT PRIMARY KEY, BUID VARCHAR(20), BTEXT TEXT, "
        "BEMBED VECTOR(4) NOT NULL, KEY (BUID))"
    )
    insert(mariadb, USERS)
    return mariadb


def insert(database: MariaDBDatabase, users: dict[str, int]) -> None:
    rng = np.random.default_rng(len(users))
    rows = [(user, f"{user} says {n}", rng.normal(size=4).astype("<f4").tobytes())
            for user, count in users.items() for n in range(count)]  # fmt: skip
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO BRAG (BUID, BTEXT, BEMBED) VALUES (%s, %s, %s)", rows)


@pytest.fixture
def target() -> str:
    return f"memory:{uuid.uuid4().hex}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(plan=PlanOptions(unit="BUID"), ledger=str(tmp_path / "l.db"), reports=None, verify=QUICKLY)


def wishing(settings: Settings, **wishes: object) -> Settings:
    return replace(settings, plan=replace(settings.plan, **wishes))  # type: ignore[arg-type]


def stand(settings: Settings) -> dict[str, str]:
    return {unit.value: unit.state for run in status(settings.ledger, limit=1) for unit in run.units}


def stand_of_units(settings: Settings) -> dict[str, str]:
    """The same of the latest run with units."""
    return {unit.value: unit.state for unit in next(run for run in status(settings.ledger) if run.units).units}


def there(url: str) -> dict[str, int]:
    """User -> records in the target."""
    with closing(open_database(url)) as database, closing(database.source("BRAG")) as source:
        chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    users = [orjson.loads(text)["BUID"] for chunk in chunks for text in chunk.batch.column("metadata").to_pylist()]
    return {user: users.count(user) for user in set(users)}


def test_the_order_of_users(
    brag: MariaDBDatabase, target: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are named come first; a name that nobody has is refused before anything is written."""
    true, asked = trip.stayed_before, list[object]()
    monkeypatch.setattr(trip, "stayed_before", lambda *given: asked.append(given) or true(*given))
    with pytest.raises(ConfigError, match="no unit 'ane'"):
        migrate(brag.url, target, settings=wishing(settings, first=("ane",)))
    first = ("eve", '""')
    done = migrate(brag.url, target, settings=wishing(settings, first=first, order=Order.SMALLEST))
    assert done.differences == 0
    assert len(asked) == 2, "who stays is looked up for the plan and at the end, not for each user"
    assert list(stand(settings)) == ["eve", '""', "ann", "bob"]
    begun = sorted((unit.started, unit.value) for run in status(settings.ledger) for unit in run.units)
    assert [value for _, value in begun] == ["eve", '""', "ann", "bob"]
    by_value = wishing(replace(settings, restart=True, dry_run=True), order=Order.VALUE)
    (plan,) = migrate(brag.url, target, settings=by_value).plan.collections
    assert list(dict.fromkeys(unit_of(part.id) for part in plan.partitions)) == ['""', '"ann"', '"bob"', '"eve"']


def test_users_who_stay(brag: MariaDBDatabase, target: str, settings: Settings) -> None:
    """They are in the old store, and nobody misses them in the new one; moved when it is asked for, as any other."""
    staying = wishing(settings, stays=("bob", "ann"))
    done = migrate(brag.url, target, settings=replace(staying, status_table=f"{brag.url}#made"))
    assert done.differences == 0
    assert there(target) == {"": 2, "eve": 40}
    assert stand(settings) == {"bob": "stays", "eve": "completed", "ann": "stays", '""': "completed"}
    made = dict(brag.execute("SELECT user_id, status FROM made"))
    assert made == {"bob": "stays", "eve": "completed", "ann": "stays", "": "completed"}

    notices: list[str] = []

    def heard(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.message)

    found = verify(brag.url, target, ledger=settings.ledger, options=QUICKLY, observer=heard).verification
    assert found.identical
    assert "Not compared: 2 units (ann, bob) stay in the source." in notices
    insert(brag, {"eve": 3})
    again = Settings(ledger=settings.ledger, reports=None, verify=QUICKLY)
    assert sync(brag.url, target, settings=again).differences == 0
    assert there(target) == {"": 2, "eve": 43}

    resume(settings.ledger, units=["bob"])
    assert migrate(brag.url, target, settings=staying).differences == 0
    assert there(target) == {"": 2, "eve": 43, "bob": 130}
    assert stand_of_units(settings) == {"bob": "completed", "eve": "completed", "ann": "stays", '""': "completed"}


def test_users_stay_however_the_table_is_said_to_be_read(
    brag: MariaDBDatabase, target: str, settings: Settings
) -> None:
    """By a preset, or through transforms: neither says which column makes units."""
    preset = Preset(name="mine", store="mariadb", tables=(TableWish(table="BRAG", document="BTEXT"),))
    staying = wishing(settings, stays=("bob", "ann"), preset=preset)
    assert migrate(brag.url, target, settings=staying).differences == 0
    assert there(target) == {"": 2, "eve": 40}
    proof = verify(brag.url, target, ledger=settings.ledger, preset=preset, options=QUICKLY).verification
    assert proof.identical
    mended = repair(brag.url, target, ledger=settings.ledger, preset=preset, options=QUICKLY)
    assert [done.rewritten for done in mended.collections] == [0]
    insert(brag, {"eve": 3})
    plan = PlanOptions(preset=preset)
    assert sync(brag.url, target, settings=replace(settings, plan=plan)).differences == 0
    assert there(target) == {"": 2, "eve": 43}
    insert(brag, {"eve": 1})
    with closing(open_database(brag.url)) as database:
        plan = replace(by_preset(database, plan), collections=(), tables={})
    assert sync(brag.url, target, settings=replace(settings, plan=plan)).differences == 0
    assert there(target) == {"": 2, "eve": 44}


def test_a_user_who_stayed_is_moved_as_a_unit_of_the_same_run(
    brag: MariaDBDatabase, target: str, settings: Settings
) -> None:
    """Fresh start: nobody is moved at first, and then whoever is touched. A table of one's own may know no `stays`."""
    brag.execute("CREATE TABLE mine (user_id VARCHAR(20) PRIMARY KEY, total_chunks INT, migrated_chunks INT, status "
                 "ENUM('pending','in_progress','completed','failed'), started_at DATETIME, completed_at DATETIME, "
                 "error TEXT)")  # fmt: skip
    staying = replace(wishing(settings, stays=("*",)), status_table=f"{brag.url}#mine")
    first = migrate(brag.url, target, settings=staying)
    assert first.differences == 0
    assert set(stand(settings).values()) == {"stays"}
    assert first.run is not None
    assert resume(settings.ledger, units=["bob"]).state == "interrupted"
    with pytest.raises(ConfigError, match="no unit 'bop'"):
        migrate(brag.url, target, settings=wishing(staying, first=("bop",)))
    done = migrate(brag.url, target, settings=staying)
    assert done.run is not None
    assert (done.run.run, done.differences) == (first.run.run, 0)
    assert there(target) == {"bob": 130}
    assert stand(settings) == {"bob": "completed", "eve": "stays", "ann": "stays", '""': "stays"}
    told = dict(brag.execute("SELECT user_id, status FROM mine"))
    assert told == {"bob": "completed", "eve": "pending", "ann": "pending", "": "pending"}
    into = f"files:{settings.ledger}.archive"
    with pytest.raises(DataError, match=r"3 units .* stay in '.*BRAG' alone"):
        retire(brag.url, collections=("BRAG",), agree=lambda _: True, into=into, ledger=settings.ledger)
    with pytest.raises(ConfigError, match="is completed"):
        stay(settings.ledger, units=["bob"])


def meanwhile(monkeypatch: pytest.MonkeyPatch, brag: MariaDBDatabase, unit: str, statement: str) -> None:
    """Let the product write something while this unit is compared, once."""
    true, done = caring.prove, list[str]()

    def prove(both: Both, pair: tuple[str, str], partitions: Sequence[Partition]) -> int:
        if unit_of(partitions[0].id) == unit and not done:
            done.append(unit)
            brag.execute(statement)
        return true(both, pair, partitions)

    monkeypatch.setattr(caring, "prove", prove)


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("UPDATE BRAG SET BUID = 'bob' WHERE BTEXT = 'ann says 3'", {"bob": 131, "ann": 4}),
        ("INSERT INTO BRAG (BUID, BTEXT, BEMBED) SELECT 'bob', 'bob says 130', BEMBED FROM BRAG LIMIT 1",
         {"bob": 131, "ann": 5}),
    ],
    ids=["a row goes over", "a row is added"],
)  # fmt: skip
def test_a_completed_user_who_gets_rows_is_compared_again(
    brag: MariaDBDatabase,
    target: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    expected: dict[str, int],
) -> None:
    """A row that goes over from a user who is not moved yet to one who is would be in neither share."""
    meanwhile(monkeypatch, brag, '"eve"', statement)
    done: Migration = migrate(brag.url, target, settings=settings)
    assert done.differences == 0
    (run,) = status(settings.ledger)
    moved = {unit.value: (unit.moved, unit.total) for unit in run.units}
    assert {user: moved[user] for user in expected} == {user: (count, count) for user, count in expected.items()}
    assert run.done <= run.records
