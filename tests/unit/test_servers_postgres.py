"""The PostgreSQL that other tests stand on: what it can, that it crashes and comes back, and what stays outside."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.servers import check_gone
from vecferry.errors import Unavailable, Unsupported
from vecferry.testing import pgserver
from vecferry.testing import postgres as testing_postgres
from vecferry.testing.postgres import HOST, PASSWORD, PostgresPrograms
from vecferry.testing.skips import skip


def test_vectors_are_there(postgres):
    """A fresh database has pgvector, and stores and searches."""
    postgres.execute("CREATE TABLE t (id bigint PRIMARY KEY, v vector(2))")
    postgres.execute("INSERT INTO t VALUES (1, '[0,1]'), (2, '[1,0]')")
    assert postgres.execute("SELECT id FROM t ORDER BY v <=> '[1,0.1]'") == [(2,), (1,)]


def test_it_is_a_postgres_as_people_have_it(postgres):
    """pg_trgm, ICU that sorts as people do, and logical decoding: what the small build lacks."""
    if postgres.server.powers != testing_postgres.POWERS:
        skip("postgres-powers", "pg_trgm, ICU")
    postgres.execute("CREATE EXTENSION pg_trgm")
    assert postgres.execute("SELECT x FROM (VALUES ('B'), ('a')) AS t (x) ORDER BY x") == [("a",), ("B",)]
    assert postgres.execute("SHOW wal_level") == [("logical",)]


def test_databases_are_of_their_own(postgres_server):
    """Two tests never see each other's tables, and nothing is left of them."""
    with postgres_server.fresh_database() as one, postgres_server.fresh_database(extensions=()) as other:
        one.execute("CREATE TABLE t (a int)")
        assert other.execute("SELECT to_regclass('t'), count(*) FROM pg_extension WHERE extname = 'vector'") == [
            (None, 0)
        ]
        held = one.connect()  # a connection that somebody forgot is no reason to stay
        names = {one.name, other.name}
    with postgres_server.fresh_database() as third:
        assert not names & {name for (name,) in third.execute("SELECT datname FROM pg_database")}
    with held, pytest.raises(psycopg.OperationalError):
        held.execute("SELECT 1")


def test_it_survives_its_own_kill(start_postgres):
    """After kill -9 of all its processes the same port serves what was committed, and nothing else."""
    server = start_postgres()
    with server.fresh_database() as database:
        database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        open_one = database.connect(autocommit=False)
        open_one.execute("INSERT INTO t VALUES (2)")
        first = server.pid
        server.kill()
        with open_one, pytest.raises(psycopg.OperationalError):
            open_one.execute("SELECT 1")
        server.start()
        assert server.pid not in {first, None}
        assert database.execute("SELECT a FROM t") == [(1,)]


def test_a_stopped_server_leaves_nothing():
    """Process, port and folder are gone after the with-block, whoever is still connected."""
    try:
        programs = testing_postgres.postgres_programs()
    except Unavailable as error:
        skip("postgres-server", error.message)
    with testing_postgres.start_postgres(programs=programs) as server:
        held = server.connect()
        pid, folder, port = server.pid, server.folder, server.port
    check_gone(pid, folder, port)
    with held, pytest.raises(psycopg.OperationalError):
        held.execute("SELECT 1")


def test_a_password_is_wanted_over_tcp_only(start_postgres, tmp_path):
    """Trust on the unix socket; over TCP the password, which stands in no URL and no representation."""
    server = start_postgres(folder=tmp_path / "room", settings={"work_mem": "5MB"})
    with pytest.raises(psycopg.OperationalError, match="password"):
        server.connect(password="wrong")
    with server.connect(host=str(server.socket), password="") as trusted:
        assert trusted.execute("SHOW work_mem").fetchall() == [("5MB",)]
    assert PASSWORD not in repr(server) + server.url("x")
    assert Path(server.url("x").rpartition("file:")[2]).read_text() == PASSWORD


def test_tls_is_signed_by_the_given_authority_only(postgres_with_tls, tmp_path):
    """The named authority is accepted, another is not, and there is no way in without TLS."""
    with postgres_with_tls.connect() as connection:
        found = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchall()
    assert found == [(True,)]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        postgres_with_tls.connect(sslmode="disable", sslrootcert="")
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        postgres_with_tls.connect(sslrootcert=str(tmp_path / "other.pem"))


def test_the_small_postgres_serves_where_there_is_no_apt(monkeypatch, start_postgres):
    """PyPI's build is asked where Debian's cannot be had; it has vectors, and no TLS is said, not tried."""
    try:
        pgserver.programs()
    except Unavailable as error:
        skip("postgres-server", error.message)
    monkeypatch.setattr(testing_postgres.debian.shutil, "which", lambda _name: None)
    monkeypatch.setattr(testing_postgres.debian, "EDITION", "none-such")
    programs = testing_postgres.postgres_programs()
    assert not programs.powers
    with testing_postgres.start_postgres(programs=programs) as server, server.fresh_database() as database:
        assert database.execute("SELECT '[1,2]'::vector::text") == [("[1,2]",)]
    with pytest.raises(Unsupported, match="TLS"), testing_postgres.start_postgres(programs=programs, tls=True):
        pytest.fail("it started")


def test_a_server_that_dies_shows_its_log(start_postgres):
    """The failure holds what the server said, so that CI's log is enough."""
    with pytest.raises(Unavailable, match="no_such_setting"):
        start_postgres(settings={"no_such_setting": "1"})


def test_a_server_that_cannot_be_prepared_says_why(tmp_path):
    """A program that fails while the data folder is made is named, with its words."""
    broken = tmp_path / "initdb"
    broken.write_text("#!/bin/sh\necho no room left; exit 1\n")
    broken.chmod(0o755)
    programs = PostgresPrograms(broken, broken, frozenset())
    with pytest.raises(Unavailable, match="no room left"), testing_postgres.start_postgres(programs=programs):
        pytest.fail("it started")


def test_a_running_server_is_named_and_never_stopped(postgres_server, monkeypatch):
    """What VECFERRY_TEST_POSTGRES_URL names is used as it is, its password a reference."""
    monkeypatch.setenv("VECFERRY_TEST_SECRET", postgres_server.password)
    url = (
        f"postgresql://{postgres_server.user}@{HOST}:{postgres_server.port}/postgres?password=env:VECFERRY_TEST_SECRET"
    )
    named = testing_postgres.PostgresServer.named_by(url)
    named.stop()
    named.kill()
    with named.fresh_database() as database:
        assert database.execute("SELECT current_database()") == [(database.name,)]
        assert "password=env:VECFERRY_TEST_SECRET" in database.url
