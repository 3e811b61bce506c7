"""Reading when something is in the way: rights, hidden rows, time limits, locks, cut connections, poolers, TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.integration.test_postgres_source import opened, told
from vecferry.errors import AuthFailed, ConfigError, NotFound, Unavailable, VecferryError
from vecferry.filters import Compare, Op
from vecferry.model import Chunk
from vecferry.tables import Form
from vecferry.testing import skips
from vecferry.testing.contracts.base import read_all
from vecferry.testing.pgbouncer import Pooler, start_pgbouncer
from vecferry.testing.postgres import PostgresDatabase as Server
from vecferry.testing.postgres import PostgresServer
from vecferry.url import StoreUrl

__all__ = ["told"]
CANARY = "hunter2-canary"
PRIVILEGES = Path("docs/reference/postgres.md")


@pytest.fixture
def reader(postgres: Server) -> Iterator[str]:
    """The URL of a role of its own, with no rights but to connect."""
    role = f"reader_{postgres.name}"
    postgres.execute(
        f"REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE ROLE {role} LOGIN PASSWORD '{postgres.server.password}'"
    )
    yield postgres.url.replace(f"//{postgres.server.user}@", f"//{role}@")
    postgres.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def role_of(url: str) -> str:
    return StoreUrl.parse(url).options["user"]


def items(postgres: Server, rows: int = 300) -> None:
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, content text, metadata jsonb, embedding vector(3));"
        "INSERT INTO items SELECT n, 'text', '{\"n\": 1}', '[1,2,3]' FROM generate_series(1, :rows) n".replace(
            ":rows", str(rows)
        )
    )


# --------------------------------------------------------------------------- rights


def granted(role: str) -> str:
    """The statements that the reference page shows for reading, for `role` and our table."""
    page = PRIVILEGES.read_text(encoding="utf-8")
    block = page.partition("<!-- privileges for reading -->")[2].partition("```sql")[2].partition("```")[0]
    return block.replace("vecferry_reader", role).replace("rag.documents", "public.items").replace("rag", "public")


def test_the_rights_that_the_reference_page_lists_are_enough(postgres: Server, reader: str):
    """And each of them is needed: without any one, reading is refused with the statement to run."""
    items(postgres)
    statements = [line for line in granted(role_of(reader)).split(";") if "GRANT" in line and "CONNECT" not in line]
    assert len(statements) == 2
    for missing in statements:
        postgres.execute(";".join(one for one in statements if one is not missing))
        with opened(reader) as database, pytest.raises(AuthFailed) as caught:
            database.source("items")
        assert "GRANT SELECT" in (caught.value.hint or "")
        postgres.execute(
            f"REVOKE ALL ON items FROM {role_of(reader)}; REVOKE ALL ON SCHEMA public FROM {role_of(reader)}"
        )
    postgres.execute(";".join(statements))
    with opened(reader) as database, closing(database.source("items")) as source:
        assert len(read_all(source)) == source.count() == 300
        assert source.fetch(["5"]).num_rows == 1
        assert source.count_where(Compare("n", Op.EQ, 1)) == 300
        assert len(source.search(np.ones((1, 3), np.float32), k=5, exact=True)[0]) == 5


def test_rows_that_are_hidden_from_us_are_an_error_never_a_silence(postgres: Server, reader: str):
    """Row-level security without a policy shows no rows and says nothing; we ask the server to say it."""
    items(postgres)
    postgres.execute(
        f"GRANT USAGE ON SCHEMA public TO {role_of(reader)}; GRANT SELECT ON items TO {role_of(reader)};"
        "ALTER TABLE items ENABLE ROW LEVEL SECURITY"
    )
    with opened(reader) as database, pytest.raises(AuthFailed, match="row-level security") as caught:
        database.source("items")
    assert "BYPASSRLS" in (caught.value.hint or "")
    postgres.execute(f"ALTER ROLE {role_of(reader)} BYPASSRLS")
    with opened(reader) as database, closing(database.source("items")) as source:
        assert len(read_all(source)) == 300


# --------------------------------------------------------------------------- ways in


@pytest.mark.parametrize(
    "change, kind, word",
    [
        (lambda url: url.replace("//postgres@", "//nobody@"), AuthFailed, "user=NAME"),
        (lambda url: url.partition("?")[0] + "?password=env:VF_WRONG", AuthFailed, "PGPASSWORD"),
        (lambda url: url.replace("/vf_", "/no_vf_"), NotFound, "last slash"),
        (lambda url: url + "&sslmode=require", ConfigError, "sslmode"),
        (lambda url: url + "&sslmod=require", ConfigError, "sslmode"),
        (lambda url: url + "&lock_timeout=soon", ConfigError, "lock_timeout=30"),
        (lambda url: url.replace("127.0.0.1", "nowhere.invalid"), Unavailable, "DNS"),
    ],
)
def test_a_wrong_way_in_is_told_apart_and_tells_no_secret(postgres: Server, monkeypatch, change, kind, word):
    monkeypatch.setenv("VF_WRONG", CANARY)
    with pytest.raises(VecferryError) as caught, opened(change(postgres.url)):
        pass
    assert type(caught.value) is kind
    assert word in (caught.value.hint or "")
    assert CANARY not in f"{caught.value} {caught.value.__cause__!r}"
    assert postgres.server.password not in f"{caught.value}"


def test_the_password_may_come_from_the_usual_variable(postgres: Server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", postgres.server.password)
    with opened(postgres.url.partition("?")[0]) as database:
        assert database.identity.where.endswith(postgres.name)


def test_a_unix_socket(postgres: Server):
    folder = postgres.server.socket
    assert folder is not None
    with opened(f"postgresql://:{postgres.server.port}/{postgres.name}?user=postgres&host={folder}") as database:
        assert str(folder) in database.identity.where


def test_tls(postgres_with_tls: PostgresServer):
    """The certificate is looked at where that is asked for; without TLS this server lets nobody in."""
    with postgres_with_tls.fresh_database() as database:
        with opened(f"{database.url}&sslmode=verify-full") as store:
            assert list(store.collections()) == []
        with pytest.raises(AuthFailed, match="no encryption"), opened(f"{database.url}&sslmode=disable"):
            pass
        with pytest.raises(ConfigError) as caught, opened(f"{database.url.partition('&')[0]}&sslmode=verify-full"):
            pass
        assert "sslrootcert" in (caught.value.hint or "")


def test_a_database_without_pgvector_has_no_collections(postgres_server: PostgresServer):
    with postgres_server.fresh_database(extensions=()) as bare:
        bare.execute("CREATE TABLE items (id int PRIMARY KEY)")
        with opened(bare.url) as database:
            assert "pgvector" not in database.identity.version
            assert list(database.collections()) == []
            assert [table.name for table in database.tables()] == ["items"]


# --------------------------------------------------------------------------- while it is read


def test_a_time_limit_is_retryable_and_says_what_to_do(postgres: Server):
    """That of the role or the database is lifted for reading; one that the URL asks for holds."""
    items(postgres)
    postgres.execute("CREATE VIEW slow AS SELECT id, embedding, pg_sleep(0.01)::text AS nap FROM items")
    postgres.execute(f"ALTER DATABASE {postgres.name} SET statement_timeout = '1s'")
    form = Form(key=("id",), vectors={"": "embedding"}, columns=("nap",))
    with opened(postgres.url) as database:
        database.use("slow", form)
        with closing(database.source("slow")) as source:
            assert len(read_all(source)) == 300
    with opened(postgres.url_with(statement_timeout="1")) as database:
        database.use("slow", form)
        with pytest.raises(Unavailable, match="statement timeout") as caught:
            database.source("slow")
    assert caught.value.retryable


def test_a_lock_is_waited_for_no_longer_than_was_asked(postgres: Server):
    items(postgres)
    with postgres.connect(autocommit=False) as other, opened(postgres.url_with(lock_timeout="1")) as database:
        source = database.source("items")
        other.execute("LOCK TABLE items")
        with pytest.raises(Unavailable, match="lock") as caught:
            source.partitions()
        assert "lock_timeout" in (caught.value.hint or "")
        other.rollback()
        assert len(read_all(source)) == 300
        source.close()


def wide(postgres: Server) -> None:
    """More rows than any buffer between us holds."""
    postgres.execute(
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(1000));"
        "INSERT INTO items SELECT n, array_fill(n, ARRAY[1000])::vector FROM generate_series(1, 20000) n"
    )


def resumed(url: str, seen: list[Chunk], break_it: Callable[[], object]) -> list[str]:
    """Read a little, break something, be refused as retryable; go on from the last position in a new process's way."""
    with opened(url) as database, closing(database.source("items")) as source:
        (partition,) = source.partitions()
        chunks = source.read(partition)
        seen.append(next(chunks))
        break_it()
        with pytest.raises(Unavailable) as caught:
            seen += chunks
        assert caught.value.retryable
    with opened(url) as database, closing(database.source("items")) as source:
        seen += source.read(partition, after=seen[-1].position)
    return [text for chunk in seen for text in chunk.batch.column("id").to_pylist()]


def test_a_connection_cut_in_the_middle_of_a_copy(postgres: Server):
    wide(postgres)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vecferry'"
    found = resumed(postgres.url_with(partition_rows="99999"), [], lambda: postgres.execute(cut))
    assert found == [str(n) for n in range(1, 20_001)]


def test_a_server_that_is_killed_in_the_middle_of_a_copy(start_postgres):
    server = start_postgres()
    with server.fresh_database() as database:
        wide(database)

        def crash() -> None:
            server.kill()
            server.start()

        found = resumed(database.url_with(partition_rows="99999"), [], crash)
    assert found == [str(n) for n in range(1, 20_001)]


def test_who_stops_early_leaves_nothing_behind(postgres: Server):
    """No thread, no transaction, no connection that still sends."""
    wide(postgres)
    with opened(postgres.url) as database:
        source = database.source("items")
        chunks = source.read(source.partitions()[0])
        next(chunks)
        chunks.close()
        source.close()
        active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vecferry' AND state <> 'idle'"
        assert postgres.execute(active) == [(0,)]
        assert source.count() == 20_000
        source.close()


def test_a_table_that_changes_its_dimension_between_rows(postgres: Server):
    """The rows of the other dimension are rejections, and say so."""
    items(postgres, rows=10)
    postgres.execute("ALTER TABLE items ALTER embedding TYPE vector")
    postgres.execute("INSERT INTO items VALUES (11, NULL, NULL, '[1]')")
    with opened(postgres.url) as database, closing(database.source("items")) as source:
        chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    assert sum(chunk.batch.num_rows for chunk in chunks) == 10
    assert [one.id for chunk in chunks for one in chunk.rejected] == ["11"]


# --------------------------------------------------------------------------- poolers


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[tuple[str, Pooler]]:
    try:
        with start_pgbouncer(postgres_server, mode=request.param) as pooler:
            yield request.param, pooler
    except Unavailable as error:
        skips.skip("pgbouncer", error.message)


def test_a_pooler_is_found_out_by_asking(postgres: Server, pooler: tuple[str, Pooler], told: list[str]):
    """A session pooler serves as the server itself does; behind a transaction pooler pages are read: said."""
    mode, server = pooler
    items(postgres, rows=3_000)
    with opened(server.url(postgres.name) + "?partition_rows=1000&chunk_rows=100") as database:
        assert database.identity.transport == {"session": "copy", "transaction": "pages"}[mode]
        assert any("transaction mode" in one for one in told) == (mode == "transaction")
        with closing(database.source("items")) as source:
            assert len(read_all(source)) == source.count() == 3_000
            assert source.existing(["1", "x"]) == {"1"}


def test_the_port_of_supabase_s_transaction_pooler_is_known(postgres: Server):
    """By its number, without asking."""
    from vecferry.connectors.postgres.access import Access, pooled

    assert pooled(Access(StoreUrl.parse("postgresql://a@h:6543/postgres")))
    assert not pooled(Access(StoreUrl.parse("postgresql://a@h:6543/postgres?pooler=none")))
    with closing(Access(StoreUrl.parse(postgres.url))) as direct:
        assert not pooled(direct)
