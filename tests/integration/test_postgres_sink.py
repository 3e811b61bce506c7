"""The writing side of PostgreSQL on a real server: what is made and adopted, and how a write can fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from vecferry.arrow import from_records
from vecferry.connectors.postgres.access import Access
from vecferry.connectors.postgres.sink import PostgresSink
from vecferry.errors import AuthFailed, ConfigError, Conflict, DataError, StoreFull, Unavailable, Unsupported
from vecferry.model import CollectionSpec, Element, IdKind, Metric, Record, VectorKind, VectorSpec
from vecferry.registry import open_database
from vecferry.tables import Form, guess
from vecferry.testing.contracts.cases import plain_records, target
from vecferry.testing.pgbouncer import start_pgbouncer
from vecferry.testing.postgres import PostgresDatabase
from vecferry.testing.process import hand_over
from vecferry.testing.proxy import FaultProxy, Pass, Refuse, Reset, Way
from vecferry.testing.skips import skip
from vecferry.url import StoreUrl

SPEC = target(CollectionSpec(name="docs", vectors=(VectorSpec(dim=8, metric=Metric.L2),)))


@pytest.fixture
def sink_of():
    """Makes a prepared sink of a URL; closed when the test is over."""
    with contextlib.ExitStack() as stack:

        def make(url: str, spec: CollectionSpec = SPEC) -> PostgresSink:
            access = stack.enter_context(closing(Access(StoreUrl.parse(url))))
            sink = PostgresSink(access, spec, home=("public",))
            sink.prepare(spec)
            return sink

        yield make


def batch(spec: CollectionSpec = SPEC, start: int = 0, count: int = 50, *, seed: int = 0):
    return from_records(spec, plain_records(spec, start + count, seed=seed)[start:])


def ids(database: PostgresDatabase, table: str = "docs") -> list[str]:
    return [row[0] for row in database.execute(f'SELECT id FROM "{table}" ORDER BY id')]


# --------------------------------------------------------------------------- what is made


def test_the_table_and_its_index(postgres, sink_of):
    sink = sink_of(postgres.url)
    assert postgres.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'docs'") == [(1,)]
    sink.write(batch())
    sink.finish()
    found = postgres.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'docs_embedding_hnsw'")
    assert found == [("CREATE INDEX docs_embedding_hnsw ON public.docs USING hnsw (embedding vector_l2_ops)",)]
    row = postgres.execute("SELECT document, metadata->>'group', _vf->>'seq' FROM docs WHERE id = 'id-000003'")
    assert row == [("document 3 of 0", "g3", "3")]


def test_a_resumed_batch_is_merged(postgres, sink_of):
    """What stands there already is replaced whole, what does not is added; in both orders of coming."""
    sink = sink_of(postgres.url)
    sink.write(batch(count=30))
    sink.write(batch(start=20, count=30, seed=1))
    sink.write(batch(start=50, count=10))
    found = postgres.execute("SELECT id, metadata->>'version' FROM docs ORDER BY id")
    assert found == [(f"id-{n:06}", "1" if 20 <= n < 50 else "0") for n in range(60)]


def test_a_batch_is_all_or_nothing(postgres, sink_of):
    """The server refuses one record: none of its batch is there, and the batch without it goes in."""
    sink = sink_of(postgres.url)
    records = plain_records(SPEC, 10)
    records[4].vectors = {"": np.full(8, np.nan, np.float32)}
    with pytest.raises(DataError) as caught:
        sink.write(from_records(SPEC, records))
    assert "NaN" in caught.value.message
    assert ids(postgres) == []
    sink.write(from_records(SPEC, records[:4] + records[5:]))
    assert len(ids(postgres)) == 9


def test_what_a_key_cannot_hold_is_rejected_by_itself(postgres, sink_of):
    sink = sink_of(postgres.url)
    records = plain_records(SPEC, 3)
    records[1].id = "x" * 2_700
    receipt = sink.write(from_records(SPEC, records))
    assert (receipt.rows, [rejection.id for rejection in receipt.rejected]) == (2, ["x" * 2_700])
    assert "2,600 bytes" in receipt.rejected[0].reason
    assert len(ids(postgres)) == 2


def test_numbers_as_ids_up_to_the_last(postgres, sink_of):
    spec = replace(SPEC, id_kind=IdKind.INT)
    records = plain_records(spec, 4)
    for record, text in zip(records, ["0", str(2**63 - 1), str(2**63), "-5"], strict=True):
        record.id = text
    receipt = sink_of(postgres.url, spec).write(from_records(spec, records))
    assert [rejection.id for rejection in receipt.rejected] == ["-5"]
    assert ids(postgres) == [-(2**63), 0, 2**63 - 1]


@pytest.mark.parametrize("name", ['x"; drop table docs; --', "select", "Tëst ⛴", "a.b", "e" * 63, "'", "%s %(a)s"])
def test_hostile_names(postgres, sink_of, name):
    vectors = (VectorSpec(name=name, dim=2), VectorSpec(name="_vf", dim=2))
    spec = replace(SPEC, name=name, namespace=(f"s {name}"[:60].strip(),), vectors=vectors)
    sink = sink_of(postgres.url, target(spec))
    records = plain_records(spec, 3)
    for record in records:
        record.metadata = {name: name}
    sink.write(from_records(spec, records))
    sink.write(from_records(spec, records))
    sink.delete([records[0].id])
    sink.finish()
    found = postgres.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE relkind = 'r' AND relname NOT LIKE '\\_vecferry%' AND nspname LIKE 's %'"
    )
    assert found == [(spec.namespace[0], name)]
    assert postgres.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'") == [(2,)]


@pytest.mark.parametrize("name, error", [("_vecferry_cards", Conflict), ("ä" * 40, ConfigError)])
def test_names_that_cannot_be(postgres, sink_of, name, error):
    with pytest.raises(error) as caught:
        sink_of(postgres.url, replace(SPEC, name=name))
    assert caught.value.hint
    assert postgres.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


def test_vectors_past_2000_dimensions(postgres, sink_of):
    """Indexed as halves; the index is one that a query of that form uses."""
    spec = replace(SPEC, vectors=(VectorSpec(dim=2_001),))
    sink = sink_of(postgres.url, spec)
    sink.write(batch(spec, count=20))
    sink.finish()
    with postgres.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        query = "EXPLAIN SELECT id FROM docs ORDER BY embedding::halfvec(2001) <=> %s::halfvec(2001) LIMIT 1"
        plan = connection.execute(query, [str([1.0] * 2_001)]).fetchall()
    assert any("docs_embedding_hnsw" in line for (line,) in plan)


def test_progress_of_an_index(postgres, sink_of):
    """While one is built, another thread hears how far it is."""
    sink = sink_of(postgres.url)
    sink.write(batch(count=4_000))
    heard: list[int] = []
    worker = threading.Thread(target=sink.finish)
    worker.start()
    while worker.is_alive():
        heard.append(sink.indexed())
    worker.join()
    assert max(heard) > 0
    assert heard == sorted(heard) or heard[-1] == 0


def test_sparse_and_bits(postgres, sink_of):
    vectors = (
        VectorSpec(name="words", kind=VectorKind.SPARSE, metric=Metric.IP),
        VectorSpec(name="flags", kind=VectorKind.BITS, dim=12, metric=Metric.HAMMING, element=Element.UINT8),
    )
    spec = replace(SPEC, vectors=vectors)
    sink = sink_of(postgres.url, target(spec))
    there = {"words": (np.array([3, 9], np.uint32), np.array([0.5, 0.0], np.float32)), "flags": b"\xf0\x1f"}
    sink.write(from_records(spec, [Record(id="a", vectors=there), Record(id="b", vectors={})]))
    sink.finish()
    found = postgres.execute("SELECT words::text, flags::text FROM docs ORDER BY id")
    assert found == [("{4:0.5}/1000000000", "111100000001"), (None, None)]


# --------------------------------------------------------------------------- what is adopted, and what is not


APP = "CREATE TABLE docs (id text PRIMARY KEY, content text, metadata jsonb, embedding vector(8), {more})"


def test_a_table_of_an_application_is_adopted(postgres, sink_of):
    """Its own columns are filled from the metadata, the rest goes into its JSON column; its defaults stand."""
    postgres.execute(APP.format(more="number int, even boolean NOT NULL DEFAULT true, made timestamptz DEFAULT now()"))
    sink = sink_of(postgres.url)
    records = plain_records(SPEC, 3)
    records[1].metadata = {"number": 7}
    sink.write(from_records(SPEC, records))
    sink.finish()
    found = postgres.execute("SELECT id, content, metadata, number, even, made FROM docs ORDER BY id")
    rest = {"share": 0.0, "group": "g0", "version": 0}
    assert found[0] == ("id-000000", "document 0 of 0", rest, 0, True, None)
    assert found[1][2:] == ({}, 7, True, None)
    assert postgres.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'docs'") == [(1,)]


def test_a_composite_key_is_taken_apart(postgres, sink_of):
    postgres.execute("CREATE TABLE docs (url text, n int, embedding vector(8), PRIMARY KEY (url, n))")
    spec = replace(SPEC, id_kind=IdKind.COMPOSITE)
    sink = sink_of(postgres.url, spec)
    records = [replace_metadata(record, {}) for record in plain_records(replace(SPEC, id_kind=IdKind.TEXT), 3)]
    for number, record in enumerate(records):
        record.id = f'["https://a/{number}",{number}]'
    records[2].id = "no composite"
    for record in records:
        record.metadata = None
    receipt = sink.write(from_records(spec, records))
    assert [rejection.id for rejection in receipt.rejected] == ["no composite"]
    assert postgres.execute("SELECT url, n FROM docs ORDER BY n") == [("https://a/0", 0), ("https://a/1", 1)]
    sink.delete(['["https://a/1",1]', "no composite"])
    assert postgres.execute("SELECT n FROM docs") == [(0,)]


def replace_metadata(record: Record, metadata):
    record.metadata = metadata
    return record


def test_metadata_without_a_column_is_rejected_not_lost(postgres, sink_of):
    postgres.execute("CREATE TABLE docs (id text PRIMARY KEY, embedding vector(8), number int)")
    records = [replace_metadata(record, {"number": 1}) for record in plain_records(SPEC, 3)]
    records[1].metadata = {"number": 1, "more": 2}
    receipt = sink_of(postgres.url).write(from_records(SPEC, records))
    assert [rejection.reason for rejection in receipt.rejected] == ["the table has no column for more"]
    assert ids(postgres) == ["id-000000", "id-000002"]


@pytest.mark.parametrize(
    "ddl, said",
    [
        ("CREATE TABLE docs (id text PRIMARY KEY, embedding vector(9))", "9 dimensions"),
        ("CREATE TABLE docs (id text PRIMARY KEY, embedding halfvec(8))", "float16"),
        ("CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector(8))", "int ids"),
        ("CREATE TABLE docs (id text, embedding vector(8))", "no unique key"),
        ("CREATE TABLE t (id text PRIMARY KEY, v vector(8)); CREATE VIEW docs AS SELECT * FROM t", "is a view"),
        ("CREATE TABLE docs (id text PRIMARY KEY, body text)", "the vectors"),
        (APP.format(more="owner bytea NOT NULL").replace("metadata jsonb, ", ""), None),
        (
            """CREATE TABLE docs (id text PRIMARY KEY, embedding vector(8));
            CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops)""",
            "under cosine",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_a_conflict(postgres, sink_of, ddl, said):
    postgres.execute(ddl)
    if said is None:
        sink = sink_of(postgres.url)
        with pytest.raises(DataError):
            sink.write(from_records(SPEC, [replace_metadata(plain_records(SPEC, 1)[0], None)]))
        return
    with pytest.raises(Conflict) as caught:
        sink_of(postgres.url)
    assert said in str(caught.value)
    assert caught.value.hint
    assert postgres.execute("SELECT to_regclass('_vecferry_cards') IS NULL") == [(True,)]


def test_a_source_s_own_table_is_made_again(postgres, sink_of):
    """Columns, types, keys, counter, indexes and foreign keys; new rows of the application go on behind ours."""
    postgres.execute(
        """
        CREATE TABLE sources (source_id text PRIMARY KEY);
        CREATE TABLE pages (id bigserial PRIMARY KEY, url varchar NOT NULL, n integer NOT NULL, content text,
          metadata jsonb NOT NULL DEFAULT '{}', source_id text REFERENCES sources(source_id), embedding vector(3),
          created_at timestamptz NOT NULL DEFAULT now(), price numeric(12,4), tags text[], raw bytea, UNIQUE (url, n));
        CREATE INDEX ON pages USING ivfflat (embedding vector_cosine_ops) WITH (lists = 2);
        CREATE INDEX pages_meta ON pages USING gin (metadata);
        INSERT INTO sources VALUES ('s');
        """
    )
    found = catalog_of(postgres, "pages")
    form = guess(found)
    spec = target(
        CollectionSpec(
            name="copy",
            id_kind=IdKind.INT,
            vectors=(VectorSpec(dim=3),),
            config={"table": found.as_json(), "form": form.as_json()},
        )
    )
    from datetime import UTC, datetime
    from decimal import Decimal

    metadata = {"url": "u", "n": 1, "source_id": "s", "price": Decimal("1.5"), "tags": ["a", 'b"c', None]}
    metadata |= {"created_at": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "raw": b"\x00\xff", "k": [1e300]}
    record = Record(id="41", vectors={"": np.ones(3, np.float32)}, document="text", metadata=metadata)
    sink = sink_of(postgres.url, spec)
    sink.write(from_records(spec, [record]))
    sink.finish()
    sink.finish()
    made = catalog_of(postgres, "copy")
    assert [replace(c, default=None) for c in made.columns] == [replace(c, default=None) for c in found.columns]
    assert (made.primary_key, made.unique, [key.table for key in made.foreign_keys]) == (
        ("id",),
        (("url", "n"),),
        ["sources"],
    )
    assert sorted(index.method for index in made.indexes) == ["gin", "ivfflat"]
    postgres.execute("INSERT INTO copy (url, n) VALUES ('new', 2)")
    rows = postgres.execute("SELECT id, price::text, tags, raw, created_at, metadata FROM copy ORDER BY id")
    assert rows[0][:4] == (41, "1.5000", ["a", 'b"c', None], b"\x00\xff")
    assert (rows[0][4], rows[0][5]) == (metadata["created_at"], {"k": [1e300]})
    assert rows[1][0] == 42


def catalog_of(database: PostgresDatabase, name: str):
    from vecferry.connectors.postgres import catalog

    with database.connect() as connection:
        (found,) = catalog.find(connection, schemas=["public"], tables=[name])
    return found.table


def test_preparing_at_once_makes_one_table(postgres, sink_of):
    """Several workers of a run begin together."""
    with ThreadPoolExecutor(6) as pool:
        sinks = list(pool.map(lambda _: sink_of(postgres.url), range(6)))
        receipts = list(pool.map(lambda sink: sink.write(batch()), sinks))
    assert [receipt.rows for receipt in receipts] == [50] * 6
    assert len(ids(postgres)) == 50


# --------------------------------------------------------------------------- what goes wrong


def test_no_pgvector_is_created_or_asked_for(postgres_server, sink_of):
    with postgres_server.fresh_database(extensions=()) as database:
        with as_role(database, "GRANT CREATE ON SCHEMA public TO {role}") as url, pytest.raises(Unsupported) as caught:
            sink_of(url)
        assert "CREATE EXTENSION vector;" in (caught.value.hint or "")
        sink_of(database.url).write(batch())
        assert len(ids(database)) == 50


def test_another_encoding_is_refused(postgres_server, sink_of):
    name = f"latin_{os.urandom(4).hex()}"
    with postgres_server.connect() as connection:
        latin = "ENCODING 'LATIN1' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'"
        connection.execute(f"CREATE DATABASE {name} {latin}")
        try:
            with pytest.raises(Unsupported, match="LATIN1"):
                sink_of(postgres_server.url(name))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def as_role(database: PostgresDatabase, *grants: str):
    """The URL of a role that may do just this."""
    role, password = f"r_{os.urandom(4).hex()}", "a-password"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    try:
        for grant in grants:
            database.execute(grant.format(role=role, database=database.name))
        file = Path(database.server.folder) / role
        file.write_text(password)
        query = f"password=file:{file}"
        yield f"postgresql://{role}@{database.server.host}:{database.server.port}/{database.name}?{query}"
    finally:
        database.execute(f"DROP OWNED BY {role} CASCADE")
        database.execute(f"DROP ROLE {role}")


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "postgres.md"


def statements_of(page: str, database: PostgresDatabase) -> list[str]:
    """The statements that the reference page shows under a mark, for our database; `{role}` is whom they are for."""
    block = PAGE.read_text(encoding="utf-8").partition(f"<!-- {page} -->")[2].partition("```sql")[2].partition("```")[0]
    names = {"vecferry_writer": "{role}", "rag.documents": "docs", "DATABASE app": f"DATABASE {database.name}"}
    for old, new in {**names, "SCHEMA rag": "SCHEMA public", "rag.": "public."}.items():
        block = block.replace(old, new)
    lines = (line.partition("--")[0] for line in block.splitlines())
    return [text for text in map(str.strip, " ".join(lines).split(";")) if text and "CREATE ROLE" not in text]


def closed(database: PostgresDatabase) -> None:
    """A database in which nobody may do anything by default."""
    database.execute(f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC")


def all_of_it(sink_of, url: str) -> int:
    """Write, write again, delete, finish; how many records stay."""
    sink = sink_of(url)
    sink.write(batch())
    sink.write(batch(seed=1))
    sink.delete(["id-000001"])
    sink.finish()
    return 49


def test_the_privileges_that_docs_name_are_enough_for_a_new_table(postgres, sink_of):
    """And each statement is needed."""
    closed(postgres)
    grants = statements_of("privileges for writing", postgres)
    assert len(grants) == 2
    for missing in grants:
        with as_role(postgres, *(one for one in grants if one != missing)) as url, pytest.raises(AuthFailed):
            all_of_it(sink_of, url)
    with as_role(postgres, *grants) as url:
        count = all_of_it(sink_of, url)
        assert len(ids(postgres)) == count


def test_the_privileges_that_docs_name_are_enough_for_a_table_that_is_there(postgres, sink_of):
    closed(postgres)
    postgres.execute("CREATE TABLE docs (id text PRIMARY KEY, content text, metadata jsonb, embedding vector(8))")
    cards, *grants = statements_of("privileges for adopting", postgres)
    assert (cards[:12], len(grants)) == ("CREATE TABLE", 3)
    postgres.execute(cards)
    for missing in grants:
        with as_role(postgres, *(one for one in grants if one != missing)) as url, pytest.raises(AuthFailed):
            all_of_it(sink_of, url)
    with as_role(postgres, *grants) as url:
        count = all_of_it(sink_of, url)
        assert len(ids(postgres)) == count


def test_a_counter_that_is_not_ours_is_told_of(postgres, sink_of, caplog):
    """It does not end the run; with the right to it, it goes on behind the last id."""
    postgres.execute("CREATE TABLE docs (id bigserial PRIMARY KEY, content text, metadata jsonb, embedding vector(8))")
    postgres.execute('CREATE TABLE _vecferry_cards (collection text COLLATE "C" PRIMARY KEY, card json, form json)')
    spec = replace(SPEC, id_kind=IdKind.INT)
    grants = ["GRANT SELECT, INSERT, UPDATE, DELETE ON docs, _vecferry_cards TO {role}"]
    for rights, following in ((grants, 1), ([*grants, "GRANT ALL ON SEQUENCE docs_id_seq TO {role}"], 50)):
        with as_role(postgres, *rights) as url:
            sink = sink_of(url, spec)
            sink.write(batch(spec))
            sink.finish()
        assert postgres.execute("SELECT nextval('docs_id_seq')") == [(following,)]
    assert "docs_id_seq" in caplog.text


@pytest.mark.parametrize("missing", ["CREATE on the schema", "INSERT on the table"])
def test_a_missing_privilege_is_named(postgres, sink_of, missing):
    if missing.startswith("INSERT"):
        sink_of(postgres.url)
    grants = ["GRANT USAGE ON SCHEMA public TO {role}", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"]
    with as_role(postgres, *grants) as url, pytest.raises(AuthFailed) as caught:
        sink_of(url).write(batch())
    assert "permission denied" in caught.value.message
    assert "docs/reference/postgres.md" in (caught.value.hint or "")


def test_a_lock_is_not_waited_for_without_end(postgres, sink_of):
    sink = sink_of(postgres.url_with(lock_timeout="1"))
    with postgres.connect(autocommit=False) as other:
        other.execute("LOCK TABLE docs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="lock"):
            sink.write(batch())
        other.rollback()
    assert sink.write(batch()).rows == 50
    assert len(ids(postgres)) == 50


def test_overlapping_batches_in_other_orders_do_not_end_in_a_deadlock(postgres, sink_of):
    """Or, where the server finds one, in an error that says to try again."""
    sink = sink_of(postgres.url)
    sink.write(batch(count=300))
    parts = [batch(count=300, seed=seed) for seed in range(8)]
    turned = [part if n % 2 else part.take(list(reversed(range(300)))) for n, part in enumerate(parts)]
    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(sink.write, turned))
    assert sum(receipt.rows for receipt in receipts) == 2_400
    versions = {row[0] for row in postgres.execute("SELECT metadata->>'version' FROM docs")}
    assert len(versions) == 1


def test_a_deadlock_is_retryable(postgres, sink_of):
    """We hold what another waits for, and wait for what it holds."""
    sink = sink_of(postgres.url)
    sink.write(batch(count=2))
    with postgres.connect(autocommit=False) as other:
        other.execute("SET deadlock_timeout = '10s'")
        other.execute("UPDATE docs SET uri = 'x' WHERE id = 'id-000001'")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(sink.write, batch(count=2))
            wait_until_blocked(postgres, 1)
            blocked = pool_of_one(lambda: other.execute("UPDATE docs SET uri = 'x' WHERE id = 'id-000000'"))
            with pytest.raises(Unavailable, match="deadlock"):
                writing.result(120)
            blocked.join(120)
        other.rollback()
    assert sink.write(batch(count=2)).rows == 2


def pool_of_one(work) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(psycopg.Error):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def wait_until_blocked(database: PostgresDatabase, sessions: int) -> None:
    """Until so many sessions of the database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = time.monotonic() + 120
    with database.connect() as connection:
        while time.monotonic() < end:
            row = connection.execute(query).fetchone()
            if row is not None and row[0] >= sessions:
                return
            time.sleep(0.005)
    pytest.fail("nobody waits for a lock")


def test_a_connection_cut_in_the_middle_of_a_copy(postgres, sink_of):
    """Nothing of the batch is there; the same sink goes on over a new connection."""
    with FaultProxy(postgres.server.port) as proxy:
        url = postgres.url.replace(f":{postgres.server.port}/", f":{proxy.port}/")
        sink = sink_of(url)
        sink.write(batch())
        large = batch(start=50, count=3_000)
        proxy.fault = Reset(after=100_000, way=Way.REQUEST, times=1)
        with pytest.raises(Unavailable) as caught:
            sink.write(large)
        assert proxy.fired == 1
        assert caught.value.retryable
        proxy.fault = Pass()
        assert len(ids(postgres)) == 50
        assert sink.write(large).rows == 3_000
        proxy.fault = Refuse()
        with pytest.raises(Unavailable):
            sink.write(batch())
        proxy.fault = Pass()
        assert sink.write(batch()).rows == 50
    assert len(ids(postgres)) == 3_050


def test_a_server_that_is_killed_and_comes_back(start_postgres, sink_of):
    """What was written stays, the sink goes on by itself, and an index that was not finished is built."""
    server = start_postgres(settings={"fsync": "on"})
    with server.fresh_database() as database:
        sink = sink_of(database.url)
        sink.write(batch())
        server.kill()
        with pytest.raises(Unavailable):
            sink.write(batch(start=50))
        server.start()
        assert sink.write(batch(start=50)).rows == 50
        sink.finish()
        assert len(ids(database)) == 100


def test_a_full_disk(start_postgres, sink_of, tmp_path):
    """The store says so; what was written stays, and with more room the same batch goes in."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        skip("platform", "a small file system can be mounted by root alone")
    try:
        hand_over(small)
        for folder in list(tmp_path.parents)[:-2]:
            folder.chmod(0o755)
        tmp_path.chmod(0o755)
        server = start_postgres()
        with server.fresh_database() as database:
            database.execute(f"CREATE TABLESPACE small LOCATION '{small}'")
            database.execute(f"ALTER DATABASE {database.name} SET default_tablespace = 'small'")
            sink = sink_of(database.url)
            sink.write(batch())
            with pytest.raises(StoreFull) as caught:
                sink.write(batch(start=50, count=20_000))
            assert "Make room" in (caught.value.hint or "")
            assert len(ids(database)) == 50
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
            assert sink.write(batch(start=50, count=20_000)).rows == 20_000
            database.execute("DROP TABLE docs, _vecferry_cards")
        server.stop()
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pooler(postgres, mode):
    """No state of a session is relied on: several writers share fewer connections of the server."""
    with contextlib.ExitStack() as stack:
        try:
            pooler = stack.enter_context(start_pgbouncer(postgres.server, mode=mode))
        except Unavailable as error:
            skip("pgbouncer", error.message)
        access = stack.enter_context(closing(Access(StoreUrl.parse(pooler.url(postgres.name)))))
        sink = PostgresSink(access, SPEC, home=("public",))
        sink.prepare(SPEC)
        with ThreadPoolExecutor(4) as pool:
            for seed in range(2):
                list(pool.map(sink.write, [batch(start=50 * n, seed=seed) for n in range(8)]))
        sink.finish()
        sink.delete(["id-000001"])
        assert postgres.execute("SELECT count(*), max(metadata->>'version') FROM docs") == [(399, "1")]


def test_a_table_dropped_under_the_sink(postgres, sink_of):
    sink = sink_of(postgres.url)
    postgres.execute("DROP TABLE docs")
    with pytest.raises(Exception, match="no such table") as caught:
        sink.write(batch())
    assert getattr(caught.value, "hint", None)


def test_a_password_never_shows(postgres, monkeypatch):
    monkeypatch.setenv("A_SECRET", "hunter2-hunter2")
    url = postgres.url.partition("?")[0] + "?password=env:A_SECRET"
    with closing(Access(StoreUrl.parse(url))) as access, pytest.raises(AuthFailed) as caught:
        PostgresSink(access, SPEC, home=("public",)).prepare(SPEC)
    assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__)


def test_form_is_asked_for_by_the_plan(postgres, sink_of):
    """A form in the spec's settings says which column is which."""
    postgres.execute("CREATE TABLE docs (k text PRIMARY KEY, a vector(8), b text, c text)")
    form = Form(key=("k",), vectors={"": "a"}, document="c", columns=("b",))
    spec = replace(SPEC, config={"form": form.as_json()})
    sink = sink_of(postgres.url, spec)
    sink.write(from_records(spec, [Record(id="1", vectors={}, document="text", metadata={"b": "B"})]))
    assert postgres.execute("SELECT k, b, c FROM docs") == [("1", "B", "text")]


@pytest.mark.parametrize("kind", ["citext", "text COLLATE either_case"])
def test_a_key_without_case_never_costs_another_record_its_row(postgres, kind):
    """ON CONFLICT would replace 'a' by 'A', and call it written."""
    postgres.execute("CREATE EXTENSION citext")
    postgres.execute("CREATE COLLATION either_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    postgres.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY, e vector(2))")
    postgres.execute("CREATE TABLE exact (id text PRIMARY KEY, e vector(2))")
    postgres.execute("INSERT INTO t VALUES ('a', '[1,2]')")
    with closing(open_database(postgres.url)) as database, closing(database.source("exact")) as source:
        spec = replace(source.describe(), name="t")
        sink = database.sink(spec)
        sink.prepare(spec)
        for text, taken in (("A", False), ("a", True)):
            postgres.execute("DELETE FROM exact")
            postgres.execute("INSERT INTO exact VALUES (%s, '[3,4]')", [text])
            for _ in range(2):
                (chunk,) = source.read(source.partitions()[0])
                with contextlib.nullcontext() if taken else pytest.raises(DataError):
                    sink.write(chunk.batch)
            source.close()
            assert postgres.execute("SELECT id::text, e::text FROM t") == [("a", "[3,4]" if taken else "[1,2]")]
