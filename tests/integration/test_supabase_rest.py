"""supabase+https:// reads what postgresql:// reads, value by value, and says what it cannot know."""

from __future__ import annotations

import base64
import json
import logging

import numpy as np
import pytest

from tests.supabase_data import AUTHENTICATOR, fill_crawl4ai_rag, supabase_project
from vecferry import arrow
from vecferry.errors import (
    AuthFailed,
    ConfigError,
    CorruptData,
    NotFound,
    Throttled,
    Unavailable,
    Unsupported,
    VecferryError,
)
from vecferry.model import IdKind, Metric
from vecferry.protocols import Fetchable
from vecferry.registry import open_database
from vecferry.tables import Form, Join, Rank, guess
from vecferry.testing import postgrest_double
from vecferry.testing.http_double import Refusal
from vecferry.testing.postgrest_double import PostgrestDouble

ODD = """
CREATE TABLE odd (
  "first key" text, "second,key" bigint, "when" timestamptz, day date, local timestamp, price numeric, ratio real,
  exact double precision, flag boolean, raw bytea, who uuid, tags text[], counts bigint[], parts real[], told jsonb,
  verbatim json, span interval, address inet, short smallint, content text, "Größe (m²)" int,
  dense vector, half halfvec(3), bits bit(10), sparse sparsevec(9),
  PRIMARY KEY ("first key", "second,key")
)"""
TYPICAL = """
'a,"b".(c)\\d', -9223372036854775808, '2024-02-29 23:59:59.123456+05:30', '0044-03-15 BC', '1066-10-14 01:02:03',
1e-30, 0.1, 5e-324, true, '\\x00ff', '6f9619ff-8b86-d011-b42d-00c04fc964ff', ARRAY['x,y', 'q"', NULL],
ARRAY[4611686018427387904, NULL], ARRAY[0.1, 1.0], '{"b": 12345678901234567890123, "a": [1.50, {"z": null}]}',
'{"b":1.0, "c":2}', '1 mon 2 days', '10.0.0.1/8', -32768, E'text\nof\u2028lines', 7, '[0.1,1e-38,3.4028235e38]',
'[0.1,65504,-0.5]', B'1010000011', '{1:0.1,9:-2}/9'
"""
EXTREME = """
'b', 9223372036854775807, 'infinity', 'infinity', '-infinity', 'NaN', 'Infinity', '-Infinity', false, '', NULL, '{}',
'{}', '{}', 'null', '[]', NULL, NULL, NULL, '', NULL, '[1,2,3]', NULL, NULL, NULL
"""
BARE = "'ü', 0, '9999-12-31 23:59:59+00', '9999-12-31', '0001-01-01 00:00:00', -0.10, NULL, '-0'"

TWICE = f"""'a key twice', 1, {"NULL, " * 13} '{{"b":1.0, "b":2}}'"""


@pytest.fixture(scope="module")
def project(postgres_server):
    """The crawler's tables, private notes, and one table of everything."""
    with supabase_project(postgres_server, "crawl4ai_rag", "private_notes") as database:
        fill_crawl4ai_rag(database, pages=30, examples=5)
        database.execute("INSERT INTO private_notes (owner, body, embedding) VALUES ('ann', 'a', '[1,2,3]')")
        database.execute(ODD)
        database.execute(f"ALTER DATABASE {database.name} SET timezone = '<-0330>+03:30'")  # west of Greenwich
        for row in (TYPICAL, EXTREME, BARE, TWICE):
            database.execute(f"INSERT INTO odd VALUES ({row})")
        yield database


@pytest.fixture
def double(project, monkeypatch):
    with PostgrestDouble(project, password=AUTHENTICATOR) as running:
        monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", running.service_key)
        yield running


@pytest.fixture
def opened():
    """Opens stores and closes them."""
    stores = []

    def open_one(url):
        stores.append(open_database(url))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def records(source, after=None):
    """Every record and rejection of a source, by id."""
    batches, rejected = [arrow.empty(source.describe())], {}
    for partition in source.partitions():
        for chunk in source.read(partition, after=after):
            batches.append(chunk.batch)
            rejected |= {one.id: one.reason for one in chunk.rejected}
    found = {record.id: record for batch in batches for record in arrow.to_records(batch, source.describe())}
    return found, rejected


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, record in one.items():
        twin = other[key]
        assert (record.document, record.uri) == (twin.document, twin.uri), key
        assert repr(record.metadata) == repr(twin.metadata), key  # NaN is not NaN
        assert record.vectors.keys() == twin.vectors.keys()
        for name, vector in record.vectors.items():
            np.testing.assert_equal(vector, twin.vectors[name])


@pytest.mark.parametrize("table", ["crawled_pages", "code_examples", "odd", "private_notes"])
def test_it_reads_what_sql_reads(double, project, opened, table):
    """Every type, every odd value, bit for bit; the same ids, positions and rejections."""
    by_sql, by_rest = opened(f"{project.url}&schema=public"), opened(double.url)
    one, other = by_sql.source(table), by_rest.source(table)
    if table == "odd":
        for store in (by_sql, by_rest):
            there = next(found for found in store.tables() if found.name == table)
            store.use(table, guess(there))
        one, other = by_sql.source(table), by_rest.source(table)
    here, there = records(one), records(other)
    if table == "odd":  # the style of intervals is a setting of the session, which REST has none of
        key = next(iter(here[0]))
        assert (here[0][key].metadata.pop("span"), there[0][key].metadata.pop("span")) == ("P1M2D", "1 mon 2 days")
    assert_same(here[0], there[0])
    assert here[1] == there[1]
    assert one.describe().id_kind == other.describe().id_kind
    assert one.describe().count == other.describe().count == other.count()


def test_tables_are_described(double, opened):
    """Types, keys, parents; what the interface does not show is not made up."""
    tables = {table.name: table for table in opened(double.url).tables()}
    pages = tables["crawled_pages"]
    assert pages.column("embedding").type == "vector(1536)"
    assert pages.column("embedding").nullable
    assert not pages.column("url").nullable
    assert pages.column("id").identity
    assert (pages.primary_key, pages.indexes, pages.unique) == (("id",), (), ())
    assert [(key.columns, key.table, key.targets) for key in pages.foreign_keys] == [
        (("source_id",), "sources", ("source_id",))
    ]
    assert tables["odd"].primary_key == ("first key", "second,key")


def test_answers_that_are_cut_lose_nothing(double, opened):
    """A server that gives three rows where ten were asked for: pages go on until one is empty."""
    double.max_rows = 3
    source = opened(f"{double.url}?page_rows=10").source("crawled_pages")
    assert len(records(source)[0]) == 30
    pages = [one for one in double.seen if one.method == "GET" and ("limit", "10") in one.query]
    assert len(pages) == 11
    assert source.count() == 30


def test_it_goes_on_behind_a_position(double, opened):
    """Composite keys with commas, quotes and brackets in them: strictly behind, nothing twice."""
    database = opened(f"{double.url}?page_rows=1")
    source = database.source("odd")
    assert source.describe().id_kind is IdKind.COMPOSITE
    (partition,) = source.partitions()
    chunks = list(source.read(partition))
    assert [chunk.batch.num_rows + len(chunk.rejected) for chunk in chunks] == [1, 1, 1, 1]
    for number, chunk in enumerate(chunks):
        rest = list(source.read(partition, after=chunk.position))
        assert [one.position for one in rest] == [one.position for one in chunks[number + 1 :]]


def test_records_by_their_ids(double, opened):
    """One key or several; ids that no row can have are left out, not sent."""
    database = opened(double.url)
    pages = database.source("crawled_pages")
    assert pages.existing(["1", "30", "31", "x", "99999999999999999999", "1; drop table"]) == {"1", "30"}
    assert set(pages.fetch([str(n) for n in range(1, 31)]).column("id").to_pylist()) == {str(n) for n in range(1, 31)}
    assert pages.fetch([]).num_rows == 0
    odd = database.source("odd")
    ids = list(records(odd)[0]) + list(records(odd)[1])
    found = odd.existing([*ids, '["b",1]', "b", "[]"])
    assert found == set(records(odd)[0])


def test_rows_that_come_meanwhile_are_told(double, project, opened, caplog):
    """Behind us a row is not read: the counts at the end differ, and the log says so."""
    source = opened(f"{double.url}?page_rows=10").source("crawled_pages")
    number = len(double.seen) + 3  # the count, the first page, then this
    columns, values = "id, url, chunk_number, content, source_id", "-1, 'u', 0, '', 'docs0.example.com'"
    add = f"INSERT INTO crawled_pages ({columns}) VALUES ({values})"
    double.before = lambda asked: asked == number and project.execute(add)
    try:
        with caplog.at_level(logging.WARNING):
            assert "-1" not in records(source)[0]
    finally:
        project.execute("DELETE FROM crawled_pages WHERE id = -1")
    assert "changed while it was read" in caplog.text
    assert "30 rows at first, 31 at the end, 30 read" in caplog.text


def test_rows_that_do_not_come_are_an_error(double, project, opened):
    """A key that is none: rows that share it fall between two pages, and the count at the end tells."""
    project.execute("CREATE VIEW doubled AS SELECT 1 AS k, embedding FROM crawled_pages WHERE id < 5")
    project.execute("GRANT SELECT ON doubled TO service_role")
    database = opened(f"{double.url}?page_rows=2")
    with pytest.raises(ConfigError, match="apart"):
        database.source("doubled")
    database.use("doubled", Form(key=("k",), vectors={"": "embedding"}))
    with pytest.raises(CorruptData, match=r"2 rows of .* and it has 4") as caught:
        records(database.source("doubled"))
    assert "unique" in caught.value.hint
    project.execute("DROP VIEW doubled")


def test_the_key_of_a_visitor_is_warned_of(double, opened, monkeypatch, caplog):
    """It reads no rows, and no error says why: the warning does. Kinds of keys are told apart by their own words."""
    monkeypatch.delenv("SUPABASE_SERVICE_ROLE_KEY")
    for key, visitor in (
        (double.anon_key, True),
        (double.publishable_key, True),
        (double.service_key, False),
        (double.secret_key, False),
    ):
        monkeypatch.setenv("SUPABASE_KEY", key)
        caplog.clear()
        database = opened(double.url)
        assert database.source("private_notes").count() == (0 if visitor else 1)
        assert any("row-level security" in warning for warning in database.warnings) is visitor
        assert ("visitors" in caplog.text) is visitor
        assert key not in caplog.text + repr(database.identity) + str(database.address())


def test_what_is_wrong_with_the_address_or_key_is_said(double, monkeypatch):
    """Each with what to do, none with the key."""
    monkeypatch.delenv("SUPABASE_SERVICE_ROLE_KEY")
    with pytest.raises(ConfigError, match="wants a key"):
        open_database(double.url)
    monkeypatch.setenv("SUPABASE_KEY", "eyJ-a-wrong-key")
    with pytest.raises(AuthFailed, match="Invalid API key") as caught:
        open_database(double.url)
    assert "eyJ-a-wrong-key" not in str(caught.value)
    monkeypatch.setenv("SUPABASE_KEY", double.service_key)
    for url, said in (
        (f"{double.url}?colour=red", "no option 'colour'"),
        (f"{double.url}?page_rows=0", "page_rows=0"),
        (f"{double.url}?password=env:HOME", "no option 'password'"),
        ("supabase:folder", "names no project"),
        (f"{double.url}/elsewhere", "no REST interface"),
    ):
        with pytest.raises(VecferryError, match=said) as wrong:
            open_database(url)
        assert wrong.value.hint
    open_database(f"{double.url}/rest/v1/").close()  # as the project's page shows it
    middle = base64.urlsafe_b64encode(json.dumps({"no": "role"}).encode()).decode()
    monkeypatch.setenv("SUPABASE_KEY", f"a.{middle}.c")
    with pytest.raises(AuthFailed):
        open_database(double.url)


def test_what_only_sql_can_do_is_refused(double, opened):
    """Ranks, conditions, parents elsewhere, writing: with the way that can."""
    database = opened(double.url)
    plain = {"key": ("id",), "vectors": {"": "embedding"}, "columns": ("id", "url", "chunk_number", "source_id")}
    join = Join(table="users", schema="auth", match={"source_id": "source_id"}, columns={"source_summary": "summary"})
    for form in (
        Form(**plain, joins=(join,)),
        Form(**plain, where="chunk_number > 1"),
        Form(**plain, ranks={"place": Rank(within=("url",), by=("chunk_number",))}),
    ):
        with pytest.raises(Unsupported, match="crawled_pages") as caught:
            database.use("crawled_pages", form)
        assert "postgresql://" in caught.value.hint
    with pytest.raises(Unsupported):
        database.sink(database.source("crawled_pages").describe())
    with pytest.raises(NotFound, match="crawled_page"):
        database.source("crawled_page")


def test_ids_with_a_shape_of_their_own(double, project, opened):
    """A template over columns gives the ids that SQL gives."""
    columns = ("id", "url", "chunk_number")
    form = Form(key=("id",), id="md5({url})_{chunk_number}", vectors={"": "embedding"}, columns=columns)
    assert isinstance(opened(double.url).source("crawled_pages"), Fetchable)
    stores = [opened(f"{project.url}&schema=public"), opened(double.url)]
    for store in stores:
        store.use("crawled_pages", form)
    one, other = (store.source("crawled_pages") for store in stores)
    assert_same(records(one)[0], records(other)[0])
    assert not isinstance(other, Fetchable)


def test_parents_stand_in_their_childrens_records(double, project, opened):
    """As a LEFT JOIN has them: several to a page, a child without any, two columns of one key, a type of their own."""
    project.execute("CREATE TABLE shelf (house text, place int, made timestamptz, PRIMARY KEY (house, place))")
    project.execute("INSERT INTO shelf VALUES ('a,\"b', 1, '2024-01-01 00:00+00'), ('c', 2, NULL)")
    project.execute("CREATE TABLE book (id int PRIMARY KEY, house text, place int, tagged text, embedding vector(1))")
    values = "(1, 'a,\"b', 1, 'x', '[1]'), (2, 'c', 2, 'x', '[1]'), (3, 'c', 3, NULL, '[1]'), (4, NULL, 1, 'x', '[1]')"
    project.execute(f"INSERT INTO book VALUES {values}")
    shelf = Join(table="shelf", match={"house": "house", "place": "place"}, columns={"when": "made", "at": "place"})
    source = Join(table="sources", match={"tagged": "source_id"}, columns={"about": "summary"})
    form = Form(key=("id",), vectors={"": "embedding"}, columns=("house", "place"), joins=(shelf, source))
    try:
        stores = [opened(f"{project.url}&schema=public"), opened(f"{double.url}?page_rows=3")]
        for store in stores:
            store.use("book", form)
        one, other = (store.source("book") for store in stores)
        found = records(other)[0]
        assert_same(records(one)[0], found)
        assert [found[str(n)].metadata["at"] for n in (1, 2, 3, 4)] == [1, 2, None, None]
        assert str(found["1"].metadata["when"]) == "2024-01-01 00:00:00+00:00"
        assert other.fetch(["2"]).num_rows == 1
    finally:
        project.execute("DROP TABLE book, shelf")


def test_a_metric_is_taken_and_told(double, opened, caplog):
    """The interface shows no index: cosine, with a word."""
    with caplog.at_level(logging.WARNING):
        (vector,) = opened(double.url).source("crawled_pages").describe().vectors
    assert vector.metric is Metric.COSINE
    assert "tells no metric" in caplog.text


@pytest.mark.parametrize(
    "refusal, kind",
    [
        (Refusal(429, {"Retry-After": "7"}, b'{"message":"too many"}'), Throttled),
        (Refusal(503, {}, b"<html>maintenance</html>"), Unavailable),
        (Refusal(504, {}, b""), Unavailable),
        (Refusal(200, {}, b"<html>sign in</html>"), CorruptData),
        (Refusal(200, {}, b'{"rows":[]}'), CorruptData),
        (Refusal(200, {}, b'[{"c0":"seven"}]'), CorruptData),
        (Refusal(403, {}, b'{"code":"42501","message":"permission denied for table crawled_pages"}'), AuthFailed),
    ],
    ids=["429", "503", "504", "html", "json", "rows", "403"],
)
def test_refusals_in_the_middle(double, opened, refusal, kind):
    """Each as the error that says whether trying again helps; reading then goes on behind the last position."""
    source = opened(f"{double.url}?page_rows=10").source("crawled_pages")
    (partition,) = source.partitions()
    pages = [0]

    def refuse(_number, path, _exact):
        pages[0] += path.endswith("crawled_pages")
        return refusal if pages[0] == 3 else None  # the count, one page, then this

    double.refuse = refuse
    chunks = source.read(partition)
    first = next(chunks)
    with pytest.raises(kind) as caught:
        next(chunks)
    assert caught.value.hint or caught.value.retryable
    if kind is Throttled:
        assert caught.value.retry_after == 7
    rest = list(source.read(partition, after=first.position))
    assert sum(chunk.batch.num_rows for chunk in (first, *rest)) == 30


def test_pages_that_take_too_long_become_smaller(double, opened):
    """A statement timeout halves the page; only where one row is too much it is an error."""
    source = opened(f"{double.url}?page_rows=8").source("crawled_pages")
    slow = json.dumps({"code": "57014", "message": "canceling statement due to statement timeout"}).encode()
    (partition,) = source.partitions()
    begin = len(double.seen)
    double.refuse = lambda number, _path, _exact: Refusal(500, {}, slow) if number in {begin + 2, begin + 3} else None
    assert sum(chunk.batch.num_rows for chunk in source.read(partition)) == 30
    assert source.describe().count == 30
    limits = [dict(one.query)["limit"] for one in double.seen[begin + 1 :]]
    assert limits[:4] == ["8", "4", "2", "2"]
    begin = len(double.seen)
    double.refuse = lambda number, _path, _exact: Refusal(500, {}, slow) if number > begin + 1 else None
    with pytest.raises(Unavailable, match="too long"):
        list(source.read(partition))


def test_a_table_too_large_to_count_is_read_all_the_same(double, opened, caplog):
    """Where exact counts time out there is nothing to compare with, and the log says so."""
    slow = json.dumps({"code": "57014", "message": "canceling statement due to statement timeout"}).encode()
    double.refuse = lambda _number, _path, exact: Refusal(500, {}, slow) if exact else None
    source = opened(double.url).source("crawled_pages")
    assert source.describe().count is None
    assert len(records(source)[0]) == 30
    assert "is not counted" in caplog.text
    with pytest.raises(Unavailable):
        source.count()


def test_dimensions_that_are_not_told_are_looked_up(double, opened, monkeypatch):
    """A description may leave out the dimension, and name the schema of the type: the commonest of the first rows."""
    honest = postgrest_double.description

    def vague(connection):
        told = honest(connection)
        for table in told["definitions"].values():
            for column in table["properties"].values():
                column["format"] = column["format"].replace("vector(1536)", "extensions.vector")
        return told

    monkeypatch.setattr(postgrest_double, "description", vague)
    source = opened(double.url).source("crawled_pages")
    assert [vector.dim for vector in source.describe().vectors] == [1536]
    assert len(records(source)[0]) == 30
