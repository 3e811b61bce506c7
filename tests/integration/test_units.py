"""A MariaDB table of many users, moved user by user into a real Qdrant while the product goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from vecferry.errors import DataError, Unavailable, UnitsFailed
from vecferry.migration import Settings, caring, migrate
from vecferry.model import Partition
from vecferry.planning.options import PlanOptions
from vecferry.protocols import Deletable, require
from vecferry.registry import open_database
from vecferry.state.ledger import Ledger
from vecferry.state.model import Unit, UnitState
from vecferry.tables.units import unit_of
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.servers import QdrantServer
from vecferry.verification.model import VerifyOptions
from vecferry.verification.passes import Both

DIM = 16
USERS = {1: 1, 2: 40, 3: 700, 4: 5, 5: 130}


def insert(database: MariaDBDatabase, user: int, rows: int) -> None:
    rng = np.random.default_rng(user)
    for row in range(rows):
        database.execute(
            "INSERT INTO BRAG (BUID, BMID, BSTART, content, BEMBED) VALUES (%s, %s, %s, %s, %s)",
            (user, row // 10, row % 10, f"user {user} says {row}", rng.normal(size=DIM).astype("<f4").tobytes()),
        )


@pytest.fixture
def brag(mariadb: MariaDBDatabase) -> MariaDBDatabase:
    """The table, with users of very different sizes."""
    mariadb.execute(
        "CREATE TABLE BRAG (BID BIGINT AUTO_INCREMENT PRIMARY KEY, BUID BIGINT, BMID BIGINT NOT NULL, "
        f"BSTART INT NOT NULL, content LONGTEXT, BEMBED VECTOR({DIM}) NOT NULL, KEY (BUID))"
    )
    for user, rows in USERS.items():
        insert(mariadb, user, rows)
    return mariadb


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    plan = PlanOptions(unit="BUID", indexes=("BUID",))
    return Settings(plan=plan, ledger=str(tmp_path / "l.db"), reports=None, verify=VerifyOptions(queries=5))


def units_of(settings: Settings, run: str | None = None) -> dict[str, Unit]:
    with Ledger(settings.ledger) as ledger:
        found = ledger.history()[0] if run is None else ledger.run(run)
        assert found is not None
        return {unit.value: unit for unit in ledger.units(found.id)}


@pytest.fixture
def target(qdrant_server: QdrantServer) -> Iterator[str]:
    with closing(open_database(qdrant_server.url)) as database:
        yield qdrant_server.url
        database.drop("BRAG")


def texts(url: str) -> set[str]:
    with closing(open_database(url)) as database, closing(database.source("BRAG")) as source:
        return {
            text
            for partition in source.partitions()
            for chunk in source.read(partition)
            for text in chunk.batch.column("document").to_pylist()
        }


def everything() -> set[str]:
    return {f"user {user} says {row}" for user, rows in USERS.items() for row in range(rows)}


def test_each_user_is_a_unit_the_largest_first(brag: MariaDBDatabase, target: str, settings: Settings) -> None:
    done = migrate(brag.url, target, settings=settings)
    assert done.records == sum(USERS.values())
    assert done.differences == 0
    found = units_of(settings)
    assert list(found) == ["3", "5", "2", "4", "1"]
    assert {int(value): unit.moved for value, unit in found.items()} == USERS
    assert {unit.state for unit in found.values()} == {UnitState.COMPLETED}
    assert all(unit.finished is not None and unit.started is not None for unit in found.values())
    assert texts(target) == everything()


def test_a_unit_that_fails_stops_no_other_and_alone_is_tried_again(
    brag: MariaDBDatabase, target: str, settings: Settings
) -> None:
    true, calls = caring.prove, list[str]()

    def failing(both: Both, pair: tuple[str, str], partitions: Sequence[Partition]) -> int:
        calls.append(unit_of(partitions[0].id) or "")
        begun = units_of(settings)[calls[-1]]
        assert (begun.state, begun.finished) == (UnitState.IN_PROGRESS, None)
        if calls[-1] in {"4", "1"} and len(calls) <= len(USERS):
            raise DataError("broken on purpose", hint="none")
        return true(both, pair, partitions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caring, "prove", failing)
        with pytest.raises(UnitsFailed, match="2 units of") as failed:
            migrate(brag.url, target, settings=settings)
        assert "broken on purpose" in failed.value.message
        states = {value: unit.state.value for value, unit in units_of(settings).items()}
        assert states == {"3": "completed", "5": "completed", "2": "completed", "4": "failed", "1": "failed"}
        before = len(calls)
        done = migrate(brag.url, target, settings=settings)
    assert calls[before:] == ["4", "1"]
    assert done.differences == 0
    assert {unit.state for unit in units_of(settings).values()} == {UnitState.COMPLETED}
    assert texts(target) == everything()


def test_a_user_who_appears_while_it_runs_is_taken_up(
    brag: MariaDBDatabase, target: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = caring.prove

    def meanwhile(both: Both, pair: tuple[str, str], partitions: Sequence[Partition]) -> int:
        if unit_of(partitions[0].id) == "2":
            insert(brag, 99, 12)
        return true(both, pair, partitions)

    monkeypatch.setattr(caring, "prove", meanwhile)
    done = migrate(brag.url, target, settings=settings)
    assert done.differences == 0
    assert done.records == sum(USERS.values()) + 12
    assert units_of(settings)["99"].state is UnitState.COMPLETED


def test_a_unit_is_completed_only_when_the_target_gives_its_records_back(
    brag: MariaDBDatabase, target: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points that vanish behind our back are written again before their unit is completed."""
    true, lost = caring.prove, {"2": "3", "3": "50"}

    def tampered(both: Both, pair: tuple[str, str], partitions: Sequence[Partition]) -> int:
        if gone := lost.get(unit_of(partitions[0].id) or ""):
            with closing(open_database(target)) as database:
                sink = require(database.sink(database.source("BRAG").describe()), Deletable, operation="", instead="")
                sink.delete([gone])
        return true(both, pair, partitions)

    monkeypatch.setattr(caring, "prove", tampered)
    done = migrate(brag.url, target, settings=settings)
    assert done.differences == 0
    assert texts(target) == everything()


def test_a_unit_that_is_mended_leaves_the_collection_signed_by_the_run(
    brag: MariaDBDatabase, target: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who changes something on the way; the same command again finds its own work, and its indexes."""
    true = caring.prove

    def meanwhile(both: Both, pair: tuple[str, str], partitions: Sequence[Partition]) -> int:
        if unit_of(partitions[0].id) == "2":
            brag.execute("UPDATE BRAG SET content = 'changed' WHERE BUID = 2 AND BSTART = 0")
        return true(both, pair, partitions)

    monkeypatch.setattr(caring, "prove", meanwhile)
    done = migrate(brag.url, target, settings=settings)
    assert done.differences == 0
    with closing(open_database(target)) as database, closing(database.source("BRAG")) as source:
        card = source.describe().card
    assert card is not None
    assert card.run == done.run.run
    assert [index.key for index in card.indexes] == ["BUID"]


def test_a_source_that_breaks_off_at_the_end_hides_no_failure(
    brag: MariaDBDatabase, target: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New units are looked for last: where that fails, which units failed before is still what is told."""

    def prove(both: Both, pair: tuple[str, str], partitions: Sequence[Partition]) -> int:
        raise DataError("broken on purpose", hint="none")

    def grow(units: caring.Units, collection: str) -> list[Partition]:
        raise Unavailable("gone", hint="none")

    monkeypatch.setattr(caring, "prove", prove)
    monkeypatch.setattr(caring.Units, "_grow", grow)
    with pytest.raises(UnitsFailed, match="5 units of"):
        migrate(brag.url, target, settings=settings)
