"""The PostgREST double is as far PostgREST as its page says: keys, roles, rows cut in silence, counts, errors."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from urllib.parse import quote, urlencode

import numpy as np
import pytest

from tests.supabase_data import AUTHENTICATOR, fill_crawl4ai_rag, supabase_project
from vecferry.testing.http_double import Refusal
from vecferry.testing.postgrest_double import PostgrestDouble
from vecferry.testing.postgrest_query import ParseError, parse


@pytest.fixture(scope="module")
def project(postgres_server):
    """A project with the crawler's tables, private notes and one table of difficult names."""
    with supabase_project(postgres_server, "crawl4ai_rag", "private_notes") as database:
        fill_crawl4ai_rag(database, pages=30, examples=5)
        database.execute("INSERT INTO private_notes (owner, body) VALUES ('ann', 'a'), ('bob', 'b')")
        database.execute('CREATE TABLE hard ("a,b" int, "c.d" text, "(e)" text, PRIMARY KEY ("a,b", "c.d"))')
        database.execute("INSERT INTO hard SELECT n, 'x,\"' || n || '.)\\', NULL FROM generate_series(1, 5) AS n")
        database.execute("CREATE TABLE many AS SELECT n AS id FROM generate_series(1, 2500) AS n")
        database.execute("CREATE VIEW slow AS SELECT pg_sleep(60)::text AS body")
        database.execute("REVOKE ALL ON hard FROM anon")
        yield database


@pytest.fixture
def double(project):
    with PostgrestDouble(project, password=AUTHENTICATOR) as running:
        yield running


def ask(double, path, *, key=None, headers=None, method="GET", **query):
    """(status, content, Content-Range) of a request as supabase-py sends it."""
    key = key or double.service_key
    sent = {"apikey": key, **({} if key.startswith("sb_") else {"Authorization": f"Bearer {key}"}), **(headers or {})}
    url = f"{double.http_url}/rest/v1/{quote(path)}?{urlencode(query)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=sent, method=method), timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null"), answer.headers["Content-Range"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null"), None


def test_rows_come_as_json(double):
    """jsonb as it is, a vector as text, and a cast as text: the database's own words."""
    query = {"select": "id,url,metadata,embedding,n:chunk_number::text", "id": "eq.6"}
    status, (row,), counted = ask(double, "crawled_pages", **query)
    assert (status, counted) == (200, "0-0/*")
    assert row["metadata"]["chunk_index"] == 1
    assert row["n"] == "1"
    assert np.array(json.loads(row["embedding"]), np.float32).shape == (1536,)


def test_answers_are_cut_in_silence(double):
    """1,000 rows, whatever was asked; only an exact count tells."""
    for asked in ({}, {"limit": "5000"}):
        status, rows, counted = ask(double, "many", order="id", **asked)
        assert (status, len(rows), counted) == (200, 1000, "0-999/*")
    status, rows, counted = ask(double, "many", headers={"Prefer": "count=exact"}, order="id", limit="5000")
    assert (status, len(rows), counted) == (206, 1000, "0-999/2500")
    assert ask(double, "many", headers={"Prefer": "count=exact"}, id="gt.2490")[0::2] == (200, "0-9/10")
    assert ask(double, "many", headers={"Prefer": "count=exact"}, id="gt.2500")[1:] == ([], "*/0")
    status, body, counted = ask(double, "many", method="HEAD", headers={"Prefer": "count=exact"}, limit="1")
    assert (status, body, counted) == (206, None, "0-0/2500")


def test_pages_by_key(double):
    """Strictly behind a key of several columns, in the order of the key, with reserved characters in quotes."""
    order = {"order": '"a,b".asc,"c.d".asc', "select": '"a,b","c.d"', "limit": "2"}
    text = '"x,\\"2.)\\\\"'
    behind = f'("a,b".gt.2,and("a,b".eq.2,"c.d".gt.{text}))'
    found = ask(double, "hard", **{"or": behind}, **order)[1]
    assert [row["a,b"] for row in found] == [3, 4]
    assert ask(double, "hard", **{'"c.d"': 'eq.x,"2.)\\'}, select='"a,b"')[1] == [{"a,b": 2}]
    assert len(ask(double, "hard", **{'"(e)"': "is.null"})[1]) == 5
    assert ask(double, "hard", **{'"(e)"': "not.is.null"})[1] == []
    assert [row["id"] for row in ask(double, "many", id="in.(3,1)", order="id.desc")[1]] == [3, 1]


def test_keys_are_roles(double):
    """Both kinds of key; the anon key sees what row-level security lets through, and no error; strangers get none."""
    for key in (double.service_key, double.secret_key):
        assert len(ask(double, "private_notes", key=key)[1]) == 2
    for key in (double.anon_key, double.publishable_key):
        assert ask(double, "private_notes", key=key)[:2] == (200, [])
    assert ask(double, "private_notes", headers={"Authorization": ""})[1] == []
    status, body, _ = ask(double, "private_notes", key="wrong")
    assert (status, body["message"]) == (401, "Invalid API key")
    assert ask(double, "private_notes", headers={"apikey": ""})[0] == 401
    status, body, _ = ask(double, "hard", key=double.anon_key)
    assert (status, body["code"]) == (401, "42501")
    claims = double.service_key.split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["role"] == "service_role"


def test_errors_have_postgrests_form(double, project):
    """code, details, hint, message; PostgREST's own codes, or the database's with the status that stands for it."""
    status, body, _ = ask(double, "no_such_table")
    assert (status, body["code"]) == (404, "PGRST205")
    assert body.keys() == {"code", "details", "hint", "message"}
    assert ask(double, "many", nope="eq.1")[:2][1]["code"] == "42703"
    assert ask(double, "many", id="eq.x")[0] == 400
    assert ask(double, "many", id="about.5")[1]["code"] == "PGRST100"
    assert ask(double, "many", method="DELETE")[0] == 405
    for role in ("anon", "service_role"):
        project.execute(f"GRANT SELECT ON slow TO {role}")
    project.execute("ALTER ROLE anon SET statement_timeout = '200ms'")
    try:
        status, body, _ = ask(double, "slow", key=double.anon_key)
    finally:
        project.execute("ALTER ROLE anon SET statement_timeout = '3s'")
    assert (status, body["code"]) == (500, "57014")


def test_tables_are_described(double):
    """Types with their dimension, keys in the descriptions, and only what the role may read."""
    status, body, _ = ask(double, "")
    pages = body["definitions"]["crawled_pages"]["properties"]
    assert status == 200
    assert pages["embedding"]["format"] == "vector(1536)"
    assert "<pk/>" in pages["id"]["description"]
    assert "<fk table='sources' column='source_id'/>" in pages["source_id"]["description"]
    assert "hard" in body["definitions"]
    assert "hard" not in ask(double, "", key=double.anon_key)[1]["definitions"]


def test_tests_can_interfere(double, project):
    """A refusal instead of an answer, rows that come between two requests, and a list of what was asked."""
    double.refuse = lambda number, _path, _exact: Refusal(503, {"Retry-After": "1"}, b"{}") if number == 1 else None
    double.before = lambda number: number == 2 and project.execute("INSERT INTO many VALUES (9001)")
    assert ask(double, "many", id="gt.9000")[0] == 503
    assert ask(double, "many", id="gt.9000")[1] == [{"id": 9001}]
    assert [(one.path, one.query, one.status) for one in double.seen] == [
        ("/rest/v1/many", (("id", "gt.9000"),), 503),
        ("/rest/v1/many", (("id", "gt.9000"),), 200),
    ]
    project.execute("DELETE FROM many WHERE id > 9000")


@pytest.mark.parametrize(
    "query",
    [("limit", "-1"), ("select", "count()"), ("order", "id.up"), ("or", "id.gt.1"), ("or", "(id)"), ("id", "5")],
    ids="=".join,
)
def test_what_it_does_not_know_is_refused(query):
    """Not guessed at: a query that the double misread would prove nothing."""
    with pytest.raises(ParseError):
        parse([query])
