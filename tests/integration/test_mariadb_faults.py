"""What goes wrong with a MariaDB: each is a clear error, nothing is lost, and the same call goes on."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vecferry.arrow import from_records
from vecferry.connectors.mariadb import server as servers
from vecferry.connectors.mariadb.database import MariaDatabase
from vecferry.connectors.mariadb.failures import TooLarge
from vecferry.errors import (
    AuthFailed,
    ConfigError,
    Conflict,
    ConnectorError,
    DataError,
    NotFound,
    StoreFull,
    Unavailable,
    Unsupported,
)
from vecferry.model import CollectionSpec, IdKind, Metric, VectorSpec
from vecferry.registry import open_database
from vecferry.tables import Form
from vecferry.testing.contracts.base import read_all
from vecferry.testing.contracts.cases import DIM, plain_records, target
from vecferry.testing.contracts.compare import assert_same
from vecferry.testing.mariadb import MariaDBDatabase, MariaDBServer
from vecferry.testing.process import hand_over
from vecferry.testing.skips import skip

SPEC = target(CollectionSpec(name="t", id_kind=IdKind.INT, vectors=(VectorSpec(dim=DIM, metric=Metric.L2),)))
StartMariaDB = Callable[..., MariaDBServer]


@pytest.fixture
def store(mariadb: MariaDBDatabase) -> Iterator[Any]:
    with closing(open_database(mariadb.url)) as database:
        yield database


def prepared(store: Any, spec: CollectionSpec = SPEC) -> Any:
    sink = store.sink(spec)
    sink.prepare(spec)
    return sink


# --------------------------------------------------------------------------- coming in


def test_a_wrong_password_is_not_repeated(mariadb: MariaDBDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG", "not-the-password")
    url = mariadb.url.partition("?")[0] + "?password=env:WRONG"
    with pytest.raises(AuthFailed) as refused:
        open_database(url)
    assert "not-the-password" not in str(refused.value)
    assert "MARIADB_PASSWORD" in (refused.value.hint or "")


def test_a_database_that_is_not_there(mariadb: MariaDBDatabase) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        open_database(mariadb.server.url("nowhere"))


def test_nobody_listens(mariadb: MariaDBDatabase) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        open_database(f"mariadb://a@127.0.0.1:1/{mariadb.name}")


@pytest.mark.parametrize(
    "text, said",
    [
        ("mariadb://127.0.0.1", "names no database"),
        ("mariadb://127.0.0.1/a/b", "names no database"),
        ("mariadb://127.0.0.1/a?sockt=x", "no option 'sockt'"),
        ("mariadb://127.0.0.1/a?ssl=maybe", "ssl=maybe"),
        ("mariadb://127.0.0.1/a?ssl_ca=/nowhere", "cannot be read"),
        ("mariadb://127.0.0.1/a?timeout=0", "timeout=0"),
        ("mariadb://127.0.0.1/a?snapshot=yes", "snapshot=yes"),
        ("mariadb://user:secret@127.0.0.1/a", "carries a password"),
    ],
)
def test_a_url_that_is_none(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        open_database(text)
    assert "secret" not in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("version, said", [("10.11.6-MariaDB", "no VECTOR"), ("8.4.0", "no MariaDB")])
def test_a_server_without_vectors(version: str, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        servers._check_version(version, "somewhere")


def test_over_the_unix_socket(mariadb: MariaDBDatabase) -> None:
    if mariadb.server.socket is None:
        pytest.fail("the server of the tests has a socket")
    url = f"mariadb://{mariadb.server.user}@/{mariadb.name}{mariadb.server.query}&socket={mariadb.server.socket}"
    with closing(open_database(url)) as database:
        prepared(database).write(from_records(SPEC, plain_records(SPEC, 3)))
        assert database.identity.where.startswith(str(mariadb.server.socket))


def test_tls(mariadb_with_tls: MariaDBServer, tmp_path: Any) -> None:
    """With its authority the server is known; without TLS, or of another authority, it is not spoken to."""
    from vecferry.testing import certificate

    other = certificate.issue(tmp_path)
    with mariadb_with_tls.fresh_database() as database:
        with closing(open_database(database.url)) as store:
            assert list(store.collections()) == []
            connection = store._server._idle[0]  # type: ignore[attr-defined]
            assert connection._secure
        bare = database.url.partition("&ssl_ca")[0]
        with closing(open_database(f"{bare}&ssl=require")) as store:
            assert store._server._idle[0]._secure  # type: ignore[attr-defined]
        with pytest.raises(ConnectorError) as plain:
            open_database(f"{bare}&ssl=off")
        assert plain.value.hint
        with pytest.raises(ConnectorError, match=r"(?i)certificate") as stranger:
            open_database(f"{bare}&ssl_ca={other.ca}")
        assert "ssl_ca=FILE" in (stranger.value.hint or "")


def test_tls_that_is_asked_for_is_never_left_out(start_mariadb: StartMariaDB) -> None:
    """A server that speaks none, or somebody in between who says so, gets neither password nor records."""
    server = start_mariadb(settings={"skip-ssl": "ON"})
    with server.fresh_database() as database:
        for mode in ("require", "verify"):
            with pytest.raises(ConnectorError) as refused:
                open_database(database.url_with(ssl=mode))
            assert refused.value.hint


# --------------------------------------------------------------------------- the server goes


def test_killed_while_it_is_read(start_mariadb: StartMariaDB) -> None:
    """What was read stays read; reading after the last position goes on, on a new connection."""
    server = start_mariadb()
    with (
        server.fresh_database() as database,
        closing(open_database(database.url_with(partition_rows="100000"))) as store,
    ):
        records = plain_records(SPEC, 60_000)
        prepared(store).write(from_records(SPEC, records))
        source = store.source("t")
        (partition,) = source.partitions()
        reader = source.read(partition)
        first = next(iter(reader))
        server.kill()
        seen = [first]
        with pytest.raises(Unavailable):
            seen.extend(reader)
        with pytest.raises(Unavailable):
            source.count()
        server.start()
        rest = list(source.read(partition, after=seen[-1].position))
        assert len(seen) < 60, "it had not sent everything"
        assert sum(chunk.batch.num_rows for chunk in [*seen, *rest]) == 60_000
        assert source.count() == 60_000


def test_killed_while_it_is_written(start_mariadb: StartMariaDB) -> None:
    """A batch is there whole or not at all, and writing it again is harmless."""
    server = start_mariadb()
    with server.fresh_database() as database, closing(open_database(database.url)) as store:
        records = plain_records(SPEC, 4_000)
        batches = [from_records(SPEC, records[start : start + 500]) for start in range(0, 4_000, 500)]
        sink = prepared(store)
        sink.write(batches[0])
        with ThreadPoolExecutor(2) as pool:
            going = [pool.submit(sink.write, batch) for batch in batches[1:]]
            going[0].result()
            server.kill()
            errors = [one.exception() for one in going]
        assert {type(error) for error in errors if error is not None} <= {Unavailable}
        server.start()
        found = {int(record.id) for record in read_all(store.source("t"))}
        assert all(len(found & set(range(start, start + 500))) in (0, 500) for start in range(0, 4_000, 500))
        assert found >= {n for n in range(4_000) if n < 1_000}
        for batch in batches:
            sink.write(batch)
        sink.finish()
        assert_same(records, read_all(store.source("t")))


# --------------------------------------------------------------------------- other writers


def test_a_lock_that_is_held_too_long(mariadb: MariaDBDatabase, store: Any) -> None:
    sink = prepared(store)
    batch = from_records(SPEC, plain_records(SPEC, 10))
    sink.write(batch)
    with mariadb.connect(autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SET GLOBAL innodb_lock_wait_timeout = 1")
        cursor.execute("UPDATE t SET document = 'held' WHERE id = 5")
        sink._server.close()  # later connections take the new limit
        sink._server._closed = False
        with pytest.raises(Unavailable, match="Lock wait timeout"):
            sink.write(batch)
        cursor.execute("SET GLOBAL innodb_lock_wait_timeout = DEFAULT")
    sink.write(batch)
    assert {record.document for record in read_all(store.source("t"))} != {"held"}


def test_a_deadlock(mariadb: MariaDBDatabase, store: Any) -> None:
    """The smaller transaction is ended: ours. Nothing of it stays, and it can be written again."""
    sink = prepared(store)
    records = plain_records(SPEC, 200)
    sink.write(from_records(SPEC, records))
    changed = [replace(record, document="ours") for record in (records[150], records[0])]
    with mariadb.connect(autocommit=False) as other, other.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("UPDATE t SET document = 'theirs' WHERE id < 100")
        going = pool.submit(sink.write, from_records(SPEC, changed))
        waits = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        while mariadb.execute(waits) == [(0,)]:
            assert not going.done()
        cursor.execute("UPDATE t SET document = 'theirs' WHERE id = 150")
        assert isinstance(going.exception(), Unavailable)
        assert "Deadlock" in str(going.exception())
        other.commit()
    assert mariadb.execute("SELECT COUNT(*) FROM t WHERE document = 'ours'") == [(0,)]
    sink.write(from_records(SPEC, changed))
    assert mariadb.execute("SELECT COUNT(*) FROM t WHERE document = 'ours'") == [(2,)]


def test_a_time_limit_of_the_account_is_lifted(mariadb: MariaDBDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a hoster set would end the reading of every large table."""
    mariadb.execute("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(1) NOT NULL)")
    mariadb.execute("INSERT INTO t VALUES (1, VEC_FromText('[1]'))")
    mariadb.execute("CREATE VIEW slow AS SELECT id, v, SLEEP(0.3) AS took FROM t")
    user = f"vf_{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("MARIADB_PASSWORD", "geheim")
    url = f"mariadb://{user}@{mariadb.server.host}:{mariadb.server.port}/{mariadb.name}"
    mariadb.execute(f"CREATE USER {user} IDENTIFIED BY 'geheim' WITH MAX_STATEMENT_TIME 0.1")
    try:
        mariadb.execute(f"GRANT SELECT, SHOW VIEW ON `{mariadb.name}`.* TO {user}")
        with closing(open_database(url)) as database:
            assert isinstance(database, MariaDatabase)
            database.use("slow", Form(key=("id",), vectors={"": "v"}, columns=("took",)))
            source = database.source("slow")
            assert [record.metadata for record in read_all(source)] == [{"took": 0}]
            with pytest.raises(Unavailable, match="max_statement_time") as ended:
                source._server.rows("SET STATEMENT max_statement_time = 0.1 FOR SELECT took FROM slow")
            assert "tried again" in (ended.value.hint or "")
    finally:
        mariadb.execute(f"DROP USER {user}")


def test_a_full_disk(start_mariadb: StartMariaDB, tmp_path: Path) -> None:
    """The store says so; what was written stays, and with more room the same batch goes in."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        skip("platform", "a small file system can be mounted by root alone")
    try:
        hand_over(small)
        for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
            folder.chmod(0o755)
        server = start_mariadb()
        with server.fresh_database() as database, closing(open_database(database.url)) as store:
            columns = f"id BIGINT UNSIGNED PRIMARY KEY, content LONGTEXT, v VECTOR({DIM}) NOT NULL, metadata JSON"
            database.execute(f"CREATE TABLE t ({columns}) DATA DIRECTORY = '{small}'")
            sink = prepared(store, replace(SPEC, card=None))
            records = plain_records(SPEC, 2_000)
            sink.write(from_records(SPEC, records[:10]))
            large = from_records(SPEC, [replace(record, document="x" * 3_000) for record in records[10:]])
            with pytest.raises(StoreFull, match="is full") as full:
                sink.write(large)
            assert "Make room" in (full.value.hint or "")
            assert len(read_all(store.source("t"))) == 10
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
            assert sink.write(large).rows == 1_990
            assert len(read_all(store.source("t"))) == 2_000
        server.stop()
    finally:
        subprocess.run(["umount", str(small)], check=True)


# --------------------------------------------------------------------------- what does not fit


def test_batches_are_cut_to_max_allowed_packet(start_mariadb: StartMariaDB) -> None:
    server = start_mariadb(settings={"max-allowed-packet": "1M"})
    with server.fresh_database() as database, closing(open_database(database.url)) as store:
        records = [replace(record, document="x" * 200_000) for record in plain_records(SPEC, 20)]
        sink = prepared(store)
        assert sink.write(from_records(SPEC, records)).rows == 20
        assert_same(records, read_all(store.source("t")))
        large = replace(records[3], document="y" * 2_000_000)
        with pytest.raises(TooLarge) as together:
            sink.write(from_records(SPEC, [records[2], large]))
        assert together.value.facts["too_large"] is True
        with pytest.raises(DataError, match="max_allowed_packet") as alone:
            sink.write(from_records(SPEC, [large]))
        assert alone.value.ids == (large.id,)
        assert_same(records, read_all(store.source("t")))


def test_an_adopted_table_keeps_its_other_unique_keys(mariadb: MariaDBDatabase, store: Any) -> None:
    """A record that shares another key with a record of another id is refused; neither is changed."""
    mariadb.execute(f"CREATE TABLE t (id BIGINT PRIMARY KEY, `group` VARCHAR(9) UNIQUE, v VECTOR({DIM}) NOT NULL)")
    first, second = (replace(record, document=None) for record in plain_records(SPEC, 2))
    bare = [replace(record, metadata={"group": name}) for record, name in ((first, "a"), (second, "b"))]
    sink = prepared(store)
    sink.write(from_records(SPEC, bare))
    with pytest.raises(DataError):
        sink.write(from_records(SPEC, [replace(bare[1], metadata={"group": "a"})]))
    assert mariadb.execute("SELECT id, `group` FROM t ORDER BY id") == [(0, "a"), (1, "b")]
    card = store.source("t").describe().card
    assert card is not None


def test_a_table_that_does_not_fit(mariadb: MariaDBDatabase, store: Any) -> None:
    mariadb.execute(f"CREATE TABLE t (id BIGINT PRIMARY KEY, v VECTOR({DIM + 1}) NOT NULL)")
    with pytest.raises(Conflict, match="9 dimensions"):
        prepared(store)
    mariadb.execute("DROP TABLE t")
    mariadb.execute(f"CREATE TABLE b (id BIGINT PRIMARY KEY, v VECTOR({DIM}) NOT NULL)")
    mariadb.execute("CREATE VIEW t AS SELECT * FROM b")
    with pytest.raises((Conflict, ConfigError)):
        prepared(store)


# --------------------------------------------------------------------------- rights


def test_least_privilege(mariadb: MariaDBDatabase, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grants that docs/reference/mariadb.md shows are enough, and each is needed."""
    records = plain_records(SPEC, 20)
    prepared(store).write(from_records(SPEC, records))
    user, name = f"u_{mariadb.name[3:12]}", mariadb.name
    monkeypatch.setenv("MARIADB_PASSWORD", "geheim")
    url = f"mariadb://{user}@{mariadb.server.host}:{mariadb.server.port}/{name}"
    mariadb.execute(f"CREATE USER {user} IDENTIFIED BY 'geheim'")
    try:
        with pytest.raises(AuthFailed):
            open_database(url)
        grant(mariadb, "reading", user)
        with closing(open_database(url)) as reader:
            assert_same(records, read_all(reader.source("t")))
            with pytest.raises(AuthFailed, match="denied") as refused:
                reader.sink(replace(SPEC, name="new")).prepare(replace(SPEC, name="new"))
            assert "docs/reference/mariadb.md" in (refused.value.hint or "")
        grant(mariadb, "writing", user)
        with closing(open_database(url)) as writer:
            sink: Any = writer.sink(replace(SPEC, name="new"))
            sink.prepare(replace(SPEC, name="new"))
            sink.write(from_records(SPEC, records))
            sink.finish()
            sink.delete(["3"])
            assert_same([r for r in records if r.id != "3"], read_all(writer.source("new")))
            with pytest.raises(AuthFailed):
                writer.drop("new")  # type: ignore[attr-defined]
        mariadb.execute(f"GRANT DROP ON {name}.* TO {user}")
        with closing(open_database(url)) as owner:
            owner.drop("new")  # type: ignore[attr-defined]
    finally:
        mariadb.execute(f"DROP USER {user}")


def grant(mariadb: MariaDBDatabase, what: str, user: str) -> None:
    """What docs/reference/mariadb.md tells to grant, for this database and user."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "mariadb.md").read_text(encoding="utf-8")
    block = page.partition(f"<!-- privileges for {what} -->")[2].partition("```sql")[2].partition("```")[0]
    statements = [line for line in block.splitlines() if line.startswith("GRANT")]
    assert statements
    for statement in statements:
        mariadb.execute(statement.replace("app.*", f"{mariadb.name}.*").replace("vecferry_reader", user))
