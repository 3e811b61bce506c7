"""Tables as people have them, to Qdrant and back into another PostgreSQL: the very table again, value by value."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vecferry
from vecferry.connectors.postgres import catalog
from vecferry.errors import ConfigError, Conflict
from vecferry.events import Notice, Observer
from vecferry.migration import sync, verify
from vecferry.migration.proving import Proof
from vecferry.migration.settings import Settings
from vecferry.model import CollectionSpec, IdKind, VectorSpec
from vecferry.planning.model import IfExists
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.tables import Column, Form, Index, Table
from vecferry.testing.postgres import PostgresDatabase
from vecferry.transforms import Recipe

RICH = """
CREATE TABLE rich (
  id bigserial PRIMARY KEY, uid uuid NOT NULL UNIQUE, title varchar(40) NOT NULL DEFAULT 'none', content text,
  metadata jsonb NOT NULL DEFAULT '{}', raw_json json, made timestamptz NOT NULL DEFAULT now(), local timestamp,
  day date, price numeric(12,4), ratio real, share float8, flags smallint, ok boolean, tags text[], numbers int[],
  body bytea, span interval, address inet, kind "char", "select; drop" text, embedding vector(3),
  twice int GENERATED ALWAYS AS (flags * 2) STORED
);
CREATE INDEX rich_v ON rich USING hnsw (embedding vector_ip_ops) WITH (m = 8, ef_construction = 40);
CREATE INDEX rich_meta ON rich USING gin (metadata);
CREATE INDEX rich_title ON rich (lower(title)) WHERE ok;
INSERT INTO rich (id, uid, title, content, metadata, raw_json, made, local, day, price, ratio, share, flags, ok, tags,
  numbers, body, span, address, kind, "select; drop", embedding) VALUES
 (7, 'c0ffee00-0000-4000-8000-00000000abcd', 'Zürich', 'text', '{"a": [1, 1.0, {"title": null}], "title": "its own"}',
  '{"b":[1.5,1]}', '2026-01-02 03:04:05.678901+02', '1999-12-31 23:59:59', '2024-02-29', 1.5000, 0.1, 5e-324, -3,
   true,
  '[-1:2]={a,"b,c",NULL,""}', '{1,NULL,3}', '\\x00ff', '1 day 02:03:04', '10.0.0.0/8', 'x', 'y', '[1,2,3]'),
 (9, 'c0ffee00-0000-4000-8000-00000000abce', 'none', NULL, '{}', NULL, '0001-01-01 00:00:00+00', NULL, NULL, NULL, NULL,
  'NaN', NULL, false, '{}', NULL, '', NULL, NULL, NULL, NULL, '[0,0,1e-30]'),
 (9007199254740993, 'c0ffee00-0000-4000-8000-00000000abcf', '', '',
   '{"m": 1e400, "n": 123456789012345678901234567890, "x": 0.1000000000000000055511151231257827, "s": 1e-400}',
   '[0.12345678901234567890123,1]',
  '2026-06-01 00:00:00+00', '9999-01-01', '9999-12-31', 99999999.9999,
  'Infinity', -0.0, 32767, NULL, '{{x,y},{z,w}}', '[0:1]={7,8}',
  NULL, '-1 mon', '10.0.0.1', ' ', '', '[3,2,1]');
"""
PAIRS = """
CREATE TABLE pages (url text, chunk int, content text, embedding halfvec(4), PRIMARY KEY (url, chunk));
INSERT INTO pages SELECT 'https://a/' || n / 3, n % 3, 'chunk ' || n, format('[1,%s,0,1]', n)::halfvec
  FROM generate_series(0, 20) n;
CREATE INDEX pages_v ON pages USING hnsw (embedding halfvec_ip_ops);
"""


@pytest.fixture
def other(postgres_server):
    with postgres_server.fresh_database() as database:
        yield database


def there_and_back(source: PostgresDatabase, away: str, home: PostgresDatabase, table: str, tmp_path) -> None:
    for number, (here, there) in enumerate([(source.url, away), (away, home.url)]):
        move(here, there, (table,), tmp_path / f"ledger-{number}.db")


def move(here: str, there: str, tables: tuple[str, ...], ledger: Path) -> None:
    options = PlanOptions(collections=tables, if_exists=IfExists.REFUSE)
    done = vecferry.migrate(here, there, settings=Settings(plan=options, ledger=str(ledger), reports=None))
    assert done.differences == 0, done.verification


def table_of(database: PostgresDatabase, name: str) -> Table:
    with database.connect() as connection:
        (found,) = catalog.find(connection, schemas=["public"], tables=[name])
    return found.table


def values(database: PostgresDatabase, name: str) -> list[tuple[str, ...]]:
    return database.execute(f"SELECT t::text FROM {name} AS t ORDER BY t::text")


@pytest.mark.qdrant
@pytest.mark.parametrize("away", ["qdrant", "chroma", "files"])
def test_a_rich_table_comes_home(postgres, other, away, qdrant_server, tmp_path):
    """Every type of column, the JSON beside it, keys, defaults, counters and indexes."""
    postgres.execute(RICH)
    url = {"qdrant": qdrant_server.url, "chroma": f"chroma:{tmp_path / 'c'}", "files": f"files:{tmp_path / 'f'}"}[away]
    there_and_back(postgres, url, other, "rich", tmp_path)
    assert values(other, "rich") == values(postgres, "rich")
    before, after = table_of(postgres, "rich"), table_of(other, "rich")
    assert after.columns == before.columns
    assert (after.primary_key, after.unique) == (before.primary_key, before.unique)
    assert [replace(i, definition=None) for i in after.indexes] == [replace(i, definition=None) for i in before.indexes]
    other.execute("INSERT INTO rich (uid) VALUES (gen_random_uuid())")
    assert other.execute("SELECT max(id) FROM rich") == [(9007199254740994,)]


@pytest.mark.qdrant
def test_a_composite_key_comes_home(postgres, other, qdrant_server, tmp_path):
    postgres.execute(PAIRS)
    there_and_back(postgres, qdrant_server.url, other, "pages", tmp_path)
    assert values(other, "pages") == values(postgres, "pages")
    assert table_of(other, "pages") == table_of(postgres, "pages")


RELATED = """
CREATE TABLE parents (code text PRIMARY KEY, embedding vector(2));
CREATE TABLE children (id int PRIMARY KEY, parent text REFERENCES parents (code), embedding vector(2));
CREATE INDEX ON parents USING hnsw (embedding vector_l2_ops);
CREATE INDEX ON children USING hnsw (embedding vector_l2_ops);
INSERT INTO parents VALUES ('a', '[1,2]'), ('b', NULL);
INSERT INTO children VALUES (1, 'a', '[1,2]'), (2, NULL, '[3,4]'), (3, 'b', '[5,6]');
"""


@pytest.mark.parametrize("order", [("children", "parents"), ("parents", "children")])
def test_a_foreign_key_comes_home_with_the_last_of_its_ends(postgres, other, tmp_path, order):
    """Also where a table has another name now; and a new row without its parent is refused again."""
    postgres.execute(RELATED)
    away = f"files:{tmp_path / 'away'}"
    move(postgres.url, away, ("parents", "children"), tmp_path / "out.db")
    for name in order:
        move(away, other.url, (f"{name}=new_{name}",), tmp_path / f"{name}.db")
    (key,) = table_of(other, "new_children").foreign_keys
    assert (key.table, key.columns, key.targets) == ("new_parents", ("parent",), ("code",))
    assert values(other, "new_children") == values(postgres, "children")


def test_a_foreign_key_that_rows_break_is_told(postgres, other, tmp_path, caplog):
    postgres.execute(RELATED)
    away = f"files:{tmp_path / 'away'}"
    move(postgres.url, away, ("children",), tmp_path / "out.db")
    other.execute("CREATE TABLE parents (code text PRIMARY KEY)")
    move(away, other.url, ("children",), tmp_path / "home.db")
    assert table_of(other, "children").foreign_keys == ()
    assert "ALTER TABLE" in caplog.text
    assert values(other, "children") == values(postgres, "children")


def test_a_type_that_the_new_database_has_not(postgres, other, tmp_path):
    """Said before anything is written; with the type there, the same command goes through."""
    kinds = "CREATE TYPE mood AS ENUM ('low', 'high')"
    postgres.execute(f"{kinds}; CREATE TABLE felt (id int PRIMARY KEY, how mood, embedding vector(2))")
    postgres.execute("INSERT INTO felt VALUES (1, 'high', '[1,2]')")
    away = f"files:{tmp_path / 'away'}"
    move(postgres.url, away, ("felt",), tmp_path / "out.db")
    with pytest.raises(Conflict, match='"mood" does not exist') as caught:
        move(away, other.url, ("felt",), tmp_path / "home.db")
    assert "Create in this database" in (caught.value.hint or "")
    assert other.execute(
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ) == [(0,)]
    other.execute(kinds)
    move(away, other.url, ("felt",), tmp_path / "home.db")
    assert values(other, "felt") == values(postgres, "felt")


HOSTILE = "1; DROP TABLE precious; --"


@pytest.mark.parametrize(
    "change",
    [
        {
            "columns": (
                Column(name="id", type="int"),
                Column(name="n", type=HOSTILE),
                Column(name="e", type="vector(2)"),
            )
        },
        {"columns": (Column(name="id", type="int", default=HOSTILE), Column(name="e", type="vector(2)"))},
        {"indexes": (Index(name="i", definition=f"CREATE INDEX i ON t USING btree (id) WHERE id > {HOSTILE}"),)},
        {"indexes": (Index(name="i", definition=f'CREATE INDEX " USING btree (id) WHERE id > {HOSTILE}" ON t'),)},
        {"indexes": (Index(name="i", expression=HOSTILE),)},
    ],
)
def test_a_card_that_somebody_changed_runs_no_sql_of_theirs(postgres: PostgresDatabase, change: dict[str, Any]) -> None:
    postgres.execute("CREATE TABLE precious (n int)")
    columns = (Column(name="id", type="int"), Column(name="e", type="vector(2)"))
    table = replace(Table(name="t", columns=columns, primary_key=("id",)), **change)
    form = Form(key=("id",), vectors={"": "e"})
    vectors = (VectorSpec(name="", dim=2),)
    config = {"table": table.as_json(), "form": form.as_json()}
    spec = CollectionSpec(name="t", id_kind=IdKind.INT, vectors=vectors, config=config)
    with closing(open_database(postgres.url)) as database:
        with pytest.raises(ConfigError, match="no single piece"):
            database.sink(spec).prepare(spec)
        assert [found.name for found in database.collections()] == []
    assert postgres.execute("SELECT count(*) FROM precious") == [(0,)]


ITEMS = """
CREATE TABLE items (id int PRIMARY KEY, lang text, e vector(2));
INSERT INTO items SELECT n, CASE WHEN n % 2 = 0 THEN 'en' ELSE 'de' END, '[1,2]' FROM generate_series(1, 10) n
"""


def heard(run: Callable[[Observer], Proof]) -> tuple[int | None, str]:
    """(differences, what was warned of) of a verification."""
    told: list[str] = []
    proof = run(lambda event: told.append(event.message) if isinstance(event, Notice) else None)
    return proof.verification.differences, " ".join(told)


def test_a_card_never_says_which_rows_are_compared(postgres, other, tmp_path):
    """Who may write a card is not the source's owner: one that says FALSE would make an empty target equal."""
    postgres.execute(ITEMS)
    move(postgres.url, other.url, ("items",), tmp_path / "ledger.db")
    condition = "'{origin,config,form,where}', '\"FALSE\"'"
    other.execute(f"UPDATE _vecferry_cards SET card = jsonb_set(card::jsonb, {condition})::json")
    other.execute("DELETE FROM items")
    options = {"ledger": str(tmp_path / "none.db")}
    differences, told = heard(lambda observer: verify(postgres.url, other.url, observer=observer, **options))
    assert differences == 10
    assert "only some rows were moved (FALSE)" in told
    with pytest.raises(ConfigError, match="only some rows were moved: FALSE"):
        sync(postgres.url, other.url)
    assert other.execute("SELECT count(*) FROM items") == [(0,)]


def test_a_condition_of_the_plan_holds_where_the_plan_is_named(postgres, tmp_path):
    """And one that no row meets is told: nothing was compared then."""
    postgres.execute(ITEMS)
    away = f"files:{tmp_path / 'away'}"
    form = Form(key=("id",), vectors={"": "e"}, columns=("lang",), where="lang = 'en'")
    chosen = Recipe(tables={"public/items": form})
    options = PlanOptions(transforms=chosen)
    vecferry.migrate(
        postgres.url, away, settings=Settings(plan=options, ledger=str(tmp_path / "ledger.db"), reports=None)
    )
    assert heard(lambda observer: verify(postgres.url, away, transforms=chosen, observer=observer)) == (0, "")
    differences, told = heard(lambda observer: verify(postgres.url, away, observer=observer))
    assert differences == 5
    assert "--transform PLAN" in told
    nothing = Recipe(tables={"public/items": replace(form, where="lang = 'fr'")})
    _, told = heard(lambda observer: verify(postgres.url, away, transforms=nothing, observer=observer))
    assert "No row of the table meets the condition of the plan (lang = 'fr'): nothing is compared." in told


def test_a_card_of_a_table_never_says_which_of_its_rows_there_are(postgres, other, tmp_path):
    """Its condition would be SQL of whoever may write into the side table, run by whoever reads."""
    postgres.execute(ITEMS)
    move(postgres.url, other.url, ("items",), tmp_path / "ledger.db")
    for where in ("FALSE", "TRUE); COMMIT; DROP TABLE items; --"):
        form = {**Form(key=("id",), vectors={"": "e"}).as_json(), "where": where}
        other.execute("UPDATE _vecferry_cards SET form = %s", [json.dumps(form)])
        with closing(open_database(other.url)) as database:
            assert [spec.count for spec in database.collections()] == [10]
