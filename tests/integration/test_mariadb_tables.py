"""Tables that somebody else made in MariaDB: every type and kind of key, read exactly and given back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from vecferry.arrow import to_records
from vecferry.connectors.mariadb.database import MariaDatabase
from vecferry.errors import ConfigError, DataError
from vecferry.events import Event, Notice, listening
from vecferry.filters import Compare, Exists, Op
from vecferry.model import Card, CollectionSpec, IdKind, Metric, Record
from vecferry.planning.presets import parse_preset
from vecferry.planning.tabled import presets_for
from vecferry.registry import open_database
from vecferry.tables import Form, Join
from vecferry.tables.wish import Wish, shape
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.mariadb import MariaDBDatabase

DIM = 4
TYPES = """CREATE TABLE `every ``type` (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, v VECTOR(4) NOT NULL, content LONGTEXT,
    metadata JSON, other JSON, f FLOAT, d DOUBLE, n DECIMAL(30,10), at DATETIME(3), ts TIMESTAMP(6) NULL, day DATE,
    t TIME(2), y YEAR, bits BIT(10), raw BLOB, fixed BINARY(4), e ENUM('x','it''s'), s SET('a','b'), yes TINYINT(1),
    big BIGINT UNSIGNED, u UUID, ip INET6, latin VARCHAR(20) CHARACTER SET latin1, twice INT AS (yes * 2) VIRTUAL,
    made VARCHAR(10) NOT NULL DEFAULT 'a''b', thrice INT AS (yes * 3) STORED INVISIBLE,
    unseen INT NOT NULL DEFAULT 7 INVISIBLE,
    changed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    KEY (big), KEY prefix (content(10)),
    VECTOR INDEX (v) M=8 DISTANCE=cosine)"""
ROW = {
    "v": np.arange(DIM, dtype="<f4").tobytes(),
    "content": "text 'quoted' \\ \0 日本語 🛳️",
    "metadata": '{"b": 1, "a": [1e300, 18446744073709551616, -0.0], "f": "mine", "metadata.f": 2}',
    "other": ' {"x": [1, 0.12345678901234567890123, 123456789012345678901]}',
    "f": 0.1,
    "d": 1e-300,
    "n": "-1.5000000000",
    "at": "2026-01-02 03:04:05.678",
    "ts": "2026-01-02 03:04:05.678901",
    "day": "2026-01-02",
    "t": "-838:59:59.99",
    "y": 2026,
    "bits": b"\x02\xaa",
    "raw": b"\x00\xff'\\",
    "fixed": b"\x00\x01\x02\x03",
    "e": "it's",
    "s": "a,b",
    "yes": 1,
    "big": 2**64 - 1,
    "u": "550e8400-e29b-41d4-a716-446655440000",
    "ip": "::1",
    "latin": "é",
    "made": "ä",
    "unseen": 8,
    "changed": "2026-01-02 03:04:05.678",
}
METADATA: dict[str, Any] = {
    "b": 1,
    "a": [1e300, 2**64, -0.0],
    "metadata.f": "mine",
    "metadata.metadata.f": 2,
    "other": {"x": [1, Decimal("0.12345678901234567890123"), 123456789012345678901]},
    "f": float(np.float32(0.1)),
    "d": 1e-300,
    "n": Decimal("-1.5000000000"),
    "at": datetime(2026, 1, 2, 3, 4, 5, 678000),  # noqa: DTZ001 (naive on purpose)
    "ts": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "t": "-838:59:59.99",
    "y": 2026,
    "bits": 0x2AA,
    "raw": b"\x00\xff'\\",
    "fixed": b"\x00\x01\x02\x03",
    "e": "it's",
    "s": "a,b",
    "yes": 1,
    "big": 2**64 - 1,
    "u": "550e8400-e29b-41d4-a716-446655440000",
    "ip": "::1",
    "latin": "é",
    "made": "ä",
    "unseen": 8,
    "changed": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
}
DEFAULTS = {"made": "a'b", "unseen": 7, "changed": METADATA["changed"]}


@pytest.fixture
def store(mariadb: MariaDBDatabase) -> Iterator[MariaDatabase]:
    database = open_database(mariadb.url)
    assert isinstance(database, MariaDatabase)
    yield database
    database.close()


def insert(database: MariaDBDatabase, table: str, *rows: dict[str, Any], mode: str = "STRICT_ALL_TABLES") -> None:
    with database.connect(sql_mode=mode, charset="utf8mb4") as connection, connection.cursor() as cursor:
        for row in rows:
            names, places = ", ".join(map(quoted, row)), ", ".join(["%s"] * len(row))
            cursor.execute(f"INSERT INTO {quoted(table)} ({names}) VALUES ({places})", [*row.values()])


def quoted(name: str) -> str:
    """For a statement with parameters."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


def vector(*values: float) -> bytes:
    return np.asarray(values, "<f4").tobytes()


def test_every_type_of_column_is_read_exactly(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute(TYPES)
    insert(mariadb, "every `type", ROW, {"v": ROW["v"], "changed": ROW["changed"]})
    source = store.source("every `type")
    spec = source.describe()
    assert (spec.id_kind, spec.vectors[0].metric, spec.vectors[0].dim) == (IdKind.INT, Metric.COSINE, DIM)
    full, bare = sorted(read_all(source), key=lambda record: int(record.id))
    assert full.document == ROW["content"]
    assert_same([replace(full, metadata=METADATA)], [full])
    assert bare.metadata == {**dict.fromkeys(set(METADATA) & set(ROW)), "metadata.": None, **DEFAULTS}
    assert bare.document is None


def test_the_very_table_comes_home(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute(TYPES)
    insert(mariadb, "every `type", ROW, {"v": ROW["v"], "day": "2026-01-02"})
    before = store.source("every `type")
    spec, records = before.describe(), read_all(before)
    home = replace(spec, name="home", card=Card(id_kind=spec.id_kind, vectors=spec.vectors))
    sink = store.sink(home)
    sink.prepare(home)
    for partition in before.partitions():
        for chunk in before.read(partition):
            assert sink.write(chunk.batch).rows == chunk.batch.num_rows
            sink.write(chunk.batch)
    sink.finish()
    assert_same(records, read_all(store.source("home")))
    columns = ", ".join(f"`{name}`" for name in ROW if name not in ("metadata", "other"))
    old, new = (
        mariadb.execute(f"SELECT id, twice, thrice, {columns} FROM {name}") for name in ("`every ``type`", "home")
    )
    assert old == new
    shown = [mariadb.execute(f"SHOW CREATE TABLE {name}")[0][1] for name in ("`every ``type`", "home")]
    assert sorted(shown[0].split("\n")[1:-1]) == sorted(shown[1].split("\n")[1:-1])
    mariadb.execute("INSERT INTO home (v) SELECT v FROM home LIMIT 1")
    assert mariadb.execute("SELECT MAX(id) FROM home") == [(3,)]


EMPTY_KEYS = [
    ('{"":1,"x":{"":[{"":2}]}}', '{"":""}'),
    ('{"":"a: \\"b\\" :"}', '""'),
    ('{"":[0.12345678901234567890123],"a":{"":{"":0.5}}}', '{"":18446744073709551617}'),
    ('{"":-0.0,"b":123456789012345678901234567890}', '[{"":0.12345678901234567890123}]'),
    ('""', None),
]
"""(metadata, other): an empty key at every depth, beside numbers that need care."""


def test_an_empty_key_is_a_key_like_any_other(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(1) NOT NULL, metadata JSON, other JSON)")
    insert(mariadb, "t", *({"id": n, "v": vector(1), "metadata": m, "other": o} for n, (m, o) in enumerate(EMPTY_KEYS)))
    source = store.source("t")
    home = replace(source.describe(), name="home", card=Card(id_kind=IdKind.INT, vectors=source.describe().vectors))
    own = replace(home, name="own", config={})
    for spec in (home, own):
        sink = store.sink(spec)
        sink.prepare(spec)
        for partition in source.partitions():
            for chunk in source.read(partition):
                assert not chunk.rejected
                sink.write(chunk.batch)
        assert_same(read_all(source), read_all(store.source(spec.name)))
    assert mariadb.execute("SELECT metadata, other FROM home ORDER BY id") == EMPTY_KEYS
    assert store.source("own").count_where(Compare("", Op.EQ, 1)) == 1
    assert store.source("own").count_where(Exists("")) == 4


def test_a_table_with_history_is_read_as_it_is_now(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(1) NOT NULL, n INT) WITH SYSTEM VERSIONING")
    insert(mariadb, "t", {"id": 1, "v": vector(1), "n": 1}, {"id": 2, "v": vector(1), "n": 1})
    mariadb.execute("UPDATE t SET n = 2 WHERE id = 1")
    mariadb.execute("DELETE FROM t WHERE id = 2")
    assert [spec.name for spec in store.collections()] == ["t"]
    assert [record.metadata for record in read_all(store.source("t"))] == [{"n": 2}]


def test_bits_are_numbers_also_in_a_proposed_preset(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    """In PostgreSQL `bit(10)` is a vector."""
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(1) NOT NULL, flags BIT(10))")
    mariadb.execute("CREATE TABLE bare (id INT PRIMARY KEY, flags BIT(10))")
    _, text = presets_for(store)
    (sketched,) = parse_preset(text, name="t").tables
    assert (sketched.table, sketched.vectors, sketched.columns) == ("t", {"": "v"}, ("flags",))
    store.use("t", shape(store.tables()[1], Wish()))
    assert store.source("t").describe().vectors[0].dim == 1
    with pytest.raises(ConfigError, match="holds no vectors but bit"):
        store.use("t", Form(key=("id",), vectors={"": "flags"}))


def test_dates_that_the_calendar_does_not_have_stay_texts(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(4) NOT NULL, day DATE, at DATETIME)")
    insert(mariadb, "t", {"id": 1, "v": vector(1, 2, 3, 4), "day": "0000-00-00", "at": "2026-00-00 00:00:00"}, mode="")
    insert(mariadb, "t", {"id": 2, "v": vector(1, 2, 3, 4), "day": "2026-01-02", "at": "2026-01-02 03:04:05"})
    source = store.source("t")
    first, second = (record.metadata for record in sorted(read_all(source), key=lambda record: record.id))
    assert first == {"day": "0000-00-00", "at": "2026-00-00T00:00:00"}
    assert second == {"day": date(2026, 1, 2), "at": datetime(2026, 1, 2, 3, 4, 5)}  # noqa: DTZ001 (naive on purpose)
    assert source.count_where(Compare("day", Op.EQ, "0000-00-00")) == 1
    assert source.count_where(Compare("day", Op.EQ, "2026-01-02")) == 0
    assert source.count_where(Exists("day")) == 2


KEYS = {
    "binary texts": ("k VARCHAR(20) COLLATE utf8mb4_nopad_bin PRIMARY KEY", ["a", "A", "a ", "ä", "Z", "b\n"]),
    "texts without case": ("k VARCHAR(20) PRIMARY KEY", ["a", "B", "c", "ß", "Æ", "日", "Z"]),
    "latin1": ("k VARCHAR(20) CHARACTER SET latin1 PRIMARY KEY", ["é", "a", "z", "Ö"]),
    "bytes": ("k VARBINARY(8) PRIMARY KEY", [b"\x00", b"\xff\xfe", b"a", b"A", b"\x00\x00"]),
    "signed": ("k BIGINT PRIMARY KEY", [-5, 0, 7, -(2**63), 2**63 - 1]),
    "unsigned": ("k BIGINT UNSIGNED PRIMARY KEY", [0, 2**64 - 1, 2**63]),
    "uuid": ("k UUID PRIMARY KEY", [f"{n:08x}-e29b-41d4-a716-44665544{n:04x}" for n in (3, 1, 2, 9)]),
    "moments": (
        "k DATETIME(6) PRIMARY KEY",
        ["2026-01-02 03:04:05.000001", "2026-01-02 03:04:05"],
    ),
    "decimals": ("k DECIMAL(20,5) PRIMARY KEY", ["1.10000", "-2.00000", "10.00000"]),
}


@pytest.mark.parametrize("name", KEYS)
def test_no_key_is_skipped_and_none_comes_twice(mariadb: MariaDBDatabase, name: str) -> None:
    """Ranges and positions by the column's own collation, from every record on."""
    column, values = KEYS[name]
    mariadb.execute(f"CREATE TABLE t ({column}, v VECTOR(4) NOT NULL)")
    insert(mariadb, "t", *({"k": value, "v": vector(1, 2, 3, n)} for n, value in enumerate(values)))
    store = open_database(mariadb.url_with(partition_rows="1"))
    source: Any = store.source("t")
    partitions = list(source.partitions())
    assert len(partitions) == len(values)
    records = read_all(source)
    assert sorted(float(record.vectors[""][3]) for record in records) == list(range(len(values)))
    whole = replace(partitions[0], bounds="\n")
    ordered = [record for chunk in source.read(whole) for record in to_records(chunk.batch, source.describe())]
    for place, record in enumerate(ordered):
        (found,) = to_records(source.fetch([record.id]), source.describe())
        assert found.id == record.id
        position = next(iter(source.read(partitions[place]))).position
        rest = [r for chunk in source.read(whole, after=position) for r in to_records(chunk.batch, source.describe())]
        assert [r.id for r in rest] == [r.id for r in ordered[place + 1 :]]
    store.close()


def test_ids_are_compared_letter_by_letter(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    """A key without case finds 'A' where 'a' was asked for; we do not, and delete nothing else either."""
    mariadb.execute("CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, v VECTOR(4) NOT NULL)")
    insert(mariadb, "t", {"k": "a", "v": vector(1, 2, 3, 4)})
    source = store.source("t")
    assert source.fetch(["A", "a "]).num_rows == 0
    assert source.existing(["A", "a"]) == {"a"}
    sink = store.sink(source.describe())
    sink.prepare(source.describe())
    sink.delete(["A"])
    assert source.count() == 1


def test_a_key_without_case_never_costs_another_record_its_row(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    """ON DUPLICATE KEY UPDATE would replace 'a' by 'A', and by 'a ' with a space, and call it written."""
    for name, collation in (("t", "utf8mb4_uca1400_ai_ci"), ("exact", "utf8mb4_nopad_bin")):
        mariadb.execute(f"CREATE TABLE {name} (k VARCHAR(20) COLLATE {collation} PRIMARY KEY, v VECTOR(4) NOT NULL)")
    insert(mariadb, "t", {"k": "a", "v": vector(1, 2, 3, 4)})
    source = store.source("exact")
    sink = store.sink(replace(source.describe(), name="t"))
    sink.prepare(replace(source.describe(), name="t"))
    for text in ("A", "a "):
        mariadb.execute("DELETE FROM exact")
        insert(mariadb, "exact", {"k": text, "v": vector(5, 6, 7, 8)})
        (chunk,) = source.read(source.partitions()[0])
        for _ in range(2):  # as an insert, and as an upsert
            with pytest.raises(DataError):
                sink.write(chunk.batch)
    insert(mariadb, "exact", {"k": "a", "v": vector(9, 9, 9, 9)})
    mariadb.execute("DELETE FROM exact WHERE k <> 'a'")
    (chunk,) = source.read(source.partitions()[0])
    sink.write(chunk.batch)
    assert mariadb.execute("SELECT k, v FROM t") == [("a", vector(9, 9, 9, 9))]


def test_an_empty_id_is_told_and_set_aside(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute("CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, v VECTOR(4) NOT NULL)")
    insert(mariadb, "t", {"k": "", "v": vector(1, 2, 3, 4)}, {"k": "a", "v": vector(1, 2, 3, 4)})
    source = store.source("t")
    (chunk,) = source.read(source.partitions()[0])
    assert chunk.batch.column("id").to_pylist() == ["a"]
    assert [rejection.reason for rejection in chunk.rejected] == ["its id is an empty text"]


def test_composite_keys(mariadb: MariaDBDatabase) -> None:
    mariadb.execute("CREATE TABLE t (url VARCHAR(50), n INT, v VECTOR(4) NOT NULL, PRIMARY KEY (url, n))")
    rows = [{"url": url, "n": n, "v": vector(1, 2, 3, n)} for url in ("a", "b'", "c\\") for n in (-1, 0, 10)]
    insert(mariadb, "t", *rows)
    store = open_database(mariadb.url_with(partition_rows="2"))
    source: Any = store.source("t")
    assert source.describe().id_kind is IdKind.COMPOSITE
    records = read_all(source)
    assert {record.id for record in records} == {f'["{u}",{n}]' for u in ("a", "b'", "c\\\\") for n in (-1, 0, 10)}
    assert records[0].metadata == {"url": "a", "n": -1}
    assert source.existing(['["a",0]', '["a",1]', "nonsense"]) == {'["a",0]'}
    spec = replace(source.describe(), name="home", card=Card(id_kind=IdKind.COMPOSITE))
    copy(store, source, spec)
    assert mariadb.execute("SELECT * FROM home ORDER BY url, n") == mariadb.execute("SELECT * FROM t ORDER BY url, n")
    store.close()


def copy(store: Any, source: Any, spec: CollectionSpec) -> None:
    sink = store.sink(spec)
    sink.prepare(spec)
    for partition in source.partitions():
        for chunk in source.read(partition):
            sink.write(chunk.batch)
    sink.finish()


def test_a_table_without_a_key_is_in_the_way_of_no_other(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute("CREATE TABLE bare (n INT, v VECTOR(2) NOT NULL)")
    mariadb.execute("CREATE TABLE whole (n INT PRIMARY KEY, v VECTOR(2) NOT NULL)")
    assert [spec.name for spec in store.collections()] == ["whole"]


def test_a_table_without_a_key_is_refused_with_the_fix(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute("CREATE TABLE t (n INT, v VECTOR(4) NOT NULL)")
    insert(mariadb, "t", {"n": 1, "v": vector(1, 2, 3, 4)}, {"n": 1, "v": vector(1, 2, 3, 5)})
    with pytest.raises(ConfigError) as refused:
        store.source("t")
    assert "key: [column]" in (refused.value.hint or "")
    store.use("t", Form(key=("n",), vectors={"": "v"}))
    with pytest.raises(DataError) as twice:
        store.source("t").partitions()
    assert twice.value.ids == ('["1"]',)
    insert(mariadb, "t", {"n": 2, "v": vector(1, 2, 3, 6)}, {"n": None, "v": vector(1, 2, 3, 7)})
    store.use("t", Form(key=("n",), vectors={"": "v"}, where="n > 1"))
    assert [record.id for record in read_all(store.source("t"))] == ["2"]  # what is left out need not be told apart


def test_joins_and_conditions_of_a_form(mariadb: MariaDBDatabase, store: MariaDatabase) -> None:
    mariadb.execute("CREATE TABLE sources (name VARCHAR(20) PRIMARY KEY, words INT, seen DATETIME)")
    mariadb.execute(
        "CREATE TABLE pages (id INT PRIMARY KEY, v VECTOR(4) NOT NULL, content TEXT, source VARCHAR(20), "
        "FOREIGN KEY (source) REFERENCES sources (name))"
    )
    insert(mariadb, "sources", {"name": "s", "words": 7, "seen": "2026-01-02 03:04:05"})
    insert(mariadb, "pages", *({"id": n, "v": vector(1, 2, 3, n), "source": "s" if n else None} for n in range(3)))
    join = Join(table="sources", match={"source": "name"}, columns={"source_words": "words", "seen": "seen"})
    form = Form(key=("id",), vectors={"": "v"}, document="content", columns=("source",), joins=(join,), where="id < 2")
    store.use("pages", form)
    source = store.source("pages")
    found = {record.id: record.metadata for record in read_all(source)}
    assert found == {
        "0": {"source": None, "source_words": None, "seen": None},
        "1": {"source": "s", "source_words": 7, "seen": datetime(2026, 1, 2, 3, 4, 5)},  # noqa: DTZ001 (naive on purpose)
    }
    assert source.describe().count == source.count() == 2
    store.use("sources", Form(key=("name",), columns=("words", "seen")))
    (parent,) = read_all(store.source("sources"))
    assert (parent.id, parent.vectors) == ("s", {})
    assert {table.name for table in store.tables()} == {"pages", "sources"}


def test_one_snapshot_is_of_one_moment(mariadb: MariaDBDatabase) -> None:
    """With `snapshot=1` rows that come, go or change while it is read are as they were when it began."""
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(4) NOT NULL, content LONGTEXT)")
    insert(mariadb, "t", *({"id": n, "v": vector(1, 2, 3, n), "content": "x" * 20_000} for n in range(3_000)))
    found = {}
    for snapshot in ("0", "1"):
        store = open_database(mariadb.url_with(snapshot=snapshot, partition_rows="1000"))
        source: Any = store.source("t")
        partitions = list(source.partitions())
        readers = [source.read(partition) for partition in partitions]
        records: list[Record] = to_records(next(readers[0]).batch, source.describe())
        mariadb.execute(f"UPDATE t SET content = 'changed {snapshot}' WHERE id = 2999")
        for reader in readers:
            records += [record for chunk in reader for record in to_records(chunk.batch, source.describe())]
        found[snapshot] = (len(partitions), {record.id: record.document for record in records}["2999"])
        store.close()
    assert found == {"0": (3, "changed 0"), "1": (1, "changed 0")}


HOSTILE = ["select", "`; DROP TABLE t; --", "a'b", 'a"b', "äöü 日本", "x" * 64, "a.b", "%s", "a b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(mariadb: MariaDBDatabase, store: MariaDatabase, name: str) -> None:
    """As a table, a column, a metadata key: only ever a name."""
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    named = quoted(name)
    with mariadb.connect(charset="utf8mb4") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {named} (id INT PRIMARY KEY, {named} INT, v VECTOR(4) NOT NULL)", [])
    insert(mariadb, name, {"id": 1, name: 5, "v": vector(1, 2, 3, 4)})
    source = store.source(name)
    (record,) = read_all(source)
    assert record.metadata == {name: 5}
    assert source.count_where(Compare(name, Op.EQ, 5)) == 1
    spec = replace(source.describe(), name=name[:-1] + "é", config={}, card=Card(id_kind=IdKind.INT))
    copy(store, source, spec)
    own = store.source(spec.name)
    assert_same([record], read_all(own))
    assert own.count_where(Compare(name, Op.EQ, 5)) == 1
    store.drop(spec.name)
    assert mariadb.execute("SELECT COUNT(*) FROM t") == [(0,)]


def test_what_ranges_mean_is_told_once(mariadb: MariaDBDatabase) -> None:
    """A person reads in log and report of which moment the rows are; of a snapshot there is nothing to tell."""
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(4) NOT NULL)")
    told: dict[str, list[str]] = {}
    for snapshot in ("0", "1"):
        with closing(open_database(mariadb.url_with(snapshot=snapshot))) as store:
            heard: list[Event] = []
            with listening(heard.append):
                for _ in range(2):
                    list(store.source("t").partitions())
            told[snapshot] = [event.message for event in heard if isinstance(event, Notice)]
    assert len(told["0"]) == 1
    assert "snapshot=1" in told["0"][0]
    assert told["1"] == []
