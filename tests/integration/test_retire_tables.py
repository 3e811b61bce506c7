"""`retire` of a table on real servers: archived, renamed, called back, dropped only on request, and restored."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_mariadb_faults import grant
from tests.integration.test_postgres_sink import as_role
from vecferry.cli.app import run
from vecferry.errors import AlreadyExists, AuthFailed, ConfigError, Conflict
from vecferry.migration import Settings, bring_back, migrate, retire, verify
from vecferry.planning.inspect import inspect
from vecferry.planning.options import PlanOptions
from vecferry.planning.tabled import presets_for
from vecferry.registry import open_database
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase

Server = MariaDBDatabase | PostgresDatabase
ROWS = 30


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """A table BRAG of three users."""
    server: Server = request.getfixturevalue(request.param)
    maria = request.param == "mariadb"
    vectors = "v VECTOR(2) NOT NULL" if maria else "v vector(2)"
    server.execute(f"CREATE TABLE brag (id INT PRIMARY KEY, buid INT NOT NULL, body TEXT, {vectors})")
    vector = "VEC_FromText('[1,2]')" if maria else "'[1,2]'"
    rows = ", ".join(f"({n}, {n % 3}, 'text {n}', {vector})" for n in range(ROWS))
    server.execute(f"INSERT INTO brag VALUES {rows}")
    return server


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


def tables(server: Server) -> set[str]:
    """Tables that are no side table of ours."""
    with closing(open_database(server.url)) as database:
        return {spec.name for spec in database.collections()}


def yes(_: Any) -> bool:
    return True


def test_renamed_called_back_dropped_and_restored(server: Server, tmp_path: Path, ledger: str) -> None:
    target = f"memory:{uuid.uuid4().hex}"
    settings = Settings(plan=PlanOptions(unit="buid"), ledger=ledger, reports=None)
    migrate(server.url, target, settings=settings)
    aside = f"brag_archived_{datetime.now(UTC):%Y%m%d}"

    assert retire(server.url, agree=lambda _: False, into=f"files:{tmp_path}/a0", ledger=ledger) is None
    assert tables(server) == {"brag"}
    done = retire(server.url, agree=yes, into=f"files:{tmp_path}/a1", ledger=ledger)
    assert done is not None
    assert list(done.aside.values()) == [aside]
    assert tables(server) == {aside}
    assert server.execute(f"SELECT count(*), max(body) FROM {aside}") == [(ROWS, "text 9")]

    assert list(bring_back(server.url, [aside]).values()) == ["brag"]
    assert tables(server) == {"brag"}
    retire(server.url, agree=yes, archive=done.archive, ledger=ledger)
    with pytest.raises(Conflict, match="set aside already"):
        retire(server.url, agree=yes, collections=[aside], archive=done.archive, ledger=ledger)
    assert tables(server) == {aside}

    gone = retire(server.url, agree=yes, collections=[aside], into=f"files:{tmp_path}/a2", drop=True, ledger=ledger)
    assert gone is not None
    assert not gone.aside
    assert tables(server) == set()
    migrate(done.archive, server.url, settings=replace(settings, plan=PlanOptions()))
    assert server.execute("SELECT count(*), max(body) FROM brag") == [(ROWS, "text 9")]


def test_what_was_not_moved_stays(server: Server, tmp_path: Path, ledger: str) -> None:
    for drop in (False, True):
        with pytest.raises(Conflict, match="no verified migration"):
            retire(server.url, agree=yes, into=f"files:{tmp_path}/a{drop}", drop=drop, ledger=ledger)
    assert tables(server) == {"brag"}


def test_dropped_at_once_only_when_that_is_said(server: Server, tmp_path: Path, ledger: str) -> None:
    retire(server.url, agree=yes, into=f"files:{tmp_path}/a", drop=True, unverified=True, ledger=ledger)
    assert tables(server) == set()


def test_an_old_name_that_is_taken_again(server: Server) -> None:
    """Nothing is overwritten; and what was never set aside is not renamed."""
    with pytest.raises(Conflict, match="was set aside"):
        bring_back(server.url, ["brag"])
    server.execute("ALTER TABLE brag RENAME TO brag_archived_20260101")
    server.execute("CREATE TABLE brag (id INT PRIMARY KEY)")
    with pytest.raises(AlreadyExists):
        bring_back(server.url, ["brag_archived_20260101"])
    assert list(bring_back(server.url, ["brag_archived_20260101=other"]).values()) == ["other"]
    assert "other" in tables(server)


def test_what_was_set_aside_is_left_out_unless_it_is_named(server: Server, tmp_path: Path, ledger: str) -> None:
    """It is no live table any more: a plain `inspect`, `migrate` or `verify` passes by, and says so."""
    server.execute("ALTER TABLE brag RENAME TO brag_archived_20260101")
    with pytest.raises(ConfigError, match="holds only what was set aside: brag_archived_20260101"):
        migrate(server.url, f"files:{tmp_path}/none", settings=Settings(ledger=ledger, reports=None))
    maria = isinstance(server, MariaDBDatabase)
    server.execute(f"CREATE TABLE brag (id INT PRIMARY KEY, v {'VECTOR(2) NOT NULL' if maria else 'vector(2)'})")
    told: list[str] = []
    away = f"files:{tmp_path}/away"
    with closing(open_database(server.url)) as database:
        for patterns, wanted in (
            ((), 1),
            (("brag*",), 1),
            (("*_archived_*",), 1),
            (("brag", "brag_archived_20260101"), 2),
        ):
            found = inspect(database, url=server.url, patterns=patterns, observer=lambda e: told.append(str(e)))
            assert len(found.profiles) == wanted
        assert found.profiles[-1].records == ROWS
        assert presets_for(database)[1].count("table:") == 1
    assert len([said for said in told if "'brag_archived_20260101' is left out: it was set aside" in said]) == 2
    server.execute("INSERT INTO brag SELECT id, v FROM brag_archived_20260101")
    done = migrate(server.url, away, settings=Settings(ledger=ledger, reports=None))
    assert [plan.target.name for plan in done.plan.collections] == ["brag"]
    proof = verify(server.url, away, ledger=ledger)
    assert [(one.source.rpartition("/")[2], one.records) for one in proof.verification.collections] == [("brag", ROWS)]
    assert proof.verification.identical


def test_the_rights_that_the_reference_of_mariadb_gives(
    mariadb: MariaDBDatabase, tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without those for retiring nothing happens; with exactly those a table goes and comes back."""
    mariadb.execute("CREATE TABLE brag (id INT PRIMARY KEY, body TEXT, v VECTOR(2) NOT NULL)")
    mariadb.execute("INSERT INTO brag VALUES (1, 'one', VEC_FromText('[1,2]'))")
    user = f"vr_{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("MARIADB_PASSWORD", "geheim")
    url = f"mariadb://{user}@{mariadb.server.host}:{mariadb.server.port}/{mariadb.name}"
    asked: dict[str, Any] = {"agree": yes, "unverified": True, "ledger": ledger}
    mariadb.execute(f"CREATE USER {user} IDENTIFIED BY 'geheim'")
    try:
        grant(mariadb, "reading", user)
        with pytest.raises(AuthFailed):
            retire(url, into=f"files:{tmp_path}/a1", **asked)
        assert tables(mariadb) == {"brag"}
        grant(mariadb, "retiring", user)
        done = retire(url, into=f"files:{tmp_path}/a2", **asked)
        assert done is not None
        assert tables(mariadb) == set(done.aside.values())
        bring_back(url, list(done.aside.values()))
        assert tables(mariadb) == {"brag"}
    finally:
        mariadb.execute(f"DROP USER {user}")


def test_the_rights_that_postgres_wants(postgres: PostgresDatabase, tmp_path: Path, ledger: str) -> None:
    """Who owns the table and may create in its schema; one of both is not enough."""
    postgres.execute("CREATE TABLE brag (id INT PRIMARY KEY, v vector(2)); INSERT INTO brag VALUES (1, '[1,2]')")
    owner, create = "ALTER TABLE brag OWNER TO {role}", "GRANT CREATE ON SCHEMA public TO {role}"
    asked: dict[str, Any] = {"agree": yes, "unverified": True, "ledger": ledger}
    with as_role(postgres, create, "GRANT SELECT ON brag TO {role}") as url, pytest.raises(AuthFailed):
        retire(url, into=f"files:{tmp_path}/a1", **asked)
    with as_role(postgres, create, owner) as url:
        done = retire(url, into=f"files:{tmp_path}/a2", **asked)
        assert done is not None
        assert tables(postgres) == set(done.aside.values())
        bring_back(url, list(done.aside.values()))
        assert tables(postgres) == {"brag"}


def test_by_the_command_line(
    server: Server, tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last screen has the command that undoes it, which works as it stands."""
    import shlex

    monkeypatch.chdir(tmp_path)
    assert run(["retire", server.url, "--unverified", "--ledger", ledger, "--confirm", "other", "-q"]) == 3
    assert tables(server) == {"brag"}
    assert run(["retire", server.url, "--unverified", "--ledger", ledger, "--confirm", "brag", "-q"]) == 0
    said = capsys.readouterr()
    assert "is not dropped but renamed to 'brag_archived_" in " ".join(said.err.split())
    (line,) = [line for line in said.out.splitlines() if line.endswith("--undo")]
    assert run(shlex.split(line)[1:]) == 0
    assert tables(server) == {"brag"}
    assert run(["retire", server.url, "--undo"]) == 2
