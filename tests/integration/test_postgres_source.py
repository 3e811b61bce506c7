"""Reading tables as people have them: every kind of key and column, views, partitions, parents, odd rows, one state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from psycopg.errors import UniqueViolation

from vecferry.connectors.postgres import PostgresDatabase, keys
from vecferry.errors import ConfigError, DataError, NotFound
from vecferry.events import Event, Notice, listening
from vecferry.filters import Contains
from vecferry.model import Element, IdKind, Metric, Record, VectorKind
from vecferry.planning.inspect import inspect
from vecferry.registry import open_database
from vecferry.tables import Form, Join, Rank, guess
from vecferry.testing.contracts.base import read_all
from vecferry.testing.postgres import PostgresDatabase as Server


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the connector tells a person."""
    heard: list[str] = []
    with listening(lambda event: heard.append(event.message) if isinstance(event, Notice) else None):
        yield heard


@contextmanager
def opened(url: str) -> Iterator[PostgresDatabase]:
    with closing(open_database(url)) as database:
        assert isinstance(database, PostgresDatabase)
        yield database


def records(url: str, name: str, form: Form | None = None) -> dict[str, Record]:
    with opened(url) as database:
        if form is not None:
            database.use(name, form)
        with closing(database.source(name)) as source:
            return {record.id: record for record in read_all(source)}


def test_a_table_of_every_type_becomes_records(postgres: Server):
    postgres.execute(
        "CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(3), content text, metadata jsonb, n integer, "
        "price numeric(10,2), at timestamptz, local timestamp, day date, raw bytea, who uuid, tags text[], extra json, "
        "ok boolean, ratio double precision, small real, span interval, twice int GENERATED ALWAYS AS (n * 2) STORED)"
    )
    postgres.execute(
        'INSERT INTO items VALUES (5, \'[1,2,3]\', \'text\', \'{"b": 1, "a": [true, null], "n": "json"}\', 7, 1.50, '
        "'2026-01-02 03:04:05.678901+02', '2026-01-02 03:04:05', '2026-01-02', '\\x00ff', "
        "'00000000-0000-4000-8000-00000000ABCD', '{x,y}', '{\"z\": 1, \"y\": 1.0}', true, 0.1, 0.1, '1 day')"
    )
    postgres.execute("INSERT INTO items (id, metadata) VALUES (-6, NULL)")
    found = records(postgres.url, "items")
    assert found["5"].document == "text"
    assert found["5"].metadata == {
        "b": 1,
        "a": [True, None],
        "metadata.n": "json",
        "n": 7,
        "price": Decimal("1.50"),
        "at": datetime(2026, 1, 2, 1, 4, 5, 678901, tzinfo=UTC),
        "local": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 (so the column has it)
        "day": date(2026, 1, 2),
        "raw": b"\x00\xff",
        "who": "00000000-0000-4000-8000-00000000abcd",
        "tags": ["x", "y"],
        "extra": {"z": 1, "y": 1.0},
        "ok": True,
        "ratio": 0.1,
        "small": 0.1,
        "span": "P1D",
    }
    assert found["-6"].vectors[""] is None
    assert found["-6"].metadata is not None
    assert (found["-6"].metadata["metadata."], found["-6"].metadata["at"]) == (None, None)


def test_numbers_of_jsonb_lose_no_digit(postgres: Server):
    """What 64 bits cannot hold is an exact integer or decimal, wherever it stands."""
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1), metadata jsonb, more jsonb, far date)"
    )
    number = '{"a": 1e300, "b": 0.12345678901234567890123, "c": 18446744073709551616, "d": 0.1, "e": 5}'
    postgres.execute(
        f"INSERT INTO items VALUES (1, '[1]', '{number}', '{number}', 'infinity'), (2, '[1]', '{{}}', '[]', NULL)"
    )
    found = records(postgres.url, "items")["1"].metadata
    assert found is not None
    wanted = {"a": 10**300, "b": Decimal("0.12345678901234567890123"), "c": 2**64, "d": 0.1, "e": 5}
    assert found == {**wanted, "more": wanted, "far": "infinity"}


@pytest.mark.parametrize(
    "columns, values, kind, wanted",
    [
        ("id smallint PRIMARY KEY", "(-3), (7)", IdKind.INT, {"-3", "7"}),
        (
            "id uuid PRIMARY KEY",
            "('00000000-0000-4000-8000-00000000ABCD')",
            IdKind.UUID,
            {"00000000-0000-4000-8000-00000000abcd"},
        ),
        ("id varchar(9) PRIMARY KEY", "('it''s'), ('\\')", IdKind.TEXT, {"it's", "\\"}),
        ("id date PRIMARY KEY", "('2026-01-02'), ('infinity')", IdKind.TEXT, {"2026-01-02", "infinity"}),
        (
            "url text, n int, PRIMARY KEY (url, n)",
            "('a\"b', 1), ('a\"b', 2), ('', -1)",
            IdKind.COMPOSITE,
            {'["a\\"b",1]', '["a\\"b",2]', '["",-1]'},
        ),
        ("url text NOT NULL UNIQUE", "('x')", IdKind.TEXT, {"x"}),
    ],
)
def test_any_key_makes_ids_that_are_found_again(postgres: Server, columns, values, kind, wanted):
    postgres.execute(f"CREATE TABLE items ({columns})")
    postgres.execute(f"INSERT INTO items VALUES {values}")
    postgres.execute("ALTER TABLE items ADD embedding vector(2) DEFAULT '[1,2]'")
    with opened(postgres.url_with(chunk_rows="1", partition_rows="1")) as database:
        source = database.source("items")
        assert source.describe().id_kind is kind
        assert {record.id for record in read_all(source)} == wanted
        assert source.existing([*wanted, "nowhere", "9" * 30, "[1]", "\0"]) == wanted
        assert set(source.fetch(sorted(wanted)).column("id").to_pylist()) == wanted
        source.close()


def test_vectors_of_every_kind_with_the_metric_of_their_index(postgres: Server):
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, v vector(3), h halfvec(3), s sparsevec(9), b bit(12), w vector(3));"
        "INSERT INTO items VALUES (1, '[1,2,3]', '[1,2,3]', '{2:0.5,9:-1}/9', B'101010101010', NULL);"
        "CREATE INDEX ON items USING hnsw (v vector_l2_ops); CREATE INDEX ON items USING hnsw (h halfvec_ip_ops);"
        "CREATE INDEX ON items USING hnsw (s sparsevec_l1_ops); CREATE INDEX ON items USING hnsw (b bit_jaccard_ops);"
        "CREATE INDEX ON items USING hnsw ((w::halfvec(3)) halfvec_l2_ops)"
    )
    with opened(postgres.url) as database:
        found = {vector.name: vector for vector in database.source("items").describe().vectors}
    assert {name: vector.metric for name, vector in found.items()} == {
        "v": Metric.L2, "h": Metric.IP, "s": Metric.L1, "b": Metric.JACCARD, "w": Metric.L2,
    }  # fmt: skip
    assert [found[name].kind for name in "vsb"] == [VectorKind.DENSE, VectorKind.SPARSE, VectorKind.BITS]
    assert (found["h"].element, found["b"].dim) == (Element.FLOAT16, 12)
    vectors = records(postgres.url, "items")["1"].vectors
    sparse = vectors["s"]
    assert isinstance(sparse, tuple)
    assert (sparse[0].tolist(), sparse[1].tolist()) == ([1, 8], [0.5, -1])
    assert (vectors["b"], vectors["w"]) == (b"\xaa\xa0", None)
    np.testing.assert_array_equal(np.asarray(vectors["h"]), np.array([1, 2, 3], np.float16))


def test_an_untyped_column_with_mixed_dimensions_gives_what_is_of_the_commonest(postgres: Server):
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector);"
        "INSERT INTO items VALUES (1, '[1,2]'), (2, '[1,2,3]'), (3, NULL), (4, '[3,4]')"
    )
    with opened(postgres.url) as database, closing(database.source("items")) as source:
        assert source.describe().vectors[0].dim == 2
        chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    assert [id_ for chunk in chunks for id_ in chunk.batch.column("id").to_pylist()] == ["1", "3", "4"]
    assert [(one.id, "2 dimensions" in one.reason) for chunk in chunks for one in chunk.rejected] == [("2", True)]


def test_leaf_partitions_are_read_with_their_table(postgres: Server):
    postgres.execute(
        "CREATE TABLE items (id int, day date, embedding vector(1), PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
        "CREATE TABLE items_25 PARTITION OF items FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
        "CREATE TABLE items_26 PARTITION OF items FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
        "INSERT INTO items SELECT n, '2025-06-01'::date + n, '[1]' FROM generate_series(1, 400) n"
    )
    with opened(postgres.url) as database:
        (spec,) = database.collections()
        assert list(spec.config["table"]["partitions"]) == ["public.items_25", "public.items_26"]
    assert len(records(postgres.url_with(partition_rows="100"), "items")) == 400


def test_a_view_needs_a_key_from_the_plan(postgres: Server):
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1), n int);"
        "INSERT INTO items SELECT n, '[1]', n / 2 FROM generate_series(1, 4) n;"
        "CREATE VIEW seen AS SELECT * FROM items"
    )
    with opened(postgres.url) as database:
        with pytest.raises(ConfigError, match="no key") as caught:
            database.source("seen")
        assert "key: [column]" in (caught.value.hint or "")
        assert [spec.name for spec in database.collections()] == ["items"]
    form = Form(key=("id",), vectors={"": "embedding"}, columns=("n",))
    assert len(records(postgres.url, "seen", form)) == 4
    with pytest.raises(DataError, match="two rows with one key"):
        records(postgres.url, "seen", Form(key=("n",), vectors={"": "embedding"}))
    postgres.execute("UPDATE items SET n = NULL WHERE id = 1")
    with pytest.raises(DataError, match="without a value in its key"):
        records(postgres.url, "seen", Form(key=("n", "id"), vectors={"": "embedding"}, columns=("n", "id")))


def test_a_table_without_a_key_is_refused_with_the_statement_that_gives_it_one(postgres: Server):
    postgres.execute("CREATE TABLE items (embedding vector(1))")
    with opened(postgres.url) as database, pytest.raises(ConfigError) as caught:
        database.source("items")
    statement = (caught.value.hint or "").partition("ALTER")[2].partition(";")[0]
    postgres.execute(f"ALTER{statement}; INSERT INTO items VALUES ('[1]')")
    assert list(records(postgres.url, "items")) == ["1"]


def test_a_query_past_what_a_half_can_hold_is_asked_with_the_largest(postgres: Server):
    """Verification asks with vectors a little off the records' own: off the largest, that is more than a half holds."""
    postgres.execute("CREATE TABLE items (id int PRIMARY KEY, h halfvec(2))")
    postgres.execute("INSERT INTO items VALUES (1, '[65504, 1]'), (2, '[1, 65504]')")
    with opened(postgres.url) as database, closing(database.source("items")) as source:
        (hits,) = source.search(np.array([[70000, 1]], np.float32), k=1, exact=True)
    assert [hit.id for hit in hits] == ["1"]


def test_a_table_without_a_key_is_told_where_everything_is_looked_at(postgres: Server):
    """The rest is moved and found identical: nobody would miss it otherwise."""
    postgres.execute("CREATE TABLE items (id int PRIMARY KEY, embedding vector(1))")
    postgres.execute("CREATE TABLE lost (n int, embedding vector(1))")
    postgres.execute("CREATE TABLE plain (n int)")
    told: list[Event] = []
    with opened(postgres.url) as database:
        found = inspect(database, url=postgres.url, observer=told.append)
    assert [one.spec.name for one in found.profiles] == ["items"]
    messages = [event.message for event in told if isinstance(event, Notice)]
    assert [message for message in messages if "no key" in message and "public/lost" in message]
    assert not [message for message in messages if "plain" in message]
    for patterns in (["lost"], ["items", "public/lost"]):
        with opened(postgres.url) as database, pytest.raises(ConfigError, match="no key") as caught:
            inspect(database, url=postgres.url, patterns=patterns)
        assert "ALTER TABLE" in (caught.value.hint or "")


def test_a_unique_index_that_could_not_be_built_tells_no_rows_apart(postgres: Server):
    """CREATE UNIQUE INDEX CONCURRENTLY that fails over doubles leaves the index there, invalid."""
    postgres.execute("CREATE TABLE items (n int NOT NULL, embedding vector(1))")
    postgres.execute("INSERT INTO items VALUES (1, '[1]'), (1, '[2]')")
    with pytest.raises(UniqueViolation):
        postgres.execute("CREATE UNIQUE INDEX CONCURRENTLY once ON items (n)")
    with opened(postgres.url) as database, pytest.raises(ConfigError, match="no key"):
        database.source("items")
    with pytest.raises(DataError, match="two rows with one key"):
        records(postgres.url, "items", Form(key=("n",), vectors={"": "embedding"}))


def test_parents_ranks_and_ids_of_a_shape_of_their_own(postgres: Server):
    postgres.execute(
        "CREATE TABLE sources (source_id text PRIMARY KEY, summary text, words int);"
        "INSERT INTO sources VALUES ('s', 'about s', 3);"
        "CREATE TABLE pages (id bigserial PRIMARY KEY, url text, place int, source_id text, embedding vector(1));"
        "INSERT INTO pages (url, place, source_id, embedding) VALUES ('u', 30, 's', '[1]'), ('u', 10, NULL, '[2]')"
    )
    form = Form(
        key=("id",),
        id="{url}_{rank}",
        vectors={"": "embedding"},
        columns=("id", "url", "source_id"),
        ranks={"rank": Rank(within=("url",), by=("place", "id"))},
        joins=(
            Join(table="sources", match={"source_id": "source_id"}, columns={"summary": "summary", "words": "words"}),
        ),
    )
    found = records(postgres.url, "pages", form)
    assert found["u_1"].metadata == {
        "id": 1, "url": "u", "source_id": "s", "rank": 1, "summary": "about s", "words": 3,
    }  # fmt: skip
    assert found["u_0"].metadata == {"id": 2, "url": "u", "source_id": None, "rank": 0, "summary": None, "words": None}
    with opened(postgres.url) as database:
        database.use("pages", form)
        source = database.source("pages")
        assert source.existing(["u_1", "u_2"]) == {"u_1"}


def test_a_condition_of_the_plan_chooses_rows(postgres: Server):
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, owner int, embedding vector(1));"
        "INSERT INTO items SELECT n, n % 3, '[1]' FROM generate_series(1, 30) n"
    )
    form = Form(key=("id",), vectors={"": "embedding"}, columns=("owner",), where="owner = 1 OR owner = 2")
    with opened(postgres.url_with(partition_rows="5")) as database:
        database.use("items", form)
        source = database.source("items")
        assert source.count() == source.describe().count == len(read_all(source)) == 20
        assert source.existing(["3", "4"]) == {"4"}
        source.close()


def test_a_table_without_vectors_is_a_collection_when_it_is_asked_for(postgres: Server):
    postgres.execute(
        "CREATE TABLE sources (source_id text PRIMARY KEY, summary text); INSERT INTO sources VALUES ('a', 'b')"
    )
    with opened(postgres.url) as database:
        assert list(database.collections()) == []
        (table,) = database.tables()
        database.use("sources", guess(table))
        assert [spec.vectors for spec in database.collections()] == [()]
        (record,) = read_all(database.source("sources"))
        assert (record.id, record.metadata) == ("a", {"summary": "b"})


HOSTILE = ['"; DROP TABLE items; --', "it's", "select", "Größe", "a b", "x" * 63, "%s", "{}", "\\"]


def test_names_are_never_taken_for_sql(postgres: Server):
    """In schema, table, column and key of the JSON alike."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in HOSTILE]
    for name in quoted:
        postgres.execute(f"CREATE SCHEMA {name}")
        columns = ", ".join(f"{column} text" for column in quoted)
        postgres.execute(f"CREATE TABLE {name}.{name} ({columns}, id int PRIMARY KEY, v vector(1), metadata jsonb)")
        with postgres.connect() as connection:
            row = connection.cursor()
            places = ", ".join(["%s"] * len(HOSTILE))
            keys = json.dumps({f"k{key}": 1 for key in HOSTILE})
            insert = f"INSERT INTO {name.replace('%', '%%')}.{name.replace('%', '%%')} VALUES ({places}, 1, '[1]', %s)"
            row.execute(insert.encode(), [*HOSTILE, keys])
    wanted = {**{name: name for name in HOSTILE}, **{f"k{name}": 1 for name in HOSTILE}}
    with opened(postgres.url) as database:
        specs = list(database.collections())
        assert sorted(spec.name for spec in specs) == sorted(HOSTILE)
        for spec in specs:
            (record,) = read_all(database.source(spec.qualified_name))
            assert record.metadata == wanted


def test_all_partitions_see_one_state(postgres: Server):
    """What is written and removed after the first read is not seen, in no partition."""
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1));"
        "INSERT INTO items SELECT n, '[1]' FROM generate_series(1, 300) n"
    )
    with opened(postgres.url_with(partition_rows="100")) as database, closing(database.source("items")) as source:
        first, *others = source.partitions()
        seen = sum(chunk.batch.num_rows for chunk in source.read(first))
        postgres.execute(
            "DELETE FROM items WHERE id > 150; INSERT INTO items SELECT n, '[2]' FROM generate_series(900, 999) n"
        )
        seen += sum(chunk.batch.num_rows for partition in others for chunk in source.read(partition))
        assert (seen, source.count()) == (300, 300)
    with opened(postgres.url) as database:
        assert database.source("items").count() == 250


def test_reading_goes_on_by_key_when_the_snapshot_is_gone(postgres: Server, told: list[str]):
    """The connection that held it was cut: the rest comes from a later state, and that is said."""
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1));"
        "INSERT INTO items SELECT n, '[1]' FROM generate_series(1, 300) n"
    )
    with opened(postgres.url_with(partition_rows="100")) as database, closing(database.source("items")) as source:
        first, *others = source.partitions()
        seen = list(source.read(first))
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vecferry'")
        seen += [chunk for partition in others for chunk in source.read(partition)]
    assert sum(chunk.batch.num_rows for chunk in seen) == 300
    assert any("was cut" in one for one in told)


def test_behind_a_transaction_pooler_tables_are_read_page_by_page(postgres: Server, told: list[str]):
    """No snapshot is held, every page is a transaction of its own, and a person is told."""
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1));"
        "INSERT INTO items SELECT n, '[1]' FROM generate_series(1, 300) n"
    )
    url = postgres.url_with(pooler="transaction", chunk_rows="10")
    with opened(url) as database, closing(database.source("items")) as source:
        assert database.identity.transport == "pages"
        assert any("pooler in transaction mode" in one for one in told)
        (partition,) = source.partitions()
        chunks = source.read(partition)
        seen = [next(chunks) for _ in range(3)]
        assert postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == [(0,)]
        seen += chunks
        rest = source.read(partition, after=seen[4].position)
        assert sum(chunk.batch.num_rows for chunk in rest) == 250
    assert [id_ for chunk in seen for id_ in chunk.batch.column("id").to_pylist()] == [str(n) for n in range(1, 301)]


def test_a_name_that_there_is_not_names_those_that_there_are(postgres: Server):
    postgres.execute("CREATE TABLE items (id int PRIMARY KEY, embedding vector(1))")
    with opened(postgres.url) as database, pytest.raises(NotFound) as caught:
        database.source("itmes")
    assert "public/items" in (caught.value.hint or "")


def test_a_table_that_was_dropped_meanwhile_is_not_found(postgres: Server):
    postgres.execute("CREATE TABLE items (id int PRIMARY KEY, embedding vector(1))")
    with opened(postgres.url) as database, closing(database.source("items")) as source:
        postgres.execute("DROP TABLE items")
        with pytest.raises(NotFound):
            source.partitions()


def test_drop_removes_a_table_and_no_view(postgres: Server):
    postgres.execute("CREATE TABLE items (id int PRIMARY KEY, embedding vector(1)); CREATE TABLE other (id int)")
    with opened(postgres.url) as database:
        database.drop("public/items")
        database.drop("items")
        assert [table.name for table in database.tables()] == ["other"]


def test_schema_and_table_options_narrow_what_is_seen(postgres: Server):
    postgres.execute(
        "CREATE SCHEMA rag; CREATE TABLE rag.a (id int PRIMARY KEY, v vector(1));"
        "CREATE TABLE rag.b (id int PRIMARY KEY, v vector(1)); CREATE TABLE c (id int PRIMARY KEY, v vector(1))"
    )
    with opened(postgres.url_with(schema="rag")) as database:
        assert [spec.qualified_name for spec in database.collections()] == ["rag/a", "rag/b"]
        assert database.home == ("rag",)
    with opened(postgres.url_with(table="b,c")) as database:
        assert [spec.qualified_name for spec in database.collections()] == ["public/c", "rag/b"]


def test_a_run_that_goes_on_is_told_of_the_other_state_once(postgres: Server, told: list[str]):
    """A retry within one state needs no word."""
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1));"
        "INSERT INTO items SELECT n, '[1]' FROM generate_series(1, 300) n"
    )
    with opened(postgres.url_with(chunk_rows="100")) as database:
        with closing(database.source("items")) as source:
            (partition,) = source.partitions()
            first = next(iter(source.read(partition)))
            list(source.read(partition, after=first.position))
        assert not any("goes on by key" in one for one in told)
        with closing(database.source("items")) as source:
            for _ in range(2):
                list(source.read(partition, after=first.position))
        assert sum("goes on by key" in one for one in told) == 1


def test_a_metric_that_nothing_tells_is_said(postgres: Server, told: list[str]):
    postgres.execute("CREATE TABLE items (id int PRIMARY KEY, a vector(1), b bit(8), c vector(1));")
    postgres.execute("CREATE INDEX ON items USING hnsw (c vector_l2_ops)")
    with opened(postgres.url) as database:
        database.source("items").close()
        database.source("items").close()
    assert told == ["No index tells the metric of public/items 'a' 'b': cosine and hamming is taken."]


@pytest.mark.parametrize("name", ["items", "seen"])
def test_a_watched_table_tells_of_every_write(postgres: Server, name: str):
    """Of a row that came, went, or got another vector; not of reading, nor of a vacuum."""
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1)); CREATE VIEW seen AS SELECT * FROM items;"
        "INSERT INTO items SELECT n, '[1]' FROM generate_series(1, 30) n"
    )
    with opened(postgres.url) as database:
        database.use(name, Form(key=("id",), vectors={"": "embedding"}))
        with closing(database.source(name)) as source:
            for write in (
                "INSERT INTO items VALUES (99, NULL)",
                "UPDATE items SET embedding = '[2]' WHERE id = 3",
                "DELETE FROM items WHERE id = 5",
            ):
                changed = source.watch()
                read_all(source)
                postgres.execute("VACUUM FREEZE items")
                assert not changed()
                postgres.execute(write)
                assert changed()


def test_ranges_of_a_large_table_come_from_a_sample(postgres: Server, monkeypatch: pytest.MonkeyPatch):
    """The same sample every time, of which the ranges are of like size and cover every row once."""
    monkeypatch.setattr(keys, "SAMPLED", 100)
    monkeypatch.setattr(keys, "_SAMPLE", 10_000)
    postgres.execute(
        "CREATE TABLE items (a int, b text, embedding vector(1), PRIMARY KEY (a, b));"
        "INSERT INTO items SELECT n / 3, 'row ' || n, '[1]' FROM generate_series(1, 20000) n"
    )
    with opened(postgres.url_with(partition_rows="2000")) as database, closing(database.source("items")) as source:
        partitions = source.partitions()
        assert partitions == source.partitions()
        sizes = [sum(chunk.batch.num_rows for chunk in source.read(partition)) for partition in partitions]
        assert (len(sizes), sum(sizes)) == (10, 20_000)
        assert min(sizes) > 500
        assert max(sizes) < 5_000


def test_what_is_read_as_a_text_contains_nothing(postgres: Server):
    """Arrays of dates, and those that do not begin at 1, are no lists: as the reference evaluator has it."""
    postgres.execute("CREATE TABLE items (id int PRIMARY KEY, e vector(2), days date[], pages int[])")
    postgres.execute(
        "INSERT INTO items VALUES (1, '[1,2]', '{2026-01-02}', '{1,2}'), (2, '[1,2]', NULL, '[0:1]={1,2}')"
    )
    with opened(postgres.url) as database, closing(database.source("items")) as source:
        found = [source.count_where(node) for node in (Contains("days", "2026-01-02"), Contains("pages", 1))]
    assert found == [0, 1]
