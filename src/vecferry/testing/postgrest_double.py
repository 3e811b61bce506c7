"""A double of Supabase's REST interface: PostgREST's reading side, and the gateway's keys, over the real PostgreSQL.

    with supabase_project(server, …) as database, PostgrestDouble(database, password=…) as double:
        double.url, double.service_key, double.anon_key

It is not PostgREST, and no test with it is one with Supabase. Rows, types, JSON, roles, row-level security and timeouts
are the real database's, asked as PostgREST asks it: as the role authenticator, which takes the key's role for one
transaction. The query language, the limits, statuses and errors are the double's, by PostgREST's and Supabase's
documentation; docs/explanation/supabase-double.md says what is documented and what is our guess.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
import psycopg
from psycopg import sql

from vecferry.testing.http_double import HttpDouble, Refusal, Reply
from vecferry.testing.postgres import PostgresDatabase
from vecferry.testing.postgrest_query import ParseError, Query, parse
from vecferry.testing.postgrest_schema import description

MAX_ROWS = 1000
"""what a new project is set to; an answer is cut there without a word"""
_ROOT = "/rest/v1/"
_STATUSES = {"42P01": 404, "42883": 404, "57": 500, "53": 503, "08": 503, "25006": 405, "28": 403, "40": 500, "55": 500}
_SETTINGS = """
SELECT split_part(one, '=', 1), substr(one, strpos(one, '=') + 1)
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS one
WHERE r.rolname = %s AND s.setdatabase = 0
"""
_SECRET = b"the-jwt-secret-of-the-double, at least 32 bytes"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came: its method, path, query (decoded pairs) and status."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    status: int


@dataclass(slots=True)
class _Answer:
    status: int
    content: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class PostgrestDouble(HttpDouble):
    """The interface, for the time of a `with` block; `http_url` stands for `https://PROJECT.supabase.co`.

    Attributes:
        service_key, anon_key: keys of the old kind, JWTs; `secret_key`, `publishable_key`: of the new kind.
        max_rows: rows of one answer at most.
        seen: what was asked, in the order of the answers.
        refuse: called with the number of the request (from 1), its path, and whether it wants an exact count; its
            refusal is the answer.
        before: called with the number of the request before it is answered: where a test changes the table meanwhile.
    """

    def __init__(self, database: PostgresDatabase, *, password: str, max_rows: int = MAX_ROWS) -> None:
        """Stand before `database`; `password` is that of its role authenticator."""
        super().__init__(self._answer)
        self.database, self.max_rows = database, max_rows
        self.service_key, self.anon_key = _jwt("service_role"), _jwt("anon")
        self.secret_key, self.publishable_key = "sb_secret_of-the-double", "sb_publishable_of-the-double"
        self.seen: list[Seen] = []
        self.refuse: Callable[[int, str, bool], Refusal | None] = lambda _number, _path, _exact: None
        self.before: Callable[[int], None] = lambda _number: None
        self._password = password
        self._requests = 0
        self._lock = threading.Lock()
        self._idle: SimpleQueue[psycopg.Connection[Any]] = SimpleQueue()

    @property
    def url(self) -> str:
        """The store URL, without key."""
        return f"supabase+{self.http_url}"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        super().__exit__(kind, error, tb)
        while not self._idle.empty():
            self._idle.get().close()

    # ------------------------------------------------------------------- HTTP

    def _answer(self, method: str, target: str, headers: Mapping[str, str], _body: bytes) -> Reply:
        parts = urlsplit(target)
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        with self._lock:
            self._requests += 1
            number = self._requests
        refusal = self.refuse(number, parts.path, _wants_count(headers))
        if refusal is not None:
            status, told, body = refusal.reply
        else:
            self.before(number)
            answer = self._route(method, parts.path, query, headers)
            content = answer.content
            status, told = answer.status, answer.headers
            body = content if isinstance(content, bytes) else orjson.dumps(content)
        with self._lock:
            self.seen.append(Seen(method, parts.path, query, status))
        return status, told, body

    def _route(self, method: str, path: str, query: tuple[tuple[str, str], ...], headers: Mapping[str, str]) -> _Answer:
        role = self._role(headers)
        if isinstance(role, _Answer):
            return role
        if not path.startswith(_ROOT):
            return _Answer(404, {"message": "no Route matched with those values"})
        if method not in {"GET", "HEAD"}:
            return _error(405, "PGRST117", f"The double only reads: no {method}")
        table = unquote(path.removeprefix(_ROOT))
        try:
            with self._as(role) as connection:
                if not table:
                    return _Answer(200, description(connection))
                return self._rows(connection, table, parse(query), exact=_wants_count(headers))
        except ParseError as error:
            return _error(400, "PGRST100", str(error))
        except psycopg.Error as error:
            return _of_the_database(error, role)

    def _role(self, headers: Mapping[str, str]) -> str | _Answer:
        """The database role that the keys of a request stand for, or the gateway's refusal."""
        key = headers.get("apikey", "")
        if not key:
            hint = "No `apikey` request header or url param was found."
            return _Answer(401, {"message": "No API key found in request", "hint": hint})
        roles = {
            self.service_key: "service_role",
            self.anon_key: "anon",
            self.secret_key: "service_role",
            self.publishable_key: "anon",
        }
        if key not in roles:
            hint = "Double check your Supabase `anon` or `service_role` API key."
            return _Answer(401, {"message": "Invalid API key", "hint": hint})
        if key.startswith("sb_"):  # the gateway makes a token of it
            return roles[key]
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if bearer and bearer not in roles:
            return _error(401, "PGRST301", "No suitable key or wrong key type")
        return roles.get(bearer, "anon")

    # ------------------------------------------------------------------- the database

    @contextmanager
    def _as(self, role: str) -> Iterator[psycopg.Connection[Any]]:
        """A transaction as PostgREST opens it."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self.database.connect(user="authenticator", password=self._password)
        try:
            with connection.transaction():
                connection.execute("SET LOCAL search_path TO public, extensions")
                for setting in connection.execute(_SETTINGS, [role]).fetchall():
                    connection.execute("SELECT set_config(%s, %s, true)", setting)
                connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
                claims = orjson.dumps({"role": role}).decode()
                connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
                connection.execute("SET TRANSACTION READ ONLY")
                yield connection
        finally:
            if connection.closed:
                connection.close()
            else:
                self._idle.put(connection)

    def _rows(self, connection: psycopg.Connection[Any], table: str, query: Query, *, exact: bool) -> _Answer:
        ((there,),) = connection.execute("SELECT to_regclass('public.' || quote_ident(%s)) IS NOT NULL", [table])
        if not there:
            return _error(404, "PGRST205", f"Could not find the table 'public.{table}' in the schema cache")
        source = sql.SQL("SELECT {} FROM public.{}{}{} LIMIT {} OFFSET {}").format(
            query.columns,
            sql.Identifier(table),
            query.where,
            query.order,
            sql.Literal(min(self.max_rows if query.limit is None else query.limit, self.max_rows)),
            sql.Literal(query.offset),
        )
        whole = sql.SQL("SELECT coalesce(json_agg(t), '[]')::text, count(*) FROM ({}) AS t").format(source)
        ((body, rows),) = connection.execute(whole)
        total = self._count(connection, table, query) if exact else None
        last = f"{query.offset}-{query.offset + rows - 1}" if rows else "*"
        headers = {"Content-Range": f"{last}/{'*' if total is None else total}", "Server": "postgrest/12.2.3 (double)"}
        return _Answer(200 if total is None or rows == total else 206, body.encode(), headers)

    def _count(self, connection: psycopg.Connection[Any], table: str, query: Query) -> int:
        counted = sql.SQL("SELECT count(*) FROM public.{}{}").format(sql.Identifier(table), query.where)
        ((total,),) = connection.execute(counted)
        return int(total)


def _wants_count(headers: Mapping[str, str]) -> bool:
    return "count=exact" in headers.get("prefer", "")


def _of_the_database(error: psycopg.Error, role: str) -> _Answer:
    state = error.sqlstate or "08006"
    status = _STATUSES.get(state, _STATUSES.get(state[:2], 400))
    if state == "42501":
        status = 401 if role == "anon" else 403
    diag = error.diag
    return _error(
        status, state, diag.message_primary or str(error), details=diag.message_detail, hint=diag.message_hint
    )


def _error(status: int, code: str, message: str, *, details: str | None = None, hint: str | None = None) -> _Answer:
    return _Answer(status, {"code": code, "details": details, "hint": hint, "message": message})


def _jwt(role: str) -> str:
    """A key of the old kind: a signed token that says its role, and that never ends in a test's life."""
    head, body = ({"alg": "HS256", "typ": "JWT"}, {"iss": "supabase", "ref": "double", "role": role, "exp": 4102444800})
    signed = b".".join(_url64(orjson.dumps(part)) for part in (head, body))
    return (signed + b"." + _url64(hmac.new(_SECRET, signed, hashlib.sha256).digest())).decode()


def _url64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
