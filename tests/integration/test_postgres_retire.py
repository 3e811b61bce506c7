"""`retire` on PostgreSQL: a table is set aside under another name, and dropped when that is asked for."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.test_postgres_source import opened
from vecferry.errors import AlreadyExists
from vecferry.migration import migrate, retire
from vecferry.migration.retiring import Retirement
from vecferry.migration.settings import Settings
from vecferry.model import Card, CollectionSpec, VectorSpec
from vecferry.testing.postgres import PostgresDatabase as Server


def tables(postgres: Server) -> list[str]:
    with opened(postgres.url) as database:
        return [table.name for table in database.tables()]


def retired(postgres: Server, name: str, tmp_path: Path, *, drop: bool = False) -> Retirement | None:
    return retire(
        postgres.url,
        agree=lambda _: True,
        drop=drop,
        collections=(name,),
        into=f"files:{tmp_path / name}",
        unverified=True,
        ledger=str(tmp_path / "ledger.db"),
    )


@pytest.fixture
def items(postgres: Server) -> Server:
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, content text, embedding vector(2));"
        "INSERT INTO items SELECT n, 'text ' || n, '[1,2]' FROM generate_series(1, 40) n;"
        "CREATE TABLE notes (id int PRIMARY KEY, item int REFERENCES items); INSERT INTO notes VALUES (1, 5)"
    )
    return postgres


def test_a_table_is_renamed_then_dropped_and_its_archive_brings_it_back(items: Server, tmp_path: Path):
    done = retired(items, "items", tmp_path)
    assert done is not None
    (aside,) = done.aside.values()
    assert re.fullmatch(r"items_archived_\d{8}", aside)
    assert tables(items) == [aside, "notes"]
    assert items.execute(f"SELECT count(*) FROM {aside}") == [(40,)]

    items.execute("DROP TABLE notes")
    again = retired(items, aside, tmp_path, drop=True)
    assert again is not None
    assert not again.aside
    assert tables(items) == []

    settings = Settings(ledger=str(tmp_path / "back.db"), reports=None)
    migrate(done.archive, items.url, settings=settings)
    assert items.execute("SELECT count(*), min(content) FROM items") == [(40, "text 1")]


def test_a_name_that_is_taken_is_refused(items: Server):
    with opened(items.url) as database:
        with pytest.raises(AlreadyExists):
            database.rename("public/items", "notes")
        assert [table.name for table in database.tables()] == ["items", "notes"]


def test_a_table_of_ours_keeps_its_card_under_its_new_name(postgres: Server):
    spec = CollectionSpec(name="ours", vectors=(VectorSpec(dim=2),))
    with opened(postgres.url) as database:
        with closing(database.sink(spec)) as sink:
            sink.prepare(replace(spec, card=Card(vectors=spec.vectors, run="run-1")))
        database.rename("public/ours", "aside")
        (found,) = database.collections()
        assert (found.name, found.card and found.card.run) == ("aside", "run-1")
