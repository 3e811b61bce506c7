"""The Supabase schemas that other tests stand on: roles, timeouts, row-level security and functions are Supabase's."""

from __future__ import annotations

import psycopg
import pytest

from tests.supabase_data import AUTHENTICATOR, fill_crawl4ai_rag, supabase_project


def as_role(database, role, statement, claims=""):
    """Rows of `statement`, asked as PostgREST asks: the authenticator, in the role of the key."""
    with database.connect(user="authenticator", password=AUTHENTICATOR) as connection, connection.transaction():
        connection.execute(f"SET LOCAL ROLE {role}")
        connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
        return connection.execute(statement).fetchall()


def test_the_crawler_schema_answers_both_functions(postgres_server):
    """Nearest first, filtered by metadata and by source; the row that was asked with comes first."""
    with supabase_project(postgres_server, "crawl4ai_rag") as database:
        fill_crawl4ai_rag(database, pages=40, examples=8)
        for table, function in (("crawled_pages", "match_crawled_pages"), ("code_examples", "match_code_examples")):
            database.execute(f"REINDEX TABLE {table}")  # ivfflat on an empty table knows no lists
            ((query, key, source),) = database.execute(
                f"SELECT embedding::text, id, source_id FROM {table} WHERE id = 5"
            )
            call = f'SELECT id, similarity, source_id FROM {function}(%s, 3, \'{{"crawl_type": "webpage"}}\', %s)'
            found = database.execute(f"SET ivfflat.probes = 100; {call}".partition("; ")[2], (query, source))
            assert found[0][0] == key
            assert found[0][1] == pytest.approx(1, abs=1e-6)
            assert {row[2] for row in found} == {source}
            nothing = database.execute(f'SELECT id FROM {function}(%s, 3, \'{{"crawl_type": "none"}}\')', (query,))
            assert nothing == []


def test_langchains_schema_answers(postgres_server):
    """match_documents without a limit gives every row that fits the filter."""
    with supabase_project(postgres_server, "langchain_documents") as database:
        database.execute(
            "INSERT INTO documents (content, metadata, embedding) "
            "SELECT 'text ' || n, jsonb_build_object('n', n % 2), array_fill(n, ARRAY[1536])::vector "
            "FROM generate_series(1, 6) AS n"
        )
        query = "array_fill(1, ARRAY[1536])::vector"
        assert len(database.execute(f"SELECT * FROM match_documents({query})")) == 6
        found = database.execute(f"SELECT content FROM match_documents({query}, 2, '{{\"n\": 0}}') ORDER BY 1")
        assert len(found) == 2
        assert {content for (content,) in found} <= {"text 2", "text 4", "text 6"}


def test_the_wrong_role_sees_fewer_rows_and_no_error(postgres_server):
    """What a migration with the anon key would lose without a word; `row_security = off` turns it into an error."""
    with supabase_project(postgres_server, "private_notes") as database:
        database.execute("INSERT INTO private_notes (owner, body) VALUES ('ann', 'a'), ('bob', 'b')")
        ask = "SELECT body FROM private_notes"
        assert as_role(database, "service_role", ask) == [("a",), ("b",)]
        assert as_role(database, "authenticated", ask, '{"sub": "bob"}') == [("b",)]
        assert as_role(database, "anon", ask) == []
        with database.connect(user="authenticator", password=AUTHENTICATOR) as connection:
            connection.execute("SET ROLE anon")
            connection.execute("SET row_security = off")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                connection.execute(ask)


def test_statements_of_the_api_time_out(postgres_server):
    """The authenticator's timeout is Supabase's; the roles that it takes do not bring theirs by SET ROLE alone."""
    with (
        supabase_project(postgres_server) as database,
        database.connect(user="authenticator", password=AUTHENTICATOR) as connection,
    ):
        assert connection.execute("SHOW statement_timeout").fetchone() == ("8s",)
        connection.execute("SET statement_timeout = 50")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            connection.execute("SELECT pg_sleep(10)")


def test_a_project_may_be_made_twice_on_one_server(postgres_server):
    """Roles belong to the server: the second project finds them, and the types stand in `extensions`."""
    for _ in range(2):
        with supabase_project(postgres_server, "crawl4ai_rag") as database:
            ask = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'embedding' LIMIT 1"
            assert database.execute(ask) == [("vector(1536)",)]
            with database.connect(options="-c search_path=public") as connection:
                assert connection.execute(ask).fetchone() == ("extensions.vector(1536)",)
