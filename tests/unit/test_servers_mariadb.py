"""The MariaDB that other tests stand on: what it can, that it crashes and comes back, and what stays outside."""

from __future__ import annotations

import ssl
import struct
from pathlib import Path

import pymysql
import pytest

from tests.servers import check_gone
from vecferry.errors import Unavailable
from vecferry.testing import debian
from vecferry.testing import mariadb as testing_mariadb
from vecferry.testing.mariadb import HOST, PASSWORD
from vecferry.testing.skips import skip


def vector(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


def test_vectors_are_there(mariadb):
    """A fresh database stores vectors, gives them back as bytes and searches by an index."""
    mariadb.execute("CREATE TABLE t (id bigint PRIMARY KEY, v vector(2) NOT NULL, VECTOR INDEX (v) DISTANCE=cosine)")
    mariadb.execute("INSERT INTO t VALUES (1, %s), (2, %s)", (vector(0, 1), vector(1, 0)))
    nearest = "SELECT id, v FROM t ORDER BY VEC_DISTANCE(v, %s) LIMIT 1"
    assert mariadb.execute(nearest, (vector(1, 0.1),)) == [(2, vector(1, 0))]


def test_it_is_a_mariadb_as_people_have_it(mariadb):
    """11.8, the collation that takes 'a' for 'A', strict mode: what a fresh installation has."""
    ((version, same, mode),) = mariadb.execute("SELECT version(), 'a' = 'A', @@sql_mode")
    assert version.startswith("11.8.")
    assert same == 1
    assert "STRICT_TRANS_TABLES" in mode


def test_databases_are_of_their_own(mariadb_server):
    """Two tests never see each other's tables, and nothing is left of them."""
    with mariadb_server.fresh_database() as one, mariadb_server.fresh_database() as other:
        one.execute("CREATE TABLE t (a int)")
        assert other.execute("SHOW TABLES") == []
        names = {one.name, other.name}
    with mariadb_server.fresh_database() as third:
        assert not names & {name for (name,) in third.execute("SHOW DATABASES")}


def test_it_survives_its_own_kill(start_mariadb):
    """After kill -9 the same port serves what was committed, and nothing else."""
    server = start_mariadb()
    with server.fresh_database() as database:
        database.execute("CREATE TABLE t (a int)")
        database.execute("INSERT INTO t VALUES (1)")
        open_one = database.connect(autocommit=False)
        open_one.cursor().execute("INSERT INTO t VALUES (2)")
        first = server.pid
        server.kill()
        server.start()
        assert server.pid not in {first, None}
        assert database.execute("SELECT a FROM t") == [(1,)]


def test_a_stopped_server_leaves_nothing():
    """Process, port and folder are gone after the with-block."""
    try:
        debian.tree()
    except Unavailable as error:
        skip("mariadb-server", error.message)
    with testing_mariadb.start_mariadb() as server:
        pid, folder, port = server.pid, server.folder, server.port
    check_gone(pid, folder, port)


def test_a_password_is_wanted(start_mariadb, tmp_path):
    """Over TCP and over the unix socket; it stands in no URL and no representation; there is no root without one."""
    server = start_mariadb(folder=tmp_path / "room", settings={"max-allowed-packet": "1M"})
    for wrong in ({"password": "wrong"}, {"user": "root", "password": ""}):
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            server.connect(**wrong)
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            server.connect(**wrong, unix_socket=str(server.socket))
    with server.connect(unix_socket=str(server.socket)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        assert cursor.fetchall() == ((1 << 20,),)
    assert PASSWORD not in repr(server) + server.url("x")
    assert Path(server.url("x").rpartition("file:")[2]).read_text() == PASSWORD


def test_tls_is_signed_by_the_given_authority_only(mariadb_with_tls):
    """The named authority is accepted, the machine's own are not enough, and there is no way in without TLS."""
    with mariadb_with_tls.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
        assert cursor.fetchall()[0][1].startswith("TLS")
    with pytest.raises(pymysql.OperationalError, match=r"secure[ _]transport"):
        mariadb_with_tls.connect(ssl_ca=None, ssl_verify_cert=None, ssl_disabled=True)
    with pytest.raises(pymysql.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        mariadb_with_tls.connect(ssl_ca=None, ssl_verify_cert=None, ssl=ssl.create_default_context())


def test_a_server_that_dies_shows_its_log(start_mariadb):
    """The failure holds what the server said, so that CI's log is enough."""
    with pytest.raises(Unavailable, match="no-such-setting"):
        start_mariadb(settings={"no-such-setting": "1"})


def test_a_running_server_is_named_and_never_stopped(mariadb_server, monkeypatch):
    """What VECFERRY_TEST_MARIADB_URL names is used as it is, its password a reference."""
    monkeypatch.setenv("VECFERRY_TEST_SECRET", mariadb_server.password)
    url = f"mariadb://{mariadb_server.user}@{HOST}:{mariadb_server.port}/mysql?password=env:VECFERRY_TEST_SECRET"
    named = testing_mariadb.MariaDBServer.named_by(url)
    named.stop()
    named.kill()
    with named.fresh_database() as database:
        assert database.execute("SELECT database()") == [(database.name,)]
        assert "password=env:VECFERRY_TEST_SECRET" in database.url
